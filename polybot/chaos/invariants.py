"""What must be true after every fact, whatever went wrong: checked by a fold of its own over the durable facts.

It shares no code with desk, gate, ledger or auditor: what it finds, they cannot have hidden. Money in millionths.
"""

from collections.abc import Callable

import msgspec

from polybot.chaos.book_checks import BookChecks
from polybot.chaos.breaker_checks import BreakerChecks
from polybot.chaos.window import RULE_SET
from polybot.domain.book import BookState
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    RunStarted,
    TradeSettled,
    TradingPaused,
    TradingResumed,
    Verdict,
    WindowRecorded,
)
from polybot.domain.fact import AgentFact
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Price
from polybot.risk.limits import Limits


class Violated(Exception):
    """An invariant does not hold: its name, and what was found."""

    def __init__(self, invariant: str, found: str) -> None:
        super().__init__(f"{invariant}: {found}")
        self.invariant, self.found = invariant, found


INVARIANTS = {
    "money_conserved": "cash, positions and results add up to the capital, after every fact and for every agent",
    "books_agree": "at rest our ledger and the venue's own account are the same: cash, shares, orders, fills",
    "sent_once": "no intent is written down twice, and none is sent twice",
    "intent_first": "no order leaves before its intent is durable",
    "market_known": "no order to a market that is over, not yet open, unknown, or under unknown rules",
    "book_verified": "no order on a book that is contradicted, unverifiable or too old, or is not the exchange's",
    "limits_kept": "no order beyond the limits of trade, agent and floor, or while a pause is or must be in force",
    "fills_fit": "no fill beyond its order's size, money or limit, and none counted twice",
    "window_recorded": "one record per agent and window, no more and no fewer",
    "settled_once": "every market settles once, by its true payout",
    "chain_whole": "the journal's chain of hashes is whole from its first row",
    "store_equal": "at rest the database has every journaled row, once and in order",
    "no_fact_lost": "a fact that was acknowledged is still there after any end of the process",
    "no_surprise": "no agent crashes and no process ends but by what was planted",
    "comes_to_rest": "once the faults are over, everything settles and the floor stops in order",
    "never_stuck": "the floor never waits for something that cannot come",
}
"""By name, for the table, the documents and the planted bugs."""


FINAL_WITHIN_MS = 600_000
"""So long after a window's end, or after the floor came back, its fills are waited for before it is recorded."""
EXPECTED_CRASHES = ("PlantedCrash", "AgentHung", "AgentGone", "Dismissed", "FeedOverflow")


class Fold(msgspec.Struct):
    """One agent's money as the facts tell it. `free` is cash less what provisional and open things hold."""

    capital: int = 0
    posted: int = 0
    held: int = 0
    realised: int = 0


class OrderSeen(msgspec.Struct):
    intent: OrderIntent
    filled: int = 0
    spent: int = 0
    accepted: bool = False
    closed: bool = False

    def has_room(self, shares: int, cost: int, *, live: bool) -> bool:
        """Whether it asked for so much more. At the real venue a FOK or FAK BUY spends its money, whatever it buys."""
        intent = self.intent
        by_money = live and intent.side is Side.BUY and intent.time_in_force in (TimeInForce.FOK, TimeInForce.FAK)
        return self.filled + shares <= intent.shares or (by_money and self.spent + cost <= intent.cost_max)


class FillSeen(msgspec.Struct):
    fact: FillMatched
    cost: int
    state: str = "provisional"


