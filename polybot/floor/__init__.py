"""The floor itself: what starts, watches, restarts and stops the agents, and what it can say about itself."""
