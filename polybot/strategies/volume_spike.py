"""Volume spike: when much more money trades than usual and it goes one way, follow it."""

from typing import Annotated

from msgspec import Meta

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.domain.markets import IndicatorSpec
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Price
from polybot.strategies.base import BaseStrategy, MarketView, StrategyParameters, Wake
from polybot.strategies.indicators import VolumeBalance, VolumeRatio


class VolumeSpikeParameters(StrategyParameters, frozen=True, kw_only=True):
    """`ratio_min` is how many times the usual money per second must trade over `short_s`, against `long_s`;
    `balance_min` how one-sided it must be (0 even, 1 all one way); `carry` what a wholly one-sided spike is worth.
    """

    short_s: Annotated[int, Meta(ge=1, le=600)] = 10
    long_s: Annotated[int, Meta(ge=2, le=3_600)] = 120
    ratio_min: Annotated[float, Meta(gt=1, le=1_000)] = 3.0
    balance_min: Annotated[float, Meta(gt=0, le=1)] = 0.6
    carry: Annotated[float, Meta(ge=0, lt=0.5)] = 0.06
    left_s_min: Annotated[int, Meta(ge=0, le=86_400)] = 60
    price_max: Annotated[float, Meta(gt=0, lt=1)] = 0.90

    def __post_init__(self) -> None:
        if self.short_s >= self.long_s:
            raise BadInput(f"short_s {self.short_s} is not shorter than long_s {self.long_s}: nothing to compare with")


class VolumeSpike(BaseStrategy):
    name = "volume_spike"
    parameters_type = VolumeSpikeParameters
    wakes = Wake.BOOK | Wake.TRADE

    def __init__(self, parameters: VolumeSpikeParameters) -> None:
        super().__init__(parameters)
        self._ratio = VolumeRatio(short_s=parameters.short_s, long_s=parameters.long_s)
        self._balance = VolumeBalance(window_s=parameters.short_s)

    def indicators(self) -> tuple[IndicatorSpec, ...]:
        return (self._ratio, self._balance)

    def generate_signal(self, view: MarketView) -> Signal | None:
        terms: VolumeSpikeParameters = self.parameters
        if not view.trades_seen:
            return view.waiting("no_trade_prints", 0, 1)
        if view.seconds_left < terms.left_s_min:
            return view.waiting("too_late", view.seconds_left, terms.left_s_min)
        ratio, balance, mid = view.indicator(self._ratio), view.indicator(self._balance), view.mid()
        if ratio is None or balance is None or mid is None:
            return view.waiting("too_little_data")
        if ratio < terms.ratio_min:
            return view.passed("volume_usual", ratio, terms.ratio_min)
        if abs(balance) < terms.balance_min:
            return view.passed("volume_two_sided", abs(balance), terms.balance_min)
        outcome = Outcome.UP if balance > 0 else Outcome.DOWN
        price = mid if outcome is Outcome.UP else 1 - mid
        if price > terms.price_max:
            return view.passed("price_too_high", price, terms.price_max)
        fair = min(price + terms.carry * abs(balance), 0.99)
        reason = f"{ratio:.1f} times the usual volume in {terms.short_s} s, {abs(balance):.0%} of it for {outcome.name}"
        inputs = {"ratio": ratio, "balance": balance, "mid": mid}
        return Signal(outcome=outcome, fair_value=Price(round(fair * UNIT)), reason=reason, inputs=inputs)