class Invariants:
    """Tell it every durable fact in order; it raises Violated at the first that should not be."""

    def __init__(self, limits: Limits, payout_up: Callable[[MarketId], Price], books: BookChecks) -> None:
        """`payout_up` tells what a market truly pays, `books` what it truly showed, whatever the floor was told."""
        self.limits, self._payout_up, self._books = limits, payout_up, books
        self.seq = 0
        self.live = False
        self._started_at = 0
        self.agents: dict[AgentId, Fold] = {}
        self.orders: dict[OrderId, OrderSeen] = {}
        self.open: dict[OrderId, OrderSeen] = {}
        self.fills_over: set[FillId] = set()
        self.fills: dict[FillId, FillSeen] = {}
        self.markets: dict[MarketId, Market] = {}
        self.payouts: dict[MarketId, Price] = {}
        self.recorded: dict[tuple[AgentId, MarketId], WindowRecorded] = {}
        self.pauses: dict[tuple[AgentId | None, str], TradingPaused] = {}
        self.breakers = BreakerChecks(limits)
        self._fill_counts: dict[tuple[AgentId, MarketId], int] = {}
        self.trades = 0
        self._settled_orders: set[OrderId] = set()
        self._check: dict[type, Callable[..., None]] = {
            CapitalAllocated: self._allocated,
            MarketOpened: self._opened,
            MarketSettled: self._market_settled,
            IntentRecorded: self._intended,
            OrderAccepted: self._accepted,
            OrderRejected: self._ended,
            OrderClosed: self._ended,
            FillMatched: self._matched,
            FillConfirmed: self._confirmed,
            FillFailed: self._failed,
            TradeSettled: self._trade_settled,
            WindowRecorded: self._recorded,
            TradingPaused: self._paused,
            TradingResumed: self._resumed,
            BooksAudited: self._audited,
            AgentChanged: self._agent_changed,
            RunStarted: self._started,
        }

    def take(self, seq: int, fact: AnyFact) -> None:
        """Raises Violated."""
        if seq != self.seq + 1:
            raise Violated("chain_whole", f"row {seq} follows row {self.seq}")
        self.seq = seq
        check = self._check.get(type(fact))
        if check is not None:
            check(fact)
            if isinstance(fact, AgentFact) and fact.agent in self.agents:
                self._require_conserved(fact.agent)

    # -- money --------------------------------------------------------------------------------------------------------

    def capital_base(self) -> int:
        capital = sum(fold.capital for fold in self.agents.values())
        return min(capital, capital + sum(fold.realised for fold in self.agents.values()))

    def exposure(self, agent: AgentId) -> int:
        """What open orders may still cost and unsettled fills did cost."""
        open_cost = sum(
            max(0, order.intent.cost_max - order.spent) for order in self.open.values() if order.intent.agent == agent
        )
        return open_cost + self.agents[agent].held

    def _require_conserved(self, agent: AgentId) -> None:
        fold = self.agents[agent]
        mine = [fill for fill in self.fills.values() if fill.fact.agent == agent]
        confirmed = sum(fill.cost for fill in mine if fill.state == "confirmed")
        provisional = sum(fill.cost for fill in mine if fill.state == "provisional")
        if fold.posted + confirmed != fold.capital + fold.realised:
            found = f"{agent} has {fold.posted} and {confirmed} in shares, of {fold.capital} and {fold.realised} won"
            raise Violated("money_conserved", found)
        if fold.held != confirmed + provisional:
            raise Violated("money_conserved", f"{agent} holds {fold.held}, its fills say {confirmed + provisional}")

    def _allocated(self, fact: CapitalAllocated) -> None:
        fold = self.agents.setdefault(fact.agent, Fold())
        fold.capital += fact.moved
        fold.posted += fact.moved
        self.breakers.fund(fact.moved)

    def _audited(self, fact: BooksAudited) -> None:
        if not fact.passed:
            found = f"{fact.agent}'s desk has {fact.desk_cash}, the auditor finds {fact.recomputed_cash}"
            raise Violated("money_conserved", found)

    # -- orders -------------------------------------------------------------------------------------------------------

    def _intended(self, fact: IntentRecorded) -> None:
        intent = fact.intent
        if intent.id in self.orders:
            raise Violated("sent_once", f"{intent.id} is written down twice")
        self._require_market(intent)
        self._require_book(intent)
        self._require_limits(intent)
        self.orders[intent.id] = self.open[intent.id] = OrderSeen(intent=intent)

    def _require_market(self, intent: OrderIntent) -> None:
        market, at = self.markets.get(intent.market), intent.decided_at
        if market is None:
            raise Violated("market_known", f"{intent.id}: nobody opened {intent.market}")
        if not market.window_start <= at < market.window_end or intent.market in self.payouts:
            raise Violated("market_known", f"{intent.id}: {intent.market} is not open at {at}")
        if market.rule_set != RULE_SET or intent.proof.rule_set != market.rule_set:
            raise Violated("market_known", f"{intent.id}: {intent.market} is under {market.rule_set}")

    def _require_book(self, intent: OrderIntent) -> None:
        proof = intent.proof
        if proof.book_state is not BookState.VERIFIED:
            raise Violated("book_verified", f"{intent.id} was decided on a book that is {proof.book_state}")
        if not 0 <= proof.book_age_ms <= self.limits.book_age_ms_max:
            raise Violated("book_verified", f"{intent.id} was decided on a book of {proof.book_age_ms} ms")
        untrue = self._books.untrue(intent)
        if untrue is not None:
            raise Violated("book_verified", f"{intent.id} was decided on best prices that never were: {untrue}")

    def _require_limits(self, intent: OrderIntent) -> None:
        base, agent, limits = self.capital_base(), intent.agent, self.limits
        mine = self.exposure(agent) + intent.cost_max
        floor = sum(self.exposure(name) for name in self.agents) + intent.cost_max
        for what, found, share in (
            ("the trade", intent.cost_max, limits.order_capital_share),
            (agent, mine, limits.agent_capital_share),
            ("the floor", floor, limits.floor_capital_share),
        ):
            if found > base * share // UNIT:
                raise Violated("limits_kept", f"{intent.id}: {what} has {found}, {base * share // UNIT} are allowed")
        for (who, breaker), pause in self.pauses.items():
            if who in (None, agent) and pause.at < intent.decided_at:
                raise Violated("limits_kept", f"{intent.id} was decided at {intent.decided_at}, {breaker} is in force")

        missing = self.breakers.missing(agent, intent.decided_at)
        if missing is not None:
            raise Violated("limits_kept", f"{intent.id} was decided at {intent.decided_at}: {missing}")

    def _accepted(self, fact: OrderAccepted) -> None:
        order = self._order(fact.order)
        if order.accepted or order.closed:
            raise Violated("fills_fit", f"{fact.order} is accepted twice, or after its end")
        order.accepted = True

    def _ended(self, fact: OrderRejected | OrderClosed) -> None:
        order = self._order(fact.order)
        if order.closed:
            raise Violated("fills_fit", f"{fact.order} ends twice")
        order.closed = True
        del self.open[fact.order]

    def _order(self, order: OrderId) -> OrderSeen:
        found = self.orders.get(order)
        if found is None:
            raise Violated("intent_first", f"a fact speaks of {order}, whose intent is not written down")
        return found

    # -- fills --------------------------------------------------------------------------------------------------------

    def _matched(self, fact: FillMatched) -> None:
        order = self._order(fact.order)
        if fact.fill in self.fills or fact.fill in self.fills_over:
            raise Violated("fills_fit", f"{fact.fill} is counted twice")
        cost = fact.price * fact.shares // UNIT + fact.fee
        if fact.price > order.intent.limit or not order.has_room(fact.shares, cost, live=self.live):
            raise Violated("fills_fit", f"{fact.fill} is more, or dearer, than {fact.order} asked for")
        order.filled += fact.shares
        order.spent += cost
        self.fills[fact.fill] = FillSeen(fact, cost)
        self.agents[fact.agent].held += cost
        key = (fact.agent, fact.market)
        self._fill_counts[key] = self._fill_counts.get(key, 0) + 1

    def _confirmed(self, fact: FillConfirmed) -> None:
        fill = self._provisional(fact.fill)
        fill.state = "confirmed"
        self.agents[fact.agent].posted -= fill.cost

    def _failed(self, fact: FillFailed) -> None:
        fill = self._provisional(fact.fill)
        self.fills_over.add(fact.fill)
        del self.fills[fact.fill]
        key = (fact.agent, fill.fact.market)
        if key in self._fill_counts:  # else its window is recorded: that it would end was waited for in vain
            self._fill_counts[key] -= 1
        self.agents[fact.agent].held -= fill.cost

    def _provisional(self, name: FillId) -> FillSeen:
        fill = self.fills.get(name)
        if fill is None or fill.state != "provisional":
            raise Violated("fills_fit", f"{name} ends, and it is {fill.state if fill else 'over or unknown'}")
        return fill

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _opened(self, fact: MarketOpened) -> None:
        self.markets[fact.market.id] = fact.market

    def _market_settled(self, fact: MarketSettled) -> None:
        if fact.market in self.payouts:
            raise Violated("settled_once", f"{fact.market} settles twice")
        if fact.payout_up != self._payout_up(fact.market):
            raise Violated("settled_once", f"{fact.market} pays {self._payout_up(fact.market)}, not {fact.payout_up}")
        self.payouts[fact.market] = fact.payout_up

    def _trade_settled(self, fact: TradeSettled) -> None:
        fold = self.agents[fact.agent]
        payout_up = self.payouts.get(fact.market)
        mine = [fill for fill in self.fills.values() if fill.fact.order == fact.order]
        shares, cost = sum(fill.fact.shares for fill in mine), sum(fill.cost for fill in mine)
        if payout_up is None or any(fill.state == "provisional" for fill in mine):
            raise Violated("settled_once", f"{fact.order} is settled before its market or its fills are final")
        if fact.order in self._settled_orders:
            raise Violated("settled_once", f"{fact.order} is settled twice")
        per_share = payout_up if fact.outcome is Outcome.UP else UNIT - payout_up
        payout = per_share * shares // UNIT
        if (fact.shares, fact.cost + fact.fees, fact.payout, fact.pnl) != (shares, cost, payout, payout - cost):
            raise Violated("money_conserved", f"{fact.order} settles {fact}, its fills say {shares}, {cost}, {payout}")
        self._settled_orders.add(fact.order)
        for fill in mine:
            self.fills_over.add(fill.fact.fill)
            del self.fills[fill.fact.fill]
        fold.held -= cost
        fold.posted += payout
        fold.realised += fact.pnl
        self.breakers.settle(fact)
        self.trades += 1

    def _recorded(self, fact: WindowRecorded) -> None:
        key = (fact.agent, fact.market)
        if key in self.recorded:
            raise Violated("window_recorded", f"{fact.agent} has a second record of {fact.market}")
        if fact.at < max(self.markets[fact.market].window_end, self._started_at) + FINAL_WITHIN_MS:
            self._no_fill_is_open(key)
        fills = self._fill_counts.pop(key, 0)
        if fact.fills != fills or (fact.verdict is Verdict.TRADED) != (fills > 0):
            raise Violated("window_recorded", f"{fact} says {fact.verdict}, and there were {fills} fills that stood")
        self.recorded[key] = fact

    def _no_fill_is_open(self, key: tuple[AgentId, MarketId]) -> None:
        for fill in self.fills.values():
            if fill.state == "provisional" and (fill.fact.agent, fill.fact.market) == key:
                raise Violated("window_recorded", f"{key} is recorded, and {fill.fact.fill} may still fail")

    def _agent_changed(self, fact: AgentChanged) -> None:
        if fact.state is AgentState.CRASHED and not fact.text.startswith(EXPECTED_CRASHES):
            raise Violated("no_surprise", f"{fact.agent} crashed: {fact.text}")

    def _started(self, fact: RunStarted) -> None:
        self.live, self._started_at = fact.mode == "live", fact.at
        self.breakers.calls.forget()

    def _paused(self, fact: TradingPaused) -> None:
        self.pauses[fact.agent, fact.breaker] = fact
        self.breakers.pause(fact)

    def _resumed(self, fact: TradingResumed) -> None:
        self.pauses.pop((fact.agent, fact.breaker), None)
        self.breakers.resume(fact)
