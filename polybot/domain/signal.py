"""What a strategy says: which outcome, what it is worth, and why. A signal is an opinion, not an order."""

from math import isfinite

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Price


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """`fair_value` is the strategy's probability of `outcome`, in millionths (620_000 is 62 %), fees left out.

    `reason` is for people, `inputs` for the record: the numbers the opinion was made from, by name.
    """

    outcome: Outcome
    fair_value: Price
    reason: str
    inputs: dict[str, float] = {}

    def __post_init__(self) -> None:
        if self.fair_value % 1 or not 0 < self.fair_value < UNIT:
            raise BadInput(
                f"fair value {self.fair_value!r} is no probability in millionths, strictly between 0 and {UNIT}: "
                "for a plain 0.62 write Price(round(0.62 * UNIT))"
            )
        odd = {name: value for name, value in self.inputs.items() if not isfinite(value)}
        if odd:
            raise BadInput(f"a signal's inputs are finite numbers, these are not: {odd}")
        if not self.reason:
            raise BadInput("a signal says why: give it a reason")
