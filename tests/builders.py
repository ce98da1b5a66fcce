"""Markets, books, scripted agents and a small floor, for tests of what decides. Prices and sizes are decimal text."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from polybot.backtest.replay import Replay
from polybot.desk.desk import AgentPlan
from polybot.desk.room import TradingRoom
from polybot.desk.sizing import Execution
from polybot.domain.events import (
    AnyFact,
    BookReplaced,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    SnapshotRequested,
    TradePrinted,
)
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.signal import Signal
from polybot.domain.units import Millis, Money
from polybot.paths import tapes_dir
from polybot.risk.limits import Limits
from polybot.settings import load_plans, load_settings
from polybot.storage.tape import read_tape
from polybot.strategies.base import BaseStrategy, MarketView, Wake
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, new_simulator_state
from tests.facts import START, a_market, money, price, shares

Script = Callable[[MarketView], Signal | None]
FactType = TypeVar("FactType")
CAPITAL = money("1000")
INSTANT = VenueModel(latency_median_ms=1, latency_spread=0, confirm_ms=1_000)
SECOND = 1_000


class Scripted(BaseStrategy):
    """A strategy that says what its script says."""

    name = "scripted"
    wakes = Wake.BOOK | Wake.TRADE | Wake.REFERENCE

    def __init__(self, script: Script) -> None:
        super().__init__(None)
        self.script = script

    def generate_signal(self, view: MarketView) -> Signal | None:
        return self.script(view)


def wants(outcome: Outcome = Outcome.UP, fair: str = "0.70", reason: str = "the script says so") -> Signal:
    return Signal(outcome=outcome, fair_value=price(fair), reason=reason)


def always(signal: Signal | None) -> Script:
    return lambda view: signal


def a_plan(name: str = "scripted", script: Script | None = None, **terms: Any) -> AgentPlan:
    """An agent with a script (default: always wants Up at 0.70); `terms` are those of its execution, or `series`."""
    series = frozenset(terms.pop("series", ()))
    strategy = Scripted(script or always(wants()))
    return AgentPlan(agent=AgentId(name), strategy=strategy, execution=Execution(**terms), series=series)


def one_sided(number: int = 0, **changes: Any) -> Market:
    """A market whose recording carries Up's book only, so that one event sets both."""
    return msgspec.structs.replace(a_market(number), quoted=(Outcome.UP,), **changes)


def listed(market: Market, at: int | None = None) -> MarketListed:
    moment = Millis(market.window_start if at is None else at)
    return MarketListed(moment, moment, market)


Ladder = Sequence[tuple[str, str]]


def book(market: Market, at: int, bids: Ladder = (("0.50", "100"),), asks: Ladder = (("0.52", "100"),)) -> BookReplaced:
    """Up's book, `at` milliseconds into the window; levels best first."""
    moment = Millis(market.window_start + at)
    ascending = bids[::-1]
    return BookReplaced(
        moment,
        moment,
        market.id,
        Outcome.UP,
        [price(p) for p, _ in ascending],
        [shares(s) for _, s in ascending],
        [price(p) for p, _ in asks],
        [shares(s) for _, s in asks],
    )


def trade(
    market: Market,
    at: int,
    side: Side = Side.BUY,
    outcome: Outcome = Outcome.UP,
    at_price: str = "0.50",
    size: str = "10",
) -> TradePrinted:
    moment = Millis(market.window_start + at)
    return TradePrinted(moment, moment, market.id, outcome, side, price(at_price), shares(size))


def resolved(market: Market, payout_up: str = "1", after: int = 10 * SECOND) -> MarketResolved:
    moment = Millis(market.window_end + after)
    return MarketResolved(moment, moment, market.id, price(payout_up))


class Floor:
    """A room and a paper venue driven by a replay, with every fact kept."""

    def __init__(
        self,
        *plans: AgentPlan,
        limits: Limits | None = None,
        model: VenueModel = INSTANT,
        capital: Money = CAPITAL,
        at: int = START,
    ) -> None:
        self.plans, self.limits, self.model, self.capital = list(plans), limits or Limits(), model, capital
        self.room = TradingRoom(self.plans, self.limits)
        self.venue = Simulator(model, self.room.markets.by_id, new_simulator_state(capital))
        self.facts: list[AnyFact] = []
        self.positions: list[int] = []
        self.replay = Replay(self.room, self.venue, self._keep)
        self.replay.allocate(capital, Millis(at))

    def play(self, *events: MarketEvent) -> "Floor":
        self.replay.run(events)
        return self

    def of(self, kind: type[FactType]) -> list[FactType]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def desk_cash(self) -> int:
        return sum(desk.state.cash for desk in self.room.desks.values())

    def _keep(self, fact: AnyFact) -> None:
        self.facts.append(fact)
        self.positions.append(self.room.state.position)


@cache
def shipped_tape() -> tuple[MarketEvent, ...]:
    return tuple(read_tape(tapes_dir() / "btc15m_l2.tape"))


def first_windows(number: int) -> tuple[MarketEvent, ...]:
    """What the shipped tape has of its first so many markets, to the last settlement."""
    markets = [event.market.id for event in shipped_tape() if isinstance(event, MarketListed)][:number]
    return tuple(event for event in shipped_tape() if market_of(event) in markets)


def market_of(event: MarketEvent) -> MarketId | None:
    if isinstance(event, MarketListed):
        return event.market.id
    return None if isinstance(event, ReferencePriced | SnapshotRequested) else event.market


def shipped_floor(
    events: Iterable[MarketEvent] | None = None, *, strategies_dir: Path | None = None, **changes: Any
) -> Floor:
    """The shipped agents on the shipped tape."""
    settings = load_settings(strategies_dir=strategies_dir)
    plans, model = load_plans(settings), settings.venue.model(settings.seed)
    floor = Floor(
        *plans, limits=settings.limits.limits(), model=changes.pop("model", model), at=shipped_tape()[0].received
    )
    return floor.play(*(shipped_tape() if events is None else events))
