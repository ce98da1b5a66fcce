"""A view of a market as strategies get it, after a story of middle prices and trades told in seconds and cents."""

from typing import Any

from polybot.domain.market import Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.signal import Signal
from polybot.domain.units import Millis
from polybot.strategies.base import BaseStrategy, MarketView
from tests.builders import book, one_sided, trade

MARKET = one_sided()


class Look:
    """One strategy before one market: tell it what happens, then ask it."""

    def __init__(self, strategy: type[BaseStrategy], **parameters: Any) -> None:
        self.strategy = strategy.create(parameters)
        self.state = MarketState(MARKET, self.strategy.indicators())
        self.view = MarketView()
        self.now = 0.0

    def mid(self, at: float, cents: float) -> "Look":
        """From `at` seconds into the window Up stands at so many cents, give or take half of one."""
        self.now = at
        bid, ask = f"{(cents - 0.5) / 100:.4f}", f"{(cents + 0.5) / 100:.4f}"
        self.state.replace_book(book(MARKET, round(at * 1000), ((bid, "100"),), ((ask, "100"),)))
        return self

    def mids(self, *points: tuple[float, float]) -> "Look":
        for at, cents in points:
            self.mid(at, cents)
        return self

    def trade(self, at: float, size: str, *, up: bool = True) -> "Look":
        self.now = at
        outcome = Outcome.UP if up else Outcome.DOWN
        self.state.print_trade(trade(MARKET, round(at * 1000), Side.BUY, outcome, "0.50", size))
        return self

    def empty(self, at: float) -> "Look":
        self.now = at
        self.state.replace_book(book(MARKET, round(at * 1000), (), (("0.50", "1"),)))
        return self

    def ask(self, at: float | None = None) -> Signal | None:
        self.now = self.now if at is None else at
        self.view.aim(self.state, Millis(MARKET.window_start + round(self.now * 1000)), {})
        return self.strategy.generate_signal(self.view)

    def passed(self, at: float | None = None) -> tuple[str, float, float]:
        """The reason it gives for having no signal, with the number and the number needed."""
        assert self.ask(at) is None
        return self.view.pass_code, self.view.pass_value, self.view.pass_threshold
