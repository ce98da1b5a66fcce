"""What a strategy is: it looks at a view of one market and says what it thinks. It decides; it never waits."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from polybot.domain.book import Book
from polybot.domain.errors import BadInput
from polybot.domain.market import Market, Outcome
from polybot.domain.markets import IndicatorSpec, MarketState
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Millis, Shares

WAITING_RANK = 1
OPINION_RANK = 2


class Wake(enum.Flag):
    """What makes the floor ask a strategy again."""

    BOOK = enum.auto()
    TRADE = enum.auto()
    REFERENCE = enum.auto()


class StrategyParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a strategy's parameters. Bounds are given with `Annotated[int, msgspec.Meta(ge=.., le=..)]`.

    A rule between two of them goes into `__post_init__` and raises BadInput.
    """


class MarketView:
    """What a strategy may read. It is aimed at one market at a time and re-used, so do not keep it.

    `now` is UTC milliseconds, the floor's time. Prices are millionths; `price(...)` turns them into plain numbers.
    """

    __slots__ = ("_state", "held", "market", "now", "pass_code", "pass_rank", "pass_threshold", "pass_value")

    _state: MarketState
    market: Market

    def __init__(self) -> None:
        self.now = Millis(0)
        self.held: Mapping[Outcome, Shares] = {}
        self.pass_code = ""
        self.pass_rank = 0
        self.pass_value = 0.0
        self.pass_threshold = 0.0

    def aim(self, state: MarketState, now: Millis, held: Mapping[Outcome, Shares]) -> None:
        """Point the view at a market; the desk does this before it asks."""
        self._state, self.market, self.now, self.held = state, state.market, now, held
        self.pass_code, self.pass_rank = "no_reason_given", OPINION_RANK
        self.pass_value = self.pass_threshold = 0.0

    def book(self, outcome: Outcome) -> Book:
        return self._state.books[outcome]

    def indicator(self, spec: IndicatorSpec) -> float | None:
        """The running figure a strategy declared in `indicators()`; None while it has too little to go by."""
        return self._state.indicator(spec)

    @property
    def trades_seen(self) -> int:
        """How many trade prints this market has had: 0 means the feed or tape carries none."""
        return self._state.trades_seen

    @property
    def seconds_open(self) -> float:
        """Seconds since the window began."""
        return (self.now - self.market.window_start) / 1000

    @property
    def seconds_left(self) -> float:
        """Seconds until the window ends."""
        return (self.market.window_end - self.now) / 1000

    def mid(self) -> float | None:
        """Up's middle price between 0 and 1, None unless both sides stand."""
        up = self._state.books[Outcome.UP]
        if not up.bid_prices or not up.ask_prices:
            return None
        return (up.bid_prices[-1] + up.ask_prices[0]) / (2 * UNIT)

    def passed(self, code: str, value: float = 0.0, threshold: float = 0.0) -> Signal | None:
        """Say why there is no signal: `return view.passed("move_too_small", move, needed)`.

        The nearest miss of a window is kept as the agent's record of it: the code, the number that failed, the number
        it had to reach.
        """
        self.pass_code, self.pass_value, self.pass_threshold = code, value, threshold
        self.pass_rank = OPINION_RANK
        return None

    def waiting(self, code: str, value: float = 0.0, threshold: float = 0.0) -> Signal | None:
        """Like `passed` (it returns None too), for what is no opinion yet: too early, too late, too little data.

        Any opinion outranks it in the window's record.
        """
        self.pass_code, self.pass_value, self.pass_threshold = code, value, threshold
        self.pass_rank = WAITING_RANK
        return None


class BaseStrategy(ABC):
    """Inherit, name it, declare what it needs, and implement `generate_signal`. One instance serves one agent.

    Class attributes: `name` as used in the config file; `parameters_type`, the struct its parameters are checked
    against; `wakes`, what makes the floor ask.
    """

    name: ClassVar[str]
    parameters_type: ClassVar[type[StrategyParameters]] = StrategyParameters
    wakes: ClassVar[Wake] = Wake.BOOK

    def __init__(self, parameters: Any) -> None:
        """`parameters` is an instance of `parameters_type`; use `create` to make both from a mapping."""
        self.parameters = parameters

    @classmethod
    def create(cls, settings: Mapping[str, Any]) -> "BaseStrategy":
        """Check the settings and make the strategy. Raises BadInput naming the parameter that is wrong."""
        try:
            parameters = msgspec.convert(dict(settings), cls.parameters_type)
        except (msgspec.ValidationError, BadInput) as error:
            raise BadInput(f"strategy {cls.name}: {error}") from error
        return cls(parameters)

    def indicators(self) -> tuple[IndicatorSpec, ...]:
        """The running figures it reads through `view.indicator`; equal ones are shared between agents."""
        return ()

    @abstractmethod
    def generate_signal(self, view: MarketView) -> Signal | None:
        """Look, and say. Called once per waking event; must not wait, keep the view, or read a clock.

        Return None for no opinion, best with the reason: `return view.passed("too_early", view.seconds_open, 60)`.
        """
