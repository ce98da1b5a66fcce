"""The remote venue's own truth: what it did with our orders, and what it owes us. It outlives the floor's process.

Orders are matched against the true books by the paper venue's own engine; the account is its wallet. What the floor is
told of all this, and when, is the client's affair (venue_client.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from polybot.chaos.faults import Faults
from polybot.chaos.market import World
from polybot.domain.events import (
    BookReplaced,
    FillConfirmed,
    FillFailed,
    FillMatched,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    OrderClosed,
    OrderRejected,
    ReferencePriced,
    TradePrinted,
    VenueReply,
)
from polybot.domain.ids import FillId, MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import Markets
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Millis, Money, Shares
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, new_simulator_state

FINALITY_MS, FINALITY_SPREAD_MS = 2_000, 2_000
LATE_FINALITY_MS = 300_000
WINNER_BIAS = 1.5
"""A fill that would win fails this much more often than the share asked for, one that would lose as much less."""
BOOKS_NEVER_AGE = 2**60
MARKET_KEPT_MS = 3_600_000
"""A market leaves the engine so long after its window; by then nothing of it can still be open."""


class OrderHistory(msgspec.Struct, kw_only=True):
    """What the venue knows of one order, and what the invariants ask: how often it was sent, when it arrived."""

    intent: OrderIntent
    sent_at: list[Millis]
    """One moment for each time a process sent it, whether it arrived or not; two are a bug of the floor's."""
    arrives_at: Millis | None = None
    """When it reaches the venue; None if it never does."""
    replies: list[VenueReply] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come: refused, or closed with every fill final."""
        kinds = [type(reply) for reply in self.replies]
        final = kinds.count(FillConfirmed) + kinds.count(FillFailed)
        return OrderRejected in kinds or (OrderClosed in kinds and kinds.count(FillMatched) == final)

    @property
    def is_split(self) -> bool:
        """Whether some of its fills stand and others failed."""
        kinds = {type(reply) for reply in self.replies}
        return FillConfirmed in kinds and FillFailed in kinds


class ChainModel(VenueModel, frozen=True, kw_only=True):
    """Chance at the simulated venue. How long orders travel, which fills fail and when they are final is asked of the
    exchange, which knows the network, the faults and the winner."""

    travel_ms: Callable[[OrderId, str], int]
    fails: Callable[[FillId], bool]
    final_after_ms: Callable[[FillId], int]

    def latency_ms(self, order: OrderId, leg: str) -> int:
        return self.travel_ms(order, leg)

    def fails_on_chain(self, fill: FillId) -> bool:
        return self.fails(fill)

    def finality_ms(self, fill: FillId) -> int:
        return self.final_after_ms(fill)


class SimExchange:
    """Advances with simulated time, whether or not a floor is alive. Everything it does is dated when it happens."""

    def __init__(self, world: World, faults: Faults, cash: Money) -> None:
        self.world, self.faults = world, faults
        self.orders: dict[OrderId, OrderHistory] = {}
        self.on_event: Callable[[MarketEvent], None] | None = None
        self.on_reply: Callable[[VenueReply], None] | None = None
        self.on_call_begins: Callable[[], int] = lambda: 0
        self.on_call_ends: Callable[[int, bool], None] = lambda number, failed: None
        """Told the number that was given to the call, and whether it failed for whoever made it."""
        self._markets = Markets()
        model = ChainModel(
            book_age_ms_max=BOOKS_NEVER_AGE,
            travel_ms=self._travel_ms,
            fails=self._fails,
            final_after_ms=self._final_after_ms,
        )
        self._engine = Simulator(model, self._markets.by_id, new_simulator_state(cash))
        self._agenda = self._engine.state.agenda
        self._travel: dict[OrderId, int] = {}
        self._busy: set[MarketId] = set()

    # -- our account --------------------------------------------------------------------------------------------------

    @property
    def cash(self) -> Money:
        """Ours at the venue, fills that are not final yet included."""
        return self._engine.state.account.cash

    @property
    def shares(self) -> dict[str, Shares]:
        """By `market:OUTCOME`; empty once everything is paid out."""
        return self._engine.state.account.shares

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of ours is under way: no order travelling or open, no fill waiting to be final."""
        state = self._engine.state
        return not (state.travelling or state.orders or state.unconfirmed)

    @property
    def sent_twice(self) -> list[OrderId]:
        """Orders the floor sent more than once. There should be none, ever."""
        return [order for order, history in self.orders.items() if len(history.sent_at) > 1]

    # -- time ---------------------------------------------------------------------------------------------------------

    def advance(self, now: Millis) -> None:
        """Let the world and our orders in it move on to `now`; whoever listens is told as things happen."""
        if self.world.next_at <= now:
            world, take = self.world, self._take
            while world.next_at <= now:
                for event in world.step():
                    take(event)
        self.world.come_to(now)
        if self._agenda and self._agenda[0][0] <= now:
            self._tell(self._engine.advance(now))

    def _take(self, event: MarketEvent) -> None:
        if self._agenda and self._agenda[0][0] <= event.at:
            self._tell(self._engine.advance(event.at))
        if type(event) is LevelsChanged or type(event) is TradePrinted:
            if event.market in self._busy:
                self._tell(self._engine.observe(event, self._markets.apply(event)))
        elif isinstance(event, BookReplaced):  # it says nothing new: books that are watched follow every change
            self._rest(event.market)
        elif isinstance(event, MarketListed):
            self._list(event)
        elif not isinstance(event, ReferencePriced):
            state = self._markets.apply(event)
            self._tell(self._engine.observe(event, state))
            if isinstance(event, MarketResolved):
                self._busy.discard(event.market)
        if self.on_event is not None:
            self.on_event(event)

    def _list(self, event: MarketListed) -> None:
        """A new market, or a known one with new terms."""
        state = self._markets.apply(event)
        if state is not None:
            state.market = event.market
        for market, known in tuple(self._markets.by_id.items()):
            if known.market.window_end + MARKET_KEPT_MS < event.at:
                self._markets.retire(market)

    def _watch(self, market: MarketId, now: Millis) -> None:
        """Follow this market's books from now on. For the others nobody asks, and it would cost most of the time."""
        state = self._markets.by_id.get(market)
        if state is None or market in self._busy:
            return
        for outcome in (Outcome.UP, Outcome.DOWN):
            event = self.world.snapshot(market, outcome)
            if event is None:
                return
            bids, asks = (event.bid_prices, event.bid_sizes), (event.ask_prices, event.ask_sizes)
            state.books[outcome].replace(bids, asks, now, now)
        self._busy.add(market)

    def _rest(self, market: MarketId) -> None:
        state = self._engine.state
        if market not in self._busy or state.used.get(market):
            return
        if not any(order.intent.market == market for order in state.orders.values()) and not any(
            intent.market == market for intent in state.travelling.values()
        ):
            self._busy.discard(market)

    # -- the doors ----------------------------------------------------------------------------------------------------

    @contextmanager
    def call(self) -> Iterator[None]:
        """A process asks something of the venue. A call that is cut off, as its process is, has no end."""
        number = self.on_call_begins()
        try:
            yield
        except (VenueBusy, VenueUnavailable):
            self.on_call_ends(number, True)
            raise
        self.on_call_ends(number, False)

    def send(self, intent: OrderIntent, now: Millis, travel_ms: int | None) -> None:
        """A process sent an order, which arrives after `travel_ms`, or never (None)."""
        self.advance(now)
        history = self.orders.get(intent.id)
        if history is None:
            history = self.orders[intent.id] = OrderHistory(intent=intent, sent_at=[])
        history.sent_at.append(now)
        if travel_ms is not None and history.arrives_at is None:
            history.arrives_at = Millis(now + travel_ms)
            self._travel[intent.id] = travel_ms
            self._watch(intent.market, now)
            self._engine.submit(intent, now)

    def cancel(self, order: OrderId, now: Millis, travel_ms: int) -> None:
        """A process asked for an order back."""
        self.advance(now)
        self._travel[order] = travel_ms
        self._engine.cancel(order, now)

    def account_of(self, order: OrderId, now: Millis) -> list[VenueReply] | None:
        """All that has happened to an order by `now`, in order; None where it has not arrived."""
        self.advance(now)
        history = self.orders.get(order)
        return list(history.replies) if history is not None and history.replies else None

    # -- chance -------------------------------------------------------------------------------------------------------

    def _travel_ms(self, order: OrderId, leg: str) -> int:
        return self._travel[order]

    def _final_after_ms(self, fill: FillId) -> int:
        wait = FINALITY_MS + int(FINALITY_SPREAD_MS * self.faults.draw("finality", fill))
        if self.faults.strikes("venue_late_finality", self._engine.state.latest, fill):
            wait += int(LATE_FINALITY_MS * self.faults.draw("late finality", fill))
        return wait

    def _fails(self, fill: FillId) -> bool:
        share = self.faults.intensity("venue_ghost_fills", self._engine.state.latest)
        if share is None:
            return False
        bias = WINNER_BIAS if self._wins(fill) else 2 - WINNER_BIAS
        fails = self.faults.draw("ghost", fill) < share * bias
        if fails:
            self.faults.note("venue_ghost_fills", fill)
        return fails

    def _wins(self, fill: FillId) -> bool:
        intent = self.orders[OrderId(fill.rpartition(".")[0])].intent
        up_wins = self.world.payout_up(intent.market) * 2 > UNIT
        return (up_wins == (intent.outcome is Outcome.UP)) == (intent.side is Side.BUY)

    def _tell(self, replies: list[VenueReply]) -> None:
        for reply in replies:
            history = self.orders[reply.order]
            was_split = history.is_split
            history.replies.append(reply)
            if history.is_split and not was_split:
                self.faults.note("venue_partial_settlement", reply.order)
            if self.on_reply is not None:
                self.on_reply(reply)
