"""How long to wait before the next try of something that was away: growing, bounded, and never in step with others."""

import random

FIRST_SECONDS = 0.2
SECONDS_MAX = 10.0


def retry_seconds(
    failures: int, chance: random.Random, *, first: float = FIRST_SECONDS, most: float = SECONDS_MAX
) -> float:
    """The wait after `failures` failures in a row (1 or more): between half and all of first * 2 ** (failures - 1).

    Never above `most` seconds. The jitter keeps many clients of a server that came back from knocking all at once.
    """
    ceiling = min(most, first * 2.0 ** min(failures - 1, 30))
    return ceiling * (0.5 + 0.5 * chance.random())
