"""Proof that nothing kills it: the floor in simulated time under a seed, and the real service under kill -9."""
