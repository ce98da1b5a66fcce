"""An asset's price as a seeded walk, one step a second, in regimes: trends, swings, jumps and calm.

It is made a window at a time and knows its end, because a venue whose fills fail more often when they would have won
(evidence.md) has to know what wins.
"""

from math import isqrt
from random import Random

STEP_MS = 1_000
SIGMA = 1_000
"""One step's standard deviation in the path's own unit, in the usual regime."""
SLOPE_TENTHS = 8
"""How steeply Up's price answers a lead at the strike: 0.8 of a standard deviation, near the normal curve's slope."""
FAIR_MIN, FAIR_MAX = 8_000, 992_000


class PricePath:
    """The endless walk of one asset, handed out in windows."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._level = 0
        self._anchor = 0
        self._regime = "usual"
        self._drift = 0
        self._left = 0

    def window(self, seconds: int) -> list[int]:
        """The next `seconds` steps, with the level they start from in front: seconds + 1 numbers."""
        levels = [self._level]
        while len(levels) <= seconds:
            if self._left <= 0:
                self._change_regime()
            steps = min(self._left, seconds + 1 - len(levels))
            self._walk(levels, steps)
            self._left -= steps
        return levels

    def _change_regime(self) -> None:
        rng = self._rng
        chance = rng.random()
        self._left = 40 + int(rng.random() * 140)
        self._anchor = self._level
        self._drift = 0
        if chance < 0.35:
            self._regime = "trend"
            self._drift = (60 + int(rng.random() * 200)) * (1 if rng.random() < 0.5 else -1)
        elif chance < 0.60:
            self._regime = "swing"
        elif chance < 0.70:
            self._regime = "calm"
        elif chance < 0.80:
            self._regime = "usual"
            self._level += (6_000 + int(rng.random() * 10_000)) * (1 if rng.random() < 0.5 else -1)
        else:
            self._regime = "usual"

    def _walk(self, levels: list[int], steps: int) -> None:
        rng, level, drift = self._rng.random, self._level, self._drift
        width = SIGMA // 4 if self._regime == "calm" else SIGMA
        width = width * 49 // 20  # the sum of two even numbers less one has a deviation of 1/sqrt(6)
        swings, anchor = self._regime == "swing", self._anchor
        for _ in range(steps):
            level += int((rng() + rng() - 1.0) * width) + drift
            if swings:
                level += (anchor - level) // 24
            levels.append(level)
        self._level = level


def fair_price(lead: int, seconds_left: int) -> int:
    """Up's fair price in millionths, from the lead over the strike and the time the lead has left to be lost."""
    x = lead * SLOPE_TENTHS // 10
    width = SIGMA * SIGMA * max(seconds_left, 1)
    fair = 500_000 + 500_000 * x // isqrt(width + x * x)
    return min(max(fair, FAIR_MIN), FAIR_MAX)
