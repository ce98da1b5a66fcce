"""The wire between one process and the simulated venue; it ends with the process, the venue does not.

Requests are refused, lost or late; the stream's replies come late, twice, out of order or not at all.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from polybot.chaos.exchange import SimExchange
from polybot.chaos.faults import Faults
from polybot.chaos.life import Life
from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, MarketEvent, VenueReply
from polybot.domain.ids import OrderId
from polybot.domain.markets import MarketState
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis
from polybot.risk.gate import Approved
from polybot.venue.base import VenueBusy, VenueUnavailable

LEG_MS, LEG_SPREAD_MS = 25, 80
"""One way between us and the venue: the shortest, and what chance adds."""
TIMEOUT_MS = 5_000
PATIENCE_MS = 10_000
NOBODYS = OrderId("nobody-000000")
"""An order that never was."""
SLOW_MS_MIN = 800
LATE_REPLY_MS = 60_000
DOUBLE_REPLY_MS = 30_000
OVERTAKING_MS = 3_000
BUSY_TEXTS = (
    "425 Too Early: the matching engine is restarting",
    "429 Too Many Requests",
    "503 Service Unavailable: trading is currently cancel-only",
)
ERROR_TEXTS = ("500 Internal Server Error", "502 Bad Gateway", "520 from the proxy")

P = ParamSpec("P")
T = TypeVar("T")
Call = Callable[Concatenate["ExchangeClient", P], Coroutine[Any, Any, T]]


def _told(call: Call[P, T]) -> Call[P, T]:
    """The exchange is told that the call leaves and how it ends, for whoever checks the floor's breakers."""

    async def told(self: "ExchangeClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._exchange.call():
            return await call(self, *args, **kwargs)

    return told


class ExchangeClient:
    """A `Venue` for one process life. `now` is the world's true time, whatever the process's own clock says."""

    may_lose_replies = True
    lookup_patience_ms = PATIENCE_MS

    def __init__(self, exchange: SimExchange, faults: Faults, life: Life, now: Callable[[], Millis]) -> None:
        self._exchange, self._faults, self._life, self._now = exchange, faults, life, now
        self._coming: list[tuple[int, int, VenueReply]] = []
        self._number = 0
        exchange.advance(now())  # what happened before this life is told by look-ups alone
        exchange.on_reply = self._hear
        life.at_end(self._hang_up)

    @_told
    async def place(self, order: Approved, now: Millis) -> None:
        """Send an order. Raises VenueBusy (not taken, and said so) or VenueUnavailable (taken or not, nobody said)."""
        self._life.require_alive()
        sent, intent, faults = self._now(), order.intent, self._faults
        leg = self._leg_ms("place", intent.id)
        if faults.strikes("venue_busy", sent, intent.id):
            self._exchange.send(intent, sent, None)
            await _wait(2 * leg)
            raise VenueBusy(self._pick(BUSY_TEXTS, intent.id))
        if faults.strikes("venue_error", sent, intent.id):
            self._exchange.send(intent, sent, None)
            await _wait(2 * leg)
            raise VenueUnavailable(self._pick(ERROR_TEXTS, intent.id))
        if faults.strikes("venue_timeout_before", sent, intent.id):
            self._exchange.send(intent, sent, None)
        elif faults.strikes("venue_slow_request", sent, intent.id):
            spread = PATIENCE_MS - SLOW_MS_MIN - 1
            self._exchange.send(intent, sent, SLOW_MS_MIN + int(spread * faults.draw("slow", intent.id)))
        elif faults.strikes("venue_timeout_after", sent, intent.id):
            self._exchange.send(intent, sent, leg)
        else:
            self._exchange.send(intent, sent, leg)
            await _wait(2 * leg)
            return
        await _wait(TIMEOUT_MS)
        raise VenueUnavailable(f"no answer within {TIMEOUT_MS} ms")

    @_told
    async def cancel(self, order: OrderId, now: Millis) -> None:
        """Ask for an order back. Raises VenueBusy, VenueUnavailable."""
        self._life.require_alive()
        sent, key = self._now(), f"cancel/{order}"
        leg = self._leg_ms("cancel", order)
        if self._faults.strikes("venue_busy", sent, key):
            await _wait(2 * leg)
            raise VenueBusy(self._pick(BUSY_TEXTS, key))
        if self._faults.strikes("venue_timeout_before", sent, key):
            await _wait(TIMEOUT_MS)
            raise VenueUnavailable(f"no answer within {TIMEOUT_MS} ms")
        self._exchange.cancel(order, sent, leg)
        if self._faults.strikes("venue_timeout_after", sent, key):
            await _wait(TIMEOUT_MS)
            raise VenueUnavailable(f"no answer within {TIMEOUT_MS} ms")
        await _wait(2 * leg)

    @_told
    async def account_of(self, intent: OrderIntent) -> list[VenueReply] | None:
        """What the venue has of an order, read when the question arrives there. Raises VenueBusy, VenueUnavailable."""
        return await self._look_up(intent.id)

    @_told
    async def reach(self) -> None:
        """As a look-up of an order that never was."""
        await self._look_up(NOBODYS)

    async def _look_up(self, order: OrderId) -> list[VenueReply] | None:
        self._life.require_alive()
        key = f"{order}/{self._now()}"
        leg = self._leg_ms("look-up", key)
        if self._faults.strikes("venue_lookup_fails", self._now(), key):
            if self._faults.draw("look-up busy", key) < 0.5:
                await _wait(2 * leg)
                raise VenueBusy("429 Too Many Requests")
            await _wait(TIMEOUT_MS)
            raise VenueUnavailable(f"no answer within {TIMEOUT_MS} ms")
        await _wait(leg)
        found = self._exchange.account_of(order, self._now())
        await _wait(leg)
        return found

    def advance(self, now: Millis) -> list[VenueReply]:
        """What the user stream has brought by the true present."""
        self._life.require_alive()
        true_now = self._now()
        self._exchange.advance(true_now)
        coming = self._coming
        if not coming or coming[0][0] > true_now:
            return []
        replies: list[VenueReply] = []
        while coming and coming[0][0] <= true_now:
            replies.append(heapq.heappop(coming)[2])
        return replies

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """Nothing: a far venue sees its own market, and tells by its stream."""
        return []

    # -- the stream ---------------------------------------------------------------------------------------------------

    def _hear(self, reply: VenueReply) -> None:
        faults, at, key = self._faults, reply.at, reply_key(reply)
        if faults.episode("venue_stream_outage", at) is not None:
            faults.note("venue_stream_outage", key)
            return
        if faults.strikes("venue_reply_lost", at, key):
            return
        due = at + self._leg_ms("stream", reply.order)  # one delay an order: in order, unless a fault is about
        if faults.strikes("venue_reply_late", at, key):
            due += int(LATE_REPLY_MS * faults.draw("late", key))
        if faults.strikes("venue_reply_reordered", at, key):
            due += int(OVERTAKING_MS * faults.draw("overtaking", key))
        self._push(due, reply)
        if faults.strikes("venue_reply_doubled", at, key):
            self._push(due + int(DOUBLE_REPLY_MS * faults.draw("doubled", key)), reply)

    def _push(self, due: int, reply: VenueReply) -> None:
        self._number += 1
        heapq.heappush(self._coming, (due, self._number, reply))

    def _hang_up(self) -> None:
        self._coming.clear()
        if self._exchange.on_reply == self._hear:
            self._exchange.on_reply = None

    def _leg_ms(self, what: str, subject: str) -> int:
        return LEG_MS + int(LEG_SPREAD_MS * self._faults.draw(f"leg {what}", subject))

    def _pick(self, texts: tuple[str, ...], subject: str) -> str:
        return texts[int(len(texts) * self._faults.draw("text", subject))]


def reply_key(reply: VenueReply) -> str:
    """A reply's own name: its kind and the fill or order it is about."""
    subject = reply.fill if isinstance(reply, FillMatched | FillConfirmed | FillFailed) else reply.order
    return f"{type(reply).__name__}/{subject}"


async def _wait(span_ms: int) -> None:
    await asyncio.sleep(span_ms / 1_000)
