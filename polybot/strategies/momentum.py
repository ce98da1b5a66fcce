"""Momentum: a price that has moved fast goes on a little; buy the way it went."""

from typing import Annotated

from msgspec import Meta

from polybot.domain.market import Outcome
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Price
from polybot.strategies.base import BaseStrategy, MarketView, StrategyParameters
from polybot.strategies.indicators import MidMove


class MomentumParameters(StrategyParameters, frozen=True, kw_only=True):
    """`move_min` is the move of Up's middle price over `lookback_s` that counts (0.08 is eight cents); `carry` how much
    of it is expected to come on top. Entries only between `open_s_min` after the start and `left_s_min` before the end.
    """

    lookback_s: Annotated[int, Meta(ge=1, le=900)] = 60
    move_min: Annotated[float, Meta(gt=0, lt=1)] = 0.08
    carry: Annotated[float, Meta(ge=0, le=2)] = 0.5
    open_s_min: Annotated[int, Meta(ge=0, le=86_400)] = 60
    left_s_min: Annotated[int, Meta(ge=0, le=86_400)] = 120
    price_max: Annotated[float, Meta(gt=0, lt=1)] = 0.90


class Momentum(BaseStrategy):
    name = "momentum"
    parameters_type = MomentumParameters

    def __init__(self, parameters: MomentumParameters) -> None:
        super().__init__(parameters)
        self._move = MidMove(lookback_s=parameters.lookback_s)

    def indicators(self) -> tuple[MidMove, ...]:
        return (self._move,)

    def generate_signal(self, view: MarketView) -> Signal | None:
        terms: MomentumParameters = self.parameters
        if view.seconds_open < terms.open_s_min:
            return view.waiting("too_early", view.seconds_open, terms.open_s_min)
        if view.seconds_left < terms.left_s_min:
            return view.waiting("too_late", view.seconds_left, terms.left_s_min)
        move, mid = view.indicator(self._move), view.mid()
        if move is None or mid is None:
            return view.waiting("too_little_data")
        if abs(move) < terms.move_min:
            return view.passed("move_too_small", abs(move), terms.move_min)
        outcome = Outcome.UP if move > 0 else Outcome.DOWN
        price = mid if move > 0 else 1 - mid
        if price > terms.price_max:
            return view.passed("price_too_high", price, terms.price_max)
        fair = min(price + terms.carry * abs(move), 0.99)
        reason = f"Up moved {move:+.3f} in {terms.lookback_s} s to {mid:.3f}; {outcome.name} is worth {fair:.3f}"
        inputs = {"move": move, "mid": mid}
        return Signal(outcome=outcome, fair_value=Price(round(fair * UNIT)), reason=reason, inputs=inputs)
