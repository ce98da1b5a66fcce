"""What every agent has: a way to be woken, and a heart that beats only by making progress (D11)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol

import msgspec

from polybot.domain.events import Journaled, MarketEvent
from polybot.domain.ids import MarketId
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis

FEED_FACTS_MAX = 100_000

P = ParamSpec("P")


class Heart:
    """Beats when a piece of work is done. An agent with work waiting and no beat for long is stuck."""

    __slots__ = ("_monotonic", "beats", "last_beat", "working_since")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.beats = 0
        self.last_beat = monotonic()
        self.working_since: float | None = None

    def work_arrived(self) -> None:
        if self.working_since is None:
            self.working_since = self._monotonic()

    def beat(self, *, more_waiting: bool) -> None:
        """A piece of work is done; the clock on the next one starts now."""
        self.beats += 1
        self.last_beat = self._monotonic()
        self.working_since = self.last_beat if more_waiting else None

    def stuck_for(self) -> float:
        """Seconds since work has been waiting without any of it getting done; 0 for an idle agent."""
        return 0.0 if self.working_since is None else self._monotonic() - self.working_since


class Agent(Protocol):
    """A coroutine with a heart. It is built anew for every start, so it may not keep what must survive."""

    heart: Heart

    async def run(self) -> None: ...

    def close(self) -> None:
        """Called once when the agent has ended or is let go, whatever the reason: nobody waits for it any more.

        It may still run, if it will not end; from here on it must not be able to act.
        """
        ...


class Dismissed(Exception):
    """An agent that was let go came to a door: another may be at its desk by now."""


class Badge:
    """Opens an agent's doors to the floor until it is revoked (its keeper let it go)."""

    __slots__ = ("revoked",)

    def __init__(self) -> None:
        self.revoked = False

    def revoke(self) -> None:
        self.revoked = True

    def require(self) -> None:
        """What an agent does before each piece of work. Raises Dismissed."""
        if self.revoked:
            raise Dismissed("an agent that was let go may not act any more")

    def door(self, act: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        """`act`, for as long as the badge is good; raises Dismissed after that."""

        def shown(*args: P.args, **kwargs: P.kwargs) -> Awaitable[None]:
            self.require()
            return act(*args, **kwargs)

        return shown


class Wake(msgspec.Struct, frozen=True):
    """Something changed in a market a desk looks at."""

    event: MarketEvent
    state: MarketState
    now: Millis


class Mailbox:
    """A trader's wakes: the newest per market and kind of event, oldest first. Bounded by what there is to trade.

    A book that changed five times while the trader was busy is looked at once, as it is now (D12).

    Most looks are over in microseconds, and waking a task takes longer than that. So a trader that waits in `next` is
    not woken for each: `look` is called in the loop's own turn, and `next` returns a wake it says False to.
    """

    def __init__(self, heart: Heart, look: Callable[[Wake], bool] = lambda _: False) -> None:
        """`look` deals with a wake at once, or returns False. What it raises, `next` raises."""
        self._heart, self._look = heart, look
        self._wakes: dict[tuple[MarketId, type], Wake] = {}
        self._waiter: asyncio.Future[Wake] | None = None
        """The one trader's, while it waits."""
        self._is_called = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self.conflated = 0

    def put(self, wake: Wake) -> None:
        if self._closed:
            return
        key = (wake.state.market.id, type(wake.event))
        if self._wakes.pop(key, None) is not None:
            self.conflated += 1
        self._wakes[key] = wake
        self._heart.work_arrived()
        self._idle.clear()
        if self._waiter is not None and not self._is_called:
            self._is_called = True
            self._waiter.get_loop().call_soon(self._serve)

    async def next(self) -> Wake:
        if (wake := self._first_that_takes_time()) is not None:
            return wake
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def done(self) -> None:
        """The wake taken last has been dealt with."""
        self._heart.beat(more_waiting=bool(self._wakes))
        if not self._wakes:
            self._idle.set()

    async def drained(self) -> None:
        """Return once nothing is waiting or being dealt with, or nobody is there to deal with it."""
        await self._idle.wait()

    def close(self) -> None:
        self._closed = True
        self._wakes.clear()
        self._idle.set()

    def _serve(self) -> None:
        """For the trader that waits; one that is at work comes for its wakes by itself."""
        self._is_called = False
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        try:
            if (wake := self._first_that_takes_time()) is not None:
                waiter.set_result(wake)
        except StopIteration as error:  # which no future takes
            waiter.set_exception(RuntimeError(f"a look raised {error!r}"))
        except BaseException as error:  # noqa: BLE001 - the trader's own, whatever it is: it must not end the loop
            waiter.set_exception(error)

    def _first_that_takes_time(self) -> Wake | None:
        while self._wakes:
            wake = self._wakes.pop(next(iter(self._wakes)))
            if not self._look(wake):
                return wake
            self.done()
        return None


class FeedOverflow(Exception):
    """A follower fell FEED_FACTS_MAX facts behind: it starts anew from the journal, which has them all."""


class FactFeed:
    """The committed facts in order, for one follower. Never drops one: at its bound the follower is restarted."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart
        self._facts: deque[Journaled] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._overflowed = False
        self._closed = False

    def put(self, facts: list[Journaled]) -> None:
        if self._closed:
            return
        if self._overflowed or len(self._facts) + len(facts) > FEED_FACTS_MAX:
            self._overflowed = True
            self._facts.clear()
        else:
            self._facts.extend(facts)
        self._heart.work_arrived()
        self._idle.clear()
        self._arrived.set()

    async def next(self) -> Journaled:
        while not self._facts:
            if self._overflowed:
                raise FeedOverflow(f"more than {FEED_FACTS_MAX} facts were waiting")
            self._arrived.clear()
            self._idle.set()
            await self._arrived.wait()
        return self._facts.popleft()

    @property
    def empty(self) -> bool:
        return not self._facts

    def done(self) -> None:
        self._heart.beat(more_waiting=bool(self._facts))

    async def drained(self) -> None:
        await self._idle.wait()

    def close(self) -> None:
        self._closed = True
        self._facts.clear()
        self._idle.set()
