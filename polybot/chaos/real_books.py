"""The journal retold by other means than the floor's: own sums over the bare facts, and every rule that must hold.

Pure. Nothing of the desks, the ledger or the auditor is used here, so that a mistake of theirs is not repeated.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

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
    Journaled,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    RunStarted,
    TradeAudited,
    TradeSettled,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Money, Price, notional_floor

Once = tuple[str, str]
"""What may be told only once: the kind of fact, and of whom."""


class Books(msgspec.Struct, kw_only=True):
    """What the facts add up to. `cash` is each agent's at the end, when every position is settled."""

    cash: dict[AgentId, Money] = {}
    capital: Money = Money(0)
    pnl: Money = Money(0)
    facts: int = 0
    orders: int = 0
    fills: int = 0
    trades: int = 0
    records: int = 0
    never_sent: int = 0
    findings: list[str] = []


class Retelling:
    """Folds the facts one by one; `books()` after the last."""

    def __init__(self) -> None:
        self._books = Books()
        self._live = False
        self._told: Counter[Once] = Counter()
        self._intents: dict[OrderId, OrderIntent] = {}
        self._fills: dict[FillId, FillMatched] = {}
        self._of_order: defaultdict[OrderId, list[FillId]] = defaultdict(list)
        self._confirmed: set[FillId] = set()
        self._answered: set[OrderId] = set()
        self._closed: dict[OrderId, CloseReason] = {}
        self._settled: dict[MarketId, Price] = {}
        self._opened: set[MarketId] = set()
        self._recorded: set[tuple[AgentId, MarketId]] = set()
        self._traders: set[AgentId] = set()
        self._desk_cash: dict[AgentId, Money] = {}

    def take(self, entry: Journaled) -> None:
        fact, seq = entry.fact, entry.seq
        self._books.facts = seq
        for kind, whose in told_once(fact):
            self._told[kind, whose] += 1
            if self._told[kind, whose] == 2:
                self._find(seq, f"{kind} {whose} is told twice")
        if isinstance(fact, IntentRecorded):
            self._intents[fact.intent.id] = fact.intent
        elif isinstance(fact, OrderAccepted | OrderRejected | FillMatched | OrderClosed):
            self._order(seq, fact)
        elif isinstance(fact, FillConfirmed | FillFailed):
            self._final(seq, fact)
        elif isinstance(fact, TradeSettled):
            self._trade(seq, fact)
        else:
            self._floor(seq, fact)

    def _floor(self, seq: int, fact: AnyFact) -> None:
        if isinstance(fact, RunStarted):
            self._live = fact.mode == "live"
        elif isinstance(fact, CapitalAllocated):
            self._traders.add(fact.agent)
            self._books.capital = Money(self._books.capital + fact.moved)
            self._move(fact.agent, fact.moved)
        elif isinstance(fact, MarketOpened):
            self._opened.add(fact.market.id)
        elif isinstance(fact, MarketSettled):
            self._settled[fact.market] = fact.payout_up
        elif isinstance(fact, WindowRecorded):
            self._recorded.add((fact.agent, fact.market))
        elif isinstance(fact, BooksAudited):
            self._desk_cash[fact.agent] = fact.desk_cash
            if not fact.passed:
                self._find(seq, f"the auditor found {fact.agent}'s cash wrong")
        elif isinstance(fact, AgentChanged) and fact.state in (AgentState.CRASHED, AgentState.BENCHED):
            self._find(seq, f"{fact.agent} {fact.state}: {fact.text}")
        elif isinstance(fact, TradeAudited) and not fact.passed:
            self._find(seq, f"the auditor found order {fact.order} wrong: {', '.join(fact.findings)}")

    def _order(self, seq: int, fact: OrderAccepted | OrderRejected | FillMatched | OrderClosed) -> None:
        order = fact.order
        intent = self._intents.get(order)
        if intent is None:
            self._find(seq, f"{type(fact).__name__} of order {order}, which was never written down")
            return
        if isinstance(fact, OrderAccepted | OrderRejected):
            if self._closed.get(order) is CloseReason.NEVER_SENT:
                self._find(seq, f"order {order} was closed as never sent, and the venue answered")
            self._answered.add(order)
            if isinstance(fact, OrderRejected):
                self._closed[order] = CloseReason.REJECTED
        elif isinstance(fact, OrderClosed):
            self._closed[order] = fact.reason
        else:
            self._fills[fact.fill] = fact
            self._of_order[order].append(fact.fill)
            self._fits(seq, intent)

    def _fits(self, seq: int, intent: OrderIntent) -> None:
        """At the real venue a FOK or FAK BUY spends its money; all else, and all on paper, is a number of shares."""
        order, fills = intent.id, [self._fills[fill] for fill in self._of_order[intent.id]]
        filled = sum(fill.shares for fill in fills)
        spent = sum(notional_floor(fill.price, fill.shares) + fill.fee for fill in fills if fill.side is Side.BUY)
        by_money = self._live and intent.side is Side.BUY and intent.time_in_force in (TimeInForce.FOK, TimeInForce.FAK)
        if order not in self._answered or (filled > intent.shares and not by_money):
            self._find(seq, f"order {order} of {intent.shares} shares has fills of {filled}")
        if spent > intent.cost_max:
            self._find(seq, f"order {order}, which may cost {intent.cost_max}, has fills for {spent}")

    def _final(self, seq: int, fact: FillConfirmed | FillFailed) -> None:
        if fact.fill not in self._fills:
            self._find(seq, f"fill {fact.fill} is final and was never matched")
        elif isinstance(fact, FillConfirmed):
            self._confirmed.add(fact.fill)

    def _trade(self, seq: int, fact: TradeSettled) -> None:
        """Against its fills alone: each was paid for rounded up, with its fee, and pays what the market paid out."""
        fills = [self._fills[fill] for fill in self._of_order[fact.order] if fill in self._confirmed]
        if any(fill.side is not Side.BUY for fill in fills) or fact.market not in self._settled:
            self._find(seq, f"trade {fact.order} is settled as no trade can be")
            return
        up = self._settled[fact.market]
        payout = notional_floor(up if fact.outcome is Outcome.UP else Price(UNIT - up), fact.shares)
        shares = sum(fill.shares for fill in fills)
        cost, fees = sum(notional_floor(f.price, f.shares) for f in fills), sum(fill.fee for fill in fills)
        if (fact.shares, fact.cost, fact.fees, fact.payout) != (shares, cost, fees, payout):
            self._find(
                seq, f"trade {fact.order} is settled as {fact}, its fills say {shares}, {cost}, {fees}, {payout}"
            )
        if fact.pnl != fact.payout - fact.cost - fact.fees:
            self._find(seq, f"trade {fact.order} has a profit of {fact.pnl}")
        self._books.pnl = Money(self._books.pnl + payout - cost - fees)
        self._move(fact.agent, payout - cost - fees)

    def _move(self, agent: AgentId, amount: int) -> None:
        self._books.cash[agent] = Money(self._books.cash.get(agent, 0) + amount)

    def _find(self, seq: int, what: str) -> None:
        self._books.findings.append(f"journal row {seq}: {what}")

    # -- at the end of a run -------------------------------------------------------------------------------------------

    def books(self, windows: Mapping[MarketId, Price]) -> Books:
        """What it comes to. `windows` is all that the world had, with what a share of Up paid."""
        books, find = self._books, self._books.findings.append
        books.orders, books.fills, books.records = len(self._intents), len(self._fills), len(self._recorded)
        books.trades = sum(kind == "the settlement of" for kind, _ in self._told)
        books.never_sent = sum(reason is CloseReason.NEVER_SENT for reason in self._closed.values())
        for market, payout_up in windows.items():
            self._window_is_told(market, payout_up)
        for order in self._intents:
            self._order_is_over(order)
        for fill in self._fills:
            if not self._told["the end of fill", fill]:
                find(f"fill {fill} is still provisional")
        if not self._intents:
            find("there was not one order: nothing has been tried")
        for agent, said in self._desk_cash.items():
            if said != books.cash.get(agent):
                find(f"{agent}'s cash is {books.cash.get(agent)} by the facts, {said} by its desk")
        return books

    def _window_is_told(self, market: MarketId, payout_up: Price) -> None:
        find = self._books.findings.append
        if market not in self._opened or self._settled.get(market) != payout_up:
            find(f"market {market} was not taken on, or not settled at {payout_up}")
        for agent in sorted(self._traders):
            if (agent, market) not in self._recorded:
                find(f"{agent} has no record of window {market}")

    def _order_is_over(self, order: OrderId) -> None:
        """Closed, audited, and settled as one trade where any of its fills is confirmed."""
        find = self._books.findings.append
        if order not in self._closed:
            find(f"order {order} is still open")
        if not self._told["the audit of order", order]:
            find(f"order {order} was never audited")
        held = sum(fill in self._confirmed for fill in self._of_order[order])
        settled = self._told["the settlement of", order]
        if bool(held) != bool(settled):
            find(f"order {order} has {held} confirmed fills and {settled} settlements")


def told_once(fact: AnyFact) -> Iterable[Once]:
    """What this fact says that no later one may say again."""
    match fact:
        case IntentRecorded():
            yield "the intent of order", fact.intent.id
        case OrderAccepted() | OrderRejected():
            yield "the answer to order", fact.order
        case OrderClosed():
            yield "the close of order", fact.order
        case FillMatched():
            yield "fill", fact.fill
        case FillConfirmed() | FillFailed():
            yield "the end of fill", fact.fill
        case MarketSettled():
            yield "the settlement of market", fact.market
        case TradeSettled():
            yield "the settlement of", fact.order
        case TradeAudited():
            yield "the audit of order", fact.order
        case WindowRecorded():
            yield f"{fact.agent}'s record of window", fact.market
        case _:
            pass


def retell(facts: Iterable[Journaled], windows: Mapping[MarketId, Price]) -> Books:
    """All of a finished run's facts, examined."""
    retelling = Retelling()
    for entry in facts:
        retelling.take(entry)
    return retelling.books(windows)
