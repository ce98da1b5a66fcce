"""Mean reversion: a price far from its own average comes back part of the way; buy the side that was left behind."""

from typing import Annotated

from msgspec import Meta

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.domain.markets import IndicatorSpec
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Price
from polybot.strategies.base import BaseStrategy, MarketView, StrategyParameters
from polybot.strategies.indicators import MidDistance, MidMean


class MeanReversionParameters(StrategyParameters, frozen=True, kw_only=True):
    """`distance_min` is how many standard deviations over `window_s` count as far; `pull` the part of the way back that
    is expected (1 is all of it). Entries only while `price_min` <= price of the side bought <= `price_max`.
    """

    window_s: Annotated[int, Meta(ge=10, le=3_600)] = 180
    distance_min: Annotated[float, Meta(gt=0, le=10)] = 2.0
    deviation_min: Annotated[float, Meta(gt=0, lt=0.5)] = 0.01
    pull: Annotated[float, Meta(gt=0, le=1)] = 0.6
    open_s_min: Annotated[int, Meta(ge=0, le=86_400)] = 120
    left_s_min: Annotated[int, Meta(ge=0, le=86_400)] = 240
    price_min: Annotated[float, Meta(gt=0, lt=1)] = 0.10
    price_max: Annotated[float, Meta(gt=0, lt=1)] = 0.80

    def __post_init__(self) -> None:
        if self.price_min > self.price_max:
            raise BadInput(f"price_min {self.price_min} is above price_max {self.price_max}: no price would do")


class MeanReversion(BaseStrategy):
    name = "mean_reversion"
    parameters_type = MeanReversionParameters

    def __init__(self, parameters: MeanReversionParameters) -> None:
        super().__init__(parameters)
        self._distance = MidDistance(window_s=parameters.window_s, deviation_min=parameters.deviation_min)
        self._mean = MidMean(window_s=parameters.window_s)

    def indicators(self) -> tuple[IndicatorSpec, ...]:
        return (self._distance, self._mean)

    def generate_signal(self, view: MarketView) -> Signal | None:
        terms: MeanReversionParameters = self.parameters
        if view.seconds_open < terms.open_s_min:
            return view.waiting("too_early", view.seconds_open, terms.open_s_min)
        if view.seconds_left < terms.left_s_min:
            return view.waiting("too_late", view.seconds_left, terms.left_s_min)
        distance, mean, mid = view.indicator(self._distance), view.indicator(self._mean), view.mid()
        if distance is None or mean is None or mid is None:
            return view.waiting("too_little_data")
        if abs(distance) < terms.distance_min:
            return view.passed("too_near_the_mean", abs(distance), terms.distance_min)
        outcome = Outcome.DOWN if distance > 0 else Outcome.UP
        price, target = (mid, mean) if outcome is Outcome.UP else (1 - mid, 1 - mean)
        if not terms.price_min <= price <= terms.price_max:
            bound = terms.price_min if price < terms.price_min else terms.price_max
            return view.passed("price_out_of_range", price, bound)
        fair = min(max(price + terms.pull * (target - price), 0.01), 0.99)
        reason = (
            f"Up at {mid:.3f} is {distance:+.1f} deviations from its {terms.window_s} s mean {mean:.3f}; "
            f"{outcome.name} is worth {fair:.3f}"
        )
        inputs = {"distance": distance, "mean": mean, "mid": mid}
        return Signal(outcome=outcome, fair_value=Price(round(fair * UNIT)), reason=reason, inputs=inputs)
