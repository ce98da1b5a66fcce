"""What the floor can say about itself: how its agents did, measured from facts alone. Pure."""
