"""What may be traded: limits as numbers, the gate that applies them, and the breakers. Pure."""
