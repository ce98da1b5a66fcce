"""A simulated world with a hand on its clock: chosen faults only, orders by hand, and a loop in virtual time."""

from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from polybot.chaos.clock import VirtualClock
from polybot.chaos.exchange import SimExchange
from polybot.chaos.faults import HOUR_MS, Episode, Faults
from polybot.chaos.feed import SimFeed
from polybot.chaos.loop import VirtualLoop
from polybot.chaos.market import World
from polybot.chaos.venue_client import ExchangeClient
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Money, Price, Shares
from polybot.risk.gate import Approved
from tests.venue.builders import an_intent

START = 1_790_586_000_000
CASH = Money(1_000 * UNIT)
T = TypeVar("T")


def lasting(name: str, intensity: float = 1.0, *, since: int = 0, until: int = HOUR_MS) -> Episode:
    """One fault, from and to so many milliseconds after the start."""
    return Episode(name=name, start_ms=Millis(START + since), end_ms=Millis(START + until), intensity=intensity)


class Bench:
    """World, exchange, one process life with its client and feed, on one virtual loop."""

    made: ClassVar[list["Bench"]] = []

    def __init__(self, *episodes: Episode, seed: int = 1) -> None:
        self.noted: list[tuple[str, str]] = []
        plan = sorted(episodes, key=lambda episode: episode.start_ms)
        self.faults = Faults(
            seed, START, HOUR_MS, episodes=plan, log=lambda name, text: self.noted.append((name, text))
        )
        self.world = World(seed, START, self.faults)
        self.exchange = SimExchange(self.world, self.faults, CASH)
        self.loop = VirtualLoop()
        self.made.append(self)
        self.clock = VirtualClock(self.loop, Millis(START))
        self.orders = 0
        self.begin_life()

    def begin_life(self) -> None:
        self.life = self.loop.begin_life()
        self.client = ExchangeClient(self.exchange, self.faults, self.life, self.clock.true_ms)
        self.feed = SimFeed(self.exchange, self.faults, self.life, self.clock.true_ms, self.clock.now_ms)

    @classmethod
    def close_all(cls) -> None:
        """Close every loop that a test opened."""
        while cls.made:
            cls.made.pop().loop.close()

    @property
    def now(self) -> Millis:
        return self.clock.true_ms()

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run it in this life, to its end."""
        task = self.loop.start(self.life, coro)
        self.loop.run(until=task)
        return task.result()

    def wait(self, span_ms: int) -> None:
        """Let time pass, and the exchange with it."""
        self.loop.run(until_time=self.loop.time() + span_ms / 1_000)
        self.exchange.advance(self.now)

    def market(self, number: int = 0) -> MarketId:
        """BTC's window of that number since the start."""
        return MarketId(f"btc-updown-15m-{START // 1_000 + 900 * number}")

    def order(self, market: MarketId | None = None, outcome: Outcome = Outcome.UP, *, dollars: int = 15) -> Approved:
        """A taker order for so much at whatever the ask is, as the gate would have let it through."""
        market = self.market() if market is None else market
        book = self.world.snapshot(market, outcome)
        limit = min(book.ask_prices[0] + 10_000, 990_000) if book is not None else 500_000
        shares = dollars * UNIT * 100 // limit * 10_000
        self.orders += 1
        intent = an_intent(
            self.orders, limit=Price(limit), size=Shares(shares), at=self.now, outcome=outcome, market=market
        )
        return Approved(intent=intent)
