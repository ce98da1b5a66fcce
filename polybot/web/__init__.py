"""How people and probes look at the floor: read-only HTTP, the live page, and the same in a terminal."""
