"""Polymarket as the floor's venue (venue/base.py): orders out by REST, what happens to them in by the user channel.

An order is sent once and never again: its hash is known before it leaves, and whatever is not understood is looked up
by that hash (D8). Orders of one turn of the event loop leave together (outbox.py).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from loguru import logger

from polybot.clock import Clock, wall_ms
from polybot.domain.errors import BadInput
from polybot.domain.events import CancelRefused, FillMatched, MarketEvent, OrderRejected, VenueReply
from polybot.domain.ids import FillId, MarketId, OrderId
from polybot.domain.market import Market
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Millis
from polybot.risk.gate import Approved
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.account_compare import hashes_of
from polybot.venue.polymarket.client import AccountClient, Posted
from polybot.venue.polymarket.client_errors import BatchRejected, VenueRejected, as_outage
from polybot.venue.polymarket.order_errors import ErrorRow, Treatment, error_row, none_was_taken
from polybot.venue.polymarket.order_form import OrderForm, form_of
from polybot.venue.polymarket.order_pace import Bucket, Pace
from polybot.venue.polymarket.order_replies import (
    NOTHING_BOOKED,
    Booked,
    SentOrder,
    TrackedOrder,
    account_of,
    by_trade,
    parts_of,
)
from polybot.venue.polymarket.outbox import Outbox
from polybot.venue.polymarket.standing import Standing
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen

LOOKUP_PATIENCE_MS = 30_000
"""Orders have landed late after a call that seemed to fail (polymarket.md 8, 9); none later than this is known."""
GONE_MS = 600_000
"""So long after its market's end an order that the venue does not have is open nowhere, whatever became of it."""
CLOCKS_APART_MS = 60_000
"""How far our clock may be ahead of the one that dates the venue's trades (doctor/venue.py allows two seconds)."""
PACE_WAIT_S_MAX = 1.0
"""An order that would have to wait longer for its turn is not sent."""
RESET_S_MAX = 60.0
"""The slowest tier fills its allowance in seconds: a reset that is further away is a misread unit, or nonsense."""
TRACKED_MAX = 20_000
"""Orders remembered; beyond it the oldest that are over are forgotten."""
NO_ORDER = "0x" + "0" * 64
"""No order has this hash: looked up to see whether the venue answers."""


