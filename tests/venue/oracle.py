"""What must be true of any story, reckoned a second time from the outside with fractions and its own books.

It shares no arithmetic with the simulator: it sees orders, recorded market events and replies, and objects.
"""

from collections import defaultdict
from fractions import Fraction
from math import floor

from polybot.desk.state import ACCOUNT_CASH, fill_movements
from polybot.domain.events import (
    BookReplaced,
    FillConfirmed,
    FillFailed,
    FillMatched,
    LevelsChanged,
    Liquidity,
    MarketEvent,
    MarketResolved,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    TradePrinted,
    VenueReply,
)
from polybot.domain.ids import AgentId, FillId, OrderId
from polybot.domain.ledger import CASH, Ledger
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import UNIT
from polybot.venue.matching import SimulatorState
from tests.venue.scenarios import Watcher

MILLION = 1_000_000
Place = tuple[bool, int]
"""(is it an ask in Up's book, Up's price): one name for one pool, whichever token it is seen from."""


class OracleBook:
    """One token's recorded levels, as dictionaries."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.broken = False
        self.heard_at = 0

    def other_side(self, side: Side) -> dict[int, int]:
        return self.asks if side is Side.BUY else self.bids


class Life:
    """One order as the replies tell it."""

    def __init__(self, intent: OrderIntent) -> None:
        self.intent = intent
        self.state = "sent"
        self.filled = 0
        self.paid = 0
        self.ahead_min: int | None = None  # the least that can be before it in its queue; None until it may rest


class Oracle(Watcher):
    """Raises AssertionError at the first thing that cannot be."""

    def __init__(self, market: Market, cash: int, book_age_ms_max: int) -> None:
        self.market, self.start_cash, self.book_age_ms_max = market, cash, book_age_ms_max
        self.books = {Outcome.UP: OracleBook(), Outcome.DOWN: OracleBook()}
        self.taken: defaultdict[Place, int] = defaultdict(int)
        self.untold: defaultdict[Place, int] = defaultdict(int)  # traded at a place, not yet seen as a fall
        self.lives: dict[OrderId, Life] = {}
        self.fills: dict[FillId, FillMatched] = {}
        self.standing: dict[FillId, str] = {}
        self.ledgers: defaultdict[AgentId, Ledger] = defaultdict(Ledger)
        self.payout: int | None = None
        self.last_at = 0
        self.after_crash = False
        """A restarted venue may hold a level for used that came back meanwhile; it may never do the opposite."""

    # -- what is told -------------------------------------------------------------------------------------------------

    def sent(self, intent: OrderIntent) -> None:
        self.lives[intent.id] = Life(intent)

    def market_moved(self, event: MarketEvent, state: MarketState) -> None:
        self.market = state.market
        before = self._sizes()
        if isinstance(event, BookReplaced):
            bids: dict[int, int] = dict(zip(event.bid_prices, event.bid_sizes, strict=True))
            asks: dict[int, int] = dict(zip(event.ask_prices, event.ask_sizes, strict=True))
            self._set(event.outcome, bids, asks, event.received)
            self.books[event.outcome].broken = bool(bids and asks and max(bids) >= min(asks))
        elif isinstance(event, LevelsChanged):
            for change in event.changes:
                book = self.books[change.outcome]
                levels = book.bids if change.side is Side.BUY else book.asks
                levels.pop(change.price, None)
                if change.size:
                    levels[change.price] = change.size
                self._set(change.outcome, book.bids, book.asks, event.received)
        elif isinstance(event, MarketResolved):
            self.payout = event.payout_up
        if isinstance(event, BookReplaced | LevelsChanged):
            self._levels_fell(before)
            for place in [place for place in self.taken if not self._size(place)]:
                del self.taken[place]

    def heard(self, replies: list[VenueReply], event: MarketEvent | None) -> None:
        if isinstance(event, TradePrinted):
            self._check_trade(event, [reply for reply in replies if isinstance(reply, FillMatched)])
        for reply in replies:
            assert reply.at >= self.last_at, "a reply went back in time"
            self.last_at = reply.at
            self._hear(reply, event)
        if isinstance(event, TradePrinted):
            self._trade_was(event)

    def agrees(self, state: SimulatorState) -> None:
        """The venue's account against the fills alone, at every moment."""
        account = state.account
        assert account.cash == self.cash(), "cash is not what the fills give"
        assert account.cash >= 0, "cash below zero"
        held = self._shares(("matched", "confirmed"), ("matched", "confirmed"))
        final = self._shares(("confirmed",), ("matched", "confirmed"))
        assert min([0, *final.values()]) == 0, "more shares sold than held for good"
        redeemed = final if self.payout is not None else {}
        expected = {o: n - redeemed.get(o, 0) for o, n in held.items()}
        for outcome in Outcome:
            asset = f"{self.market.id}:{outcome.name}"
            assert account.shares.get(asset, 0) == expected.get(outcome, 0), "shares are not what the fills give"
        assert sum(account.reserved.values()) <= account.cash, "more is reserved than there is"
        if not state.orders:
            kept = account.reserved or account.reserved_shares or account.selling
            assert not kept, "a reservation outlived its order"
        assert len(state.agenda) <= 256 + 4 * (len(state.travelling) + len(state.orders) + len(state.unconfirmed))

    def at_rest(self, state: SimulatorState) -> None:
        """After settlement and the last confirmation nothing is open, and the desks' ledgers add up to the account."""
        assert all(life.state in ("closed", "rejected") for life in self.lives.values()), "an order was never answered"
        assert not state.orders
        assert not state.travelling
        assert not state.unconfirmed
        assert not state.agenda
        assert not state.account.shares
        assert not state.account.pending_shares
        assert state.account.pending_cash == 0
        ledgers = 0
        for ledger in self.ledgers.values():
            assert not ledger.held
            assert ledger.total(CASH) == 0
            ledgers += ledger.balance(ACCOUNT_CASH, CASH).posted
            ledgers += sum(
                floor(self._per_share(outcome) * ledger.balance("shares", f"{self.market.id}:{outcome.name}").posted)
                for outcome in Outcome
            )
        assert self.start_cash + ledgers == state.account.cash, "the desks' ledgers differ from the account"

    def cash(self) -> int:
        """What the wallet must hold, from the fills and the payout alone."""
        total = Fraction(self.start_cash)
        for name, fill in self.fills.items():
            if self.standing[name] != "failed":
                total += self._cash_of(fill)
        if self.payout is not None:
            final = self._shares(("confirmed",), ("matched", "confirmed"))
            total += sum(floor(self._per_share(outcome) * held) for outcome, held in final.items())
        assert total.denominator == 1
        return int(total)

    # -- replies ------------------------------------------------------------------------------------------------------

    def _hear(self, reply: VenueReply, event: MarketEvent | None) -> None:
        life = self.lives[reply.order]
        match reply:
            case OrderAccepted():
                assert life.state == "sent", f"accepted while {life.state}"
                life.state = "open"
                life.ahead_min = self._size(_place(life.intent.outcome, life.intent.side, life.intent.limit))
            case OrderRejected():
                assert life.state == "sent", f"rejected while {life.state}"
                life.state = "rejected"
            case FillMatched():
                self._matched(life, reply, event)
            case FillConfirmed() | FillFailed():
                assert self.standing[reply.fill] == "matched", "a fill was finalised twice"
                confirmed = isinstance(reply, FillConfirmed)
                self.standing[reply.fill] = "confirmed" if confirmed else "failed"
                ledger = self.ledgers[reply.agent]
                (ledger.confirm if confirmed else ledger.void)(reply.fill)
            case OrderClosed():
                self._closed(life, reply)
            case _:
                assert life.state in ("sent", "open"), "a cancel was refused for an order that is over"

    def _closed(self, life: Life, reply: OrderClosed) -> None:
        assert life.state == "open", f"closed while {life.state}"
        life.state = "closed"
        whole = life.filled == life.intent.shares
        assert (reply.reason is CloseReason.FILLED) is whole, "closed as something it is not"
        if life.intent.time_in_force is TimeInForce.FOK:
            assert whole or not life.filled, "a fill-or-kill order was filled in part"
        if life.intent.expires_at is not None:
            assert reply.at <= life.intent.expires_at, "outlived its date"
        assert reply.at <= self.market.window_end, "outlived its market"

    def _matched(self, life: Life, fill: FillMatched, event: MarketEvent | None) -> None:
        intent = life.intent
        assert life.state == "open", f"filled while {life.state}"
        assert fill.fill not in self.fills, "the same fill twice"
        assert fill.at < self.market.window_end, "filled after the end"
        life.filled += fill.shares
        assert 0 < fill.shares <= fill.available
        assert life.filled <= intent.shares, "filled beyond its size"
        worse = fill.price > intent.limit if intent.side is Side.BUY else fill.price < intent.limit
        assert not worse, "filled beyond its limit"
        assert fill.fee == (self._fee(fill) if fill.liquidity is Liquidity.TAKER else 0), "not the schedule's fee"
        if intent.side is Side.BUY:
            life.paid += -int(self._cash_of(fill))
            assert life.paid <= intent.cost_max, "cost more than was reserved"
        self.fills[fill.fill], self.standing[fill.fill] = fill, "matched"
        self.ledgers[fill.agent].hold(fill.fill, fill_movements(fill))
        if event is None:
            self._check_walk(intent, fill)
        elif not isinstance(event, TradePrinted):
            self._check_crossing(intent, fill)
        if fill.liquidity is Liquidity.TAKER:
            assert not intent.post_only, "a post-only order took"
        else:
            assert intent.time_in_force.rests, "an order that never rests was a maker"

    def _check_walk(self, intent: OrderIntent, fill: FillMatched) -> None:
        """A taker pays the book's own price, best levels first, and no level gives more than it has."""
        assert fill.liquidity is Liquidity.TAKER
        book = self._trusted(intent, fill.at)
        levels = book.other_side(intent.side)
        assert fill.price in levels, "a price nobody offered"
        for price, size in levels.items():
            better = price < fill.price if intent.side is Side.BUY else price > fill.price
            left = size - self.taken[self._other_place(intent, price)]
            passed_by = better and left >= 10_000 and not self.after_crash
            assert not passed_by, "passed a better price by"
        self._take(intent, fill.price, fill.shares)

    def _check_crossing(self, intent: OrderIntent, fill: FillMatched) -> None:
        """A resting order crossed by the book is filled at its own limit, out of what crosses it."""
        assert fill.price == intent.limit
        levels = self._trusted(intent, fill.at).other_side(intent.side)
        wanted = int(fill.shares)
        for price in sorted(levels, reverse=intent.side is Side.SELL):
            beyond = price > intent.limit if intent.side is Side.BUY else price < intent.limit
            left = levels[price] - self.taken[self._other_place(intent, price)]
            if beyond or wanted <= 0:
                break
            share = min(wanted, left - left % 10_000 if left > 0 else 0)
            self.taken[self._other_place(intent, price)] += share
            wanted -= share
        assert wanted <= 0, "a maker was filled by nobody"

    def _check_trade(self, trade: TradePrinted, fills: list[FillMatched]) -> None:
        """A trade fills no more than its size, and at its own price nobody before those ahead of him."""
        opposite = Side.SELL if trade.side is Side.BUY else Side.BUY
        level = _place(trade.outcome, opposite, trade.price)
        assert sum(fill.shares for fill in fills) <= trade.size, "a trade was larger than it was"
        at_level = 0
        for fill in fills:
            intent = self.lives[fill.order].intent
            place = _place(intent.outcome, intent.side, intent.limit)
            assert fill.price == intent.limit
            assert place[0] == level[0], "filled by a trade on the other side"
            assert place[1] <= level[1] if place[0] else place[1] >= level[1], "filled by a trade that never reached it"
            if place == level:
                at_level += fill.shares
                ahead = self.lives[fill.order].ahead_min or 0
                assert at_level <= max(0, trade.size - ahead), "a maker was filled before its queue"

    # -- queues -------------------------------------------------------------------------------------------------------

    def _trade_was(self, trade: TradePrinted) -> None:
        opposite = Side.SELL if trade.side is Side.BUY else Side.BUY
        level = _place(trade.outcome, opposite, trade.price)
        self.untold[level] += trade.size
        for life, place in self._open():
            if place == level:
                life.ahead_min = max(0, (life.ahead_min or 0) - trade.size)
            elif place[0] == level[0] and (place[1] < level[1] if place[0] else place[1] > level[1]):
                life.ahead_min = 0

    def _levels_fell(self, before: dict[Place, int]) -> None:
        """The most favourable reading: whatever left without a trade stood before us, and no trade is told twice."""
        for life, place in self._open():
            size = self._size(place)
            fell = max(0, before.get(place, 0) - size)
            life.ahead_min = min(max(0, (life.ahead_min or 0) - max(0, fell - self.untold[place])), size)
        for place, size in before.items():
            self.untold[place] = max(0, self.untold[place] - max(0, size - self._size(place)))

    def _open(self) -> list[tuple[Life, Place]]:
        alive = [life for life in self.lives.values() if life.state == "open"]
        return [(life, _place(life.intent.outcome, life.intent.side, life.intent.limit)) for life in alive]

    # -- books --------------------------------------------------------------------------------------------------------

    def _set(self, outcome: Outcome, bids: dict[int, int], asks: dict[int, int], at: int) -> None:
        book = self.books[outcome]
        book.bids, book.asks, book.heard_at = dict(bids), dict(asks), at
        if len(self.market.quoted) == 1:
            mirror = self.books[outcome.other]
            mirror.bids = {UNIT - price: size for price, size in asks.items()}
            mirror.asks = {UNIT - price: size for price, size in bids.items()}
            mirror.heard_at = at

    def _trusted(self, intent: OrderIntent, at: int) -> OracleBook:
        book = self.books[intent.outcome]
        spoken_for = self.books[intent.outcome if len(self.market.quoted) == 2 else Outcome.UP]
        assert not spoken_for.broken, "traded on a contradicted book"
        assert at - book.heard_at <= self.book_age_ms_max, "traded on a stale book"
        return book

    def _sizes(self) -> dict[Place, int]:
        places = {
            _place(o, s, p)
            for o, b in self.books.items()
            for s, ps in ((Side.BUY, b.bids), (Side.SELL, b.asks))
            for p in ps
        }
        return {place: self._size(place) for place in places}

    def _size(self, place: Place) -> int:
        is_ask, price = place
        up, down = self.books[Outcome.UP], self.books[Outcome.DOWN]
        return max(
            (up.asks if is_ask else up.bids).get(price, 0), (down.bids if is_ask else down.asks).get(UNIT - price, 0)
        )

    def _other_place(self, intent: OrderIntent, price: int) -> Place:
        return _place(intent.outcome, Side.SELL if intent.side is Side.BUY else Side.BUY, price)

    def _take(self, intent: OrderIntent, price: int, shares: int) -> None:
        place = self._other_place(intent, price)
        self.taken[place] += shares
        size = self.books[intent.outcome].other_side(intent.side)[price]
        assert self.taken[place] <= size, "the same shares were sold twice"

    # -- money --------------------------------------------------------------------------------------------------------

    def _fee(self, fill: FillMatched) -> int:
        schedule = self.market.fees
        if not schedule.rate:
            return 0
        price = Fraction(fill.price, MILLION)
        exact = (
            Fraction(fill.shares, MILLION)
            * Fraction(schedule.rate, MILLION)
            * (price * (1 - price)) ** schedule.exponent
        )
        return 10 * floor(exact * 100_000)

    @staticmethod
    def _cash_of(fill: FillMatched) -> Fraction:
        notional = floor(Fraction(fill.price * fill.shares, MILLION))
        return Fraction((-notional if fill.side is Side.BUY else notional) - fill.fee)

    def _per_share(self, outcome: Outcome) -> Fraction:
        assert self.payout is not None
        return Fraction(self.payout if outcome is Outcome.UP else MILLION - self.payout, MILLION)

    def _shares(self, bought: tuple[str, ...], sold: tuple[str, ...]) -> dict[Outcome, int]:
        held: defaultdict[Outcome, int] = defaultdict(int)
        for name, fill in self.fills.items():
            if fill.side is Side.BUY and self.standing[name] in bought:
                held[fill.outcome] += fill.shares
            elif fill.side is Side.SELL and self.standing[name] in sold:
                held[fill.outcome] -= fill.shares
        return dict(held)


def _place(outcome: Outcome, side: Side, price: int) -> Place:
    if outcome is Outcome.UP:
        return side is Side.SELL, price
    return side is Side.BUY, UNIT - price
