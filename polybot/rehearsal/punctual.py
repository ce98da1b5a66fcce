"""A trader that orders by the market's clock, as the others of its kind do: on the same tick, so that their orders
leave together. It has no opinion and no other use."""

from typing import Annotated

import msgspec

from polybot.domain.market import Outcome
from polybot.domain.signal import Signal
from polybot.domain.units import Price
from polybot.strategies.base import BaseStrategy, MarketView, StrategyParameters

ASK_MAX = 0.9


class EverySo(StrategyParameters, frozen=True, kw_only=True):
    seconds: Annotated[int, msgspec.Meta(ge=1)]


class Punctual(BaseStrategy):
    """Buys Up at its first look, at whatever market, in every so many seconds."""

    name = "rehearsal_punctual"
    parameters_type = EverySo

    def __init__(self, parameters: EverySo) -> None:
        super().__init__(parameters)
        self._round = 0

    def generate_signal(self, view: MarketView) -> Signal | None:
        mid, present = view.mid(), view.now // (1000 * self.parameters.seconds)
        if present == self._round or mid is None or mid > ASK_MAX:
            return view.passed("not_yet")
        self._round = present
        return Signal(outcome=Outcome.UP, fair_value=Price(990_000), reason="it is time", inputs={"mid": mid})