class PolymarketVenue:
    """`market_of` knows the terms of every market that an open order may be of, or None."""

    may_lose_replies = True
    lookup_patience_ms = LOOKUP_PATIENCE_MS

    def __init__(self, client: AccountClient, market_of: Callable[[MarketId], Market | None], clock: Clock) -> None:
        self.client, self._market_of, self._clock = client, market_of, clock
        self.standing = Standing()
        self._pace, self._outbox = Pace(), Outbox(client.post, client.post_batch)
        self._replies: deque[VenueReply] = deque()
        self._tracked: dict[str, TrackedOrder] = {}
        self._hashes: dict[OrderId, str] = {}
        self._booked: Booked = NOTHING_BOOKED
        self.balance_doubted = False
        """The venue's copy of our balance may be stale: it refused an order for it, or something was settled."""
        self.progressed_at = clock.monotonic()
        """When the floor last asked what has happened, monotonic: the order heartbeat beats by it."""

    # -- the protocol -------------------------------------------------------------------------------------------------

    async def place(self, order: Approved, now: Millis) -> None:
        intent = order.intent
        try:
            form, market = self._form(intent)
            order_hash = self.client.signer.hash_of(form)
        except BadInput as error:
            self._reject(intent, str(error))
            return
        tracked = self._track(_sent(intent, order_hash, form, market))
        if self.standing.stopped:
            self._reject(intent, f"not sent: {self.standing.stopped}")
        elif pause := self.standing.paused(self._clock.monotonic(), post_only=intent.post_only):
            raise VenueBusy(pause)
        else:
            self._heed_limits()
            await self._turn(self._pace.orders)
            await self._send(tracked, form)

    async def cancel(self, order: OrderId, now: Millis) -> None:
        tracked = self._tracked.get(self._hashes.get(order, ""))
        if tracked is None:
            raise VenueUnavailable(f"{order} has not been looked up yet: its hash is not known here")
        await self._turn(self._pace.cancels)
        try:
            refusal = await self.client.cancel(tracked.sent.hash)
        except VenueRejected as error:
            raise as_outage(error) from error
        at = self._clock.now_ms()
        if refusal is None:
            self._replies += tracked.accept(at) + tracked.end(tracked.filled, CloseReason.CANCELLED, at)
        else:
            agent = tracked.intent.agent
            self._replies.append(CancelRefused(at=at, agent=agent, order=order, text=refusal))

    async def account_of(self, intent: OrderIntent) -> list[VenueReply] | None:
        """By the hash that the intent itself gives, so that it can be asked after any crash."""
        known = self._market_of(intent.market)
        if known is not None and known.tokens is None:  # they were never read: that proves nothing of the order
            raise VenueUnavailable(f"{known.id} has no token ids here: {intent.id} cannot be looked up")
        try:
            form, market = self._form(intent)
            order_hash = self.client.signer.hash_of(form)
        except BadInput as error:
            logger.bind(action="look_up").warning("{} cannot have been sent: {}", intent.id, error)
            return None
        sent = _sent(intent, order_hash, form, market)
        seen = await self.client.order(order_hash)
        trades = await self.client.trades(Millis(intent.decided_at - CLOCKS_APART_MS), sent.condition)
        ours = [trade for trade in trades if parts_of(trade, order_hash, sent.token)]
        tracked = self._tracked.get(order_hash)
        told = tracked.parts if tracked is not None else None
        account = account_of(sent, seen, ours, gone_at=self._gone_at(tracked, market), told=told, booked=self._booked)
        if account is not None:
            self._catch_up(self._track(sent), seen, ours)
        return account

    async def reach(self) -> None:
        await self.client.order(NO_ORDER)

    def advance(self, now: Millis) -> list[VenueReply]:
        self.progressed_at = self._clock.monotonic()
        replies = list(self._replies)
        self._replies.clear()
        return replies

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """The market does nothing to our orders that the venue does not tell."""
        return []

    # -- what the venue tells -----------------------------------------------------------------------------------------

    def hear(self, event: OrderSeen | TradeSeen) -> bool:
        """News from the user channel, or read; False where no order of ours that is known here is concerned."""
        concerned = [self._tracked[name] for name in _names(event) if name in self._tracked]
        for tracked in concerned:
            self._replies += tracked.see_order(event) if isinstance(event, OrderSeen) else tracked.see_trade(event)
        return bool(concerned)

    def hash_of(self, intent: OrderIntent) -> str | None:
        """The venue's name of an order, sent or not; None where its market is not known (any more)."""
        known = self._hashes.get(intent.id)
        if known is not None:
            return known  # hashing takes half a millisecond, and the books ask for every order of the hour
        try:
            return self.client.signer.hash_of(self._form(intent)[0])
        except (BadInput, VenueUnavailable):
            return None

    def adopt(self, intent: OrderIntent, *, accepted: bool = False) -> str | None:
        """Follow an order of ours again, one that our books have ended included; its hash, None where it has none.

        `accepted`: our books have that the venue took it.
        """
        try:
            form, market = self._form(intent)
            order_hash = self.client.signer.hash_of(form)
        except (BadInput, VenueUnavailable):
            return None
        tracked = self._track(_sent(intent, order_hash, form, market))
        tracked.accepted |= accepted
        return order_hash

    def remember(self, provisional: Iterable[FillMatched], final: Iterable[FillId]) -> None:
        """Before anything else: the fills that our books have. Their trades may be told anew, with other makers than
        the former process heard of."""
        self._booked = by_trade(provisional, final)

    def open_orders(self) -> list[TrackedOrder]:
        """What is followed here and not over."""
        return [tracked for tracked in self._tracked.values() if not tracked.is_over]

    def _gone_at(self, tracked: TrackedOrder | None, market: Market) -> Millis | None:
        """When an order that was taken is over even if the venue has forgotten it; None before that, and for others."""
        gone_at = Millis(market.window_end + GONE_MS)
        was_taken = tracked is not None and tracked.accepted
        return gone_at if was_taken and gone_at <= self._clock.now_ms() else None

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, tracked: TrackedOrder, form: OrderForm) -> None:
        try:
            posted = await self._outbox.send(form)
        except VenueRejected as error:
            self._answered_no(tracked, error)
        else:
            self.standing.worked()
            self._answered_yes(tracked, posted)

    def _answered_yes(self, tracked: TrackedOrder, posted: Posted) -> None:
        """Matches are the trades' to tell; a FOK or FAK order that was matched is over, and so is one matched whole."""
        at = self._clock.now_ms()
        self._replies += tracked.accept(at)
        whole = posted.matched >= tracked.sent.shares
        if posted.status == "matched" and posted.matched and (whole or not tracked.intent.time_in_force.rests):
            self._replies += tracked.end(posted.matched, CloseReason.KILLED, at)

    def _answered_no(self, tracked: TrackedOrder, error: VenueRejected) -> None:
        """Raises VenueUnavailable where the order may have been taken, VenueBusy where it was not for now."""
        at, row = self._clock.now_ms(), error_row(error.status, error.text)
        self._note_standing(row, error, at)
        if isinstance(error, BatchRejected) and not none_was_taken(error.status, error.text):
            raise VenueUnavailable(f"said to a whole batch: {row.meaning} ({error})") from error
        match row.treatment:
            case Treatment.ACCEPTED:
                self._replies += tracked.accept(at) + tracked.end(0, CloseReason.KILLED, at)
            case Treatment.REFUSED:
                self.balance_doubted |= "not enough balance" in error.text.lower()
                self._reject(tracked.intent, error.text)
            case Treatment.LOOK_UP:
                raise VenueUnavailable(f"{row.meaning} ({error})") from error
            case Treatment.PAUSE:
                raise VenueBusy(f"{row.meaning} ({error})") from error
            case Treatment.STOP:
                self._reject(tracked.intent, error.text)

    def _note_standing(self, row: ErrorRow, error: VenueRejected, at: Millis) -> None:
        if row.treatment is Treatment.PAUSE:
            post_only_taken = "post-only" in error.text.lower()
            now_s = self._clock.monotonic()
            self.standing.pause(at, now_s, row.meaning, error.retry_after_s, post_only_taken=post_only_taken)
        elif row.treatment is Treatment.STOP:
            self.standing.stop(at, f"{row.meaning} ({error})")

    def _reject(self, intent: OrderIntent, text: str) -> None:
        at = self._clock.now_ms()
        self._replies.append(OrderRejected(at=at, agent=intent.agent, order=intent.id, text=text))

    def _heed_limits(self) -> None:
        """What the venue last said of our allowance holds for orders. A cancel is never held back for it: whichever
        allowance was meant, an order that stands too long costs more than a refusal."""
        limits = self.client.limits
        if limits.remaining is not None and limits.remaining < 1 and limits.reset_s is not None:
            now_s = self._clock.monotonic()
            left_s = limits.reset_s - wall_ms() / 1000  # the floor's time may be hastened
            self._pace.orders.empty_until(now_s, now_s + min(left_s, RESET_S_MAX))
            limits.remaining = None

    async def _turn(self, bucket: Bucket) -> None:
        """Wait for the rate limit, or raise VenueBusy where that would take too long."""
        now_s = self._clock.monotonic()
        wait_s = bucket.wait_s(now_s)
        if wait_s > PACE_WAIT_S_MAX:
            raise VenueBusy(f"the rate limit leaves no order for {wait_s:.1f} s: not sent")
        bucket.take(now_s)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    # -- orders -------------------------------------------------------------------------------------------------------

    def _form(self, intent: OrderIntent) -> tuple[OrderForm, Market]:
        """Raises BadInput where the order cannot be signed, VenueUnavailable where its market is not known (any more).

        Without the market's tokens the hash cannot be made, and an order must not be called unknown for that.
        """
        market = self._market_of(intent.market)
        if market is None:
            raise VenueUnavailable(f"the terms of {intent.market} are not known here: {intent.id} cannot be looked up")
        return form_of(intent, market, self.client.wallet), market

    def _track(self, sent: SentOrder) -> TrackedOrder:
        known = self._tracked.get(sent.hash)
        if known is None:
            known = self._tracked[sent.hash] = TrackedOrder(sent, booked=self._booked)
            self._hashes[sent.intent.id] = sent.hash
            if len(self._tracked) > TRACKED_MAX:
                self._forget()
        return known

    def _forget(self) -> None:
        """The older half of what is over, or of everything where nothing is."""
        over = [name for name, tracked in self._tracked.items() if tracked.is_over] or list(self._tracked)
        for name in over[: len(over) // 2 + 1]:
            self._hashes.pop(self._tracked.pop(name).intent.id, None)

    def _catch_up(self, tracked: TrackedOrder, seen: OrderSeen | None, trades: Iterable[TradeSeen]) -> None:
        """The look-up itself tells the floor: what the order has learned by it is not told again."""
        for trade in trades:
            tracked.see_trade(trade)
        if seen is not None:
            tracked.see_order(seen)


def _sent(intent: OrderIntent, order_hash: str, form: OrderForm, market: Market) -> SentOrder:
    return SentOrder(
        intent=intent,
        hash=order_hash,
        token=form.token,
        condition=form.condition,
        shares=form.shares,
        fees=market.fees,
    )


def _names(event: OrderSeen | TradeSeen) -> Iterable[str]:
    return (event.hash,) if isinstance(event, OrderSeen) else sorted(hashes_of(event))
