"""The agents: thin coroutines that wait, decide with pure code, and do."""
