"""The running exchange: the engine with a clock, its keys and its switches, and everybody who hears its news."""

import asyncio
import contextlib
import random
from collections.abc import Callable

from polybot.clock import Clock, SystemClock
from polybot.domain.units import Millis
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.faults import Faults
from polybot.exchange.core.heartbeats import Heartbeats
from polybot.exchange.core.limits import RateLimits
from polybot.exchange.core.model import Answer, NewOrder, OrderHash, Rules
from polybot.exchange.core.news import News, OrderAnswered
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.keys import Keys
from polybot.exchange.wallets import Wallets

IDLE_S = 0.25
"""How often the engine is looked at when nothing is due sooner: heartbeats and expiries are no finer than this."""
POSTED_MAX = 100_000
"""Orders of which it is remembered how often they were handed in; the oldest are forgotten."""
Listener = Callable[[News], None]


class Exchange:
    """Call the engine, then `publish`: listeners (the sockets, Gamma, ...) hear the news in order, synchronously."""

    def __init__(self, clock: Clock, *, rules: Rules | None = None, seed: int = 0, wall: Clock | None = None) -> None:
        self.clock, self._wall = clock, wall or SystemClock()
        self.engine = Engine(rules or Rules(), random.Random(seed))
        self.faults = Faults()
        self.keys = Keys(f"loopback exchange {seed}")
        self.limits = RateLimits()
        self.heartbeats = Heartbeats()
        self.wallets = Wallets()
        self.listeners: list[Listener] = []
        self.posted: dict[OrderHash, int] = {}
        """How often each order was handed in, refused ones included: nobody should have to do it twice."""
        self.batched = 0
        """Orders that came in a request with others."""
        self._waiting: dict[OrderHash, asyncio.Future[Answer]] = {}
        self._wake = asyncio.Event()

    def now(self) -> Millis:
        """The time of the markets, which may be hastened (fast_clock.py)."""
        return self.clock.now_ms()

    def wall(self) -> Millis:
        """The machine's time, which is the clients' own: signatures, heartbeats, limits and restarts go by it."""
        return self._wall.now_ms()

    def publish(self) -> None:
        """Tell everybody what has happened; after every call of the engine that may have changed something."""
        for news in self.engine.take_news():
            if isinstance(news, OrderAnswered):
                waiter = self._waiting.pop(news.order_id, None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(news.answer)
            for listener in self.listeners:
                listener(news)
        self._wake.set()

    def place(self, new: NewOrder) -> asyncio.Future[Answer]:
        """Give an order to the engine. Its final answer is there at once, or after the taker delay."""
        self.posted[new.id] = self.posted.get(new.id, 0) + 1
        if len(self.posted) > POSTED_MAX:
            del self.posted[next(iter(self.posted))]
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        answer = self.engine.place(new, self.now())
        if answer is None:
            self._waiting[new.id] = answered
        else:
            answered.set_result(answer)
        self.publish()
        return answered

    async def run(self) -> None:
        """Let time pass for the engine until cancelled."""
        while True:
            self.engine.advance(self.now())
            self._cancel_for_the_dead()
            self.publish()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):  # `wait_for` may swallow the end of it all, before 3.12
                    await self._wake.wait()

    def _wait_s(self) -> float:
        """Machine seconds until something is due."""
        due = self.engine.next_due()
        speed = self.clock.speed if isinstance(self.clock, FastClock) else 1.0
        return IDLE_S if due is None else min(IDLE_S, max(0.0, (due - self.now()) / 1000 / speed))

    def _cancel_for_the_dead(self) -> None:
        """Keys whose heartbeat has stopped lose all their orders (polymarket.md 6.4)."""
        dead = set(self.heartbeats.take_dead(self.wall()))
        if dead:
            self.engine.cancel_where(lambda order: order.owner in dead, self.now())
