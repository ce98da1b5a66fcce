"""What the floor talks about: money, markets, books, orders, fills and the events that change them. Pure."""
