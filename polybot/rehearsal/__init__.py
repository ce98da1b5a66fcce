"""A rehearsal: the real floor in live mode against the loopback exchange, under faults, and all books compared."""
