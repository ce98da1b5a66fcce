"""The auditor's books: facts folded in journal order, and a verdict on every order once its fills are final (R3).

Nothing here trusts a proof, a desk or the treasury: cash, exposure and capital are reckoned again from allotments,
fills and payouts alone. A corrupted stream gives findings, never an exception.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from polybot.domain.events import (
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
    RunEnded,
    RunStarted,
    Severity,
    SystemNoted,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    TradingResumed,
)
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.market import Market
from polybot.domain.order import CloseReason
from polybot.domain.units import UNIT, Millis, Money, Price
from polybot.risk.audit_fills import judge_close, judge_cost, judge_fill, judge_settlement, payout_due
from polybot.risk.audit_orders import AgentBooks, AuditedOrder, FillRecord, FillState
from polybot.risk.audit_rules import Rule, Standing, finding, judge_intent, plain
from polybot.risk.limits import Limits

LIVE = "live"
ORDERS_KEPT_MAX = 1_000
"""Finished orders remembered, so that a late or second fact about one is named for what it is."""
MARKETS_KEPT_MAX = 2_000
"""Markets remembered: ten days of BTC and ETH windows. Orders keep the terms they were judged by."""

Key = TypeVar("Key")
Value = TypeVar("Value")
OrderFact = OrderAccepted | OrderRejected | OrderClosed | FillMatched | FillConfirmed | FillFailed | TradeSettled
AuditFact = TradeAudited | SystemNoted


class Auditor(msgspec.Struct, kw_only=True):
    """Fold every fact with `apply`; what it returns is to be journaled. Plain data, fit for a checkpoint.

    An order gets one `TradeAudited` when it is closed and all its fills are confirmed or failed. Its settlement is
    checked later: should that, or any late fact, add a finding, the order gets a further verdict with all findings so
    far, which replaces the first. Facts about orders nobody intended get a failed verdict at once; what is wrong with
    a market and not with an order is noted as an ERROR of the component "auditor".
    """

    limits: Limits = msgspec.field(default_factory=Limits)
    capital: Money | None = None
    live: bool = False
    funds: int = 0
    pnl: int = 0
    exposure: int = 0
    agents: dict[AgentId, AgentBooks] = {}
    markets: dict[MarketId, Market] = {}
    payouts: dict[MarketId, Price] = {}
    orders: dict[OrderId, AuditedOrder] = {}
    finished: dict[OrderId, AuditedOrder] = {}
    pauses: dict[str, TradingPaused] = {}
    orders_audited: int = 0
    settlements_audited: int = 0
    findings_made: int = 0

    def apply(self, fact: AnyFact) -> list[AuditFact]:
        match fact:
            case IntentRecorded():
                return self._intend(fact)
            case MarketOpened():
                _keep(self.markets, fact.market.id, fact.market, MARKETS_KEPT_MAX)
            case MarketSettled():
                return self._settle_market(fact)
            case CapitalAllocated():
                self._fund(fact)
            case TradingPaused():
                self.pauses[_pause_key(fact)] = fact
            case TradingResumed():
                self.pauses.pop(_pause_key(fact), None)
            case RunStarted():
                self.capital, self.live = fact.capital, fact.mode == LIVE
            case RunEnded(finished=True):
                return self._end(fact.at)
            case _:
                return self._apply_to_order(fact) if isinstance(fact, OrderFact) else []
        return []

    def balances(self, at: Millis, desk_cash: Mapping[AgentId, Money]) -> list[BooksAudited]:
        """Each desk's posted cash (nothing provisional in it) against allotments, confirmed fills and payouts alone.

        An agent the facts know of but no desk speaks for is compared with a desk that has nothing.
        """
        verdicts = []
        for agent in sorted(desk_cash.keys() | self.agents.keys()):
            said, found = desk_cash.get(agent, Money(0)), Money(self.agents.get(agent, AgentBooks()).cash)
            verdict = BooksAudited(at=at, agent=agent, desk_cash=said, recomputed_cash=found, passed=said == found)
            verdicts.append(verdict)
        return verdicts

    # -- orders -------------------------------------------------------------------------------------------------------

    def _intend(self, fact: IntentRecorded) -> list[AuditFact]:
        intent = fact.intent
        known = self._order(intent.id)
        if known is not None:
            known.add(finding(Rule.ORDER_TWICE, f"{intent.id} was intended again"))
            return self._verdicts(known, fact.at)
        market = self.markets.get(intent.market)
        order = AuditedOrder(intent=intent, market=market, live=self.live)
        if fact.agent != intent.agent:
            order.add(finding(Rule.WRONG_AGENT, f"{fact.agent} wrote down an order of {intent.agent}"))
        if market is None:
            order.add(finding(Rule.UNKNOWN_MARKET, f"{intent.market} was never opened, so its terms are unknown"))
        else:
            for text in judge_intent(intent, market, self._standing(intent.agent, intent.decided_at), self.limits):
                order.add(text)
        self.orders[intent.id] = order
        self._expose(intent.agent, order.exposure)
        return []

    def _apply_to_order(self, fact: OrderFact) -> list[AuditFact]:
        order = self._order(fact.order)
        if order is None:
            text = finding(Rule.UNKNOWN_ORDER, f"{type(fact).__name__} about {fact.order}, which nobody intended")
            self.findings_made += 1
            return [TradeAudited(at=fact.at, agent=fact.agent, order=fact.order, passed=False, findings=[text])]
        if fact.agent != order.intent.agent:
            words = f"{type(fact).__name__} names {fact.agent}, the order is {order.intent.agent}'s"
            order.add(finding(Rule.WRONG_AGENT, words))
        before = order.exposure
        self._step(order, fact)
        self._expose(order.intent.agent, order.exposure - before)
        return self._verdicts(order, fact.at)

    def _step(self, order: AuditedOrder, fact: OrderFact) -> None:
        match fact:
            case OrderAccepted():
                if order.accepted or order.closed is not None:
                    order.add(finding(Rule.ORDER_LIFE, "accepted again, or after it was closed"))
                order.accepted = True
            case OrderRejected():
                _close(order, CloseReason.REJECTED)
            case OrderClosed():
                _close(order, fact.reason)
            case FillMatched():
                _match(order, fact)
            case FillConfirmed() | FillFailed():
                self._finish_fill(order, fact)
            case TradeSettled():
                self._settle(order, fact)

    def _finish_fill(self, order: AuditedOrder, fact: FillConfirmed | FillFailed) -> None:
        fill, state = order.fills.get(fact.fill), FillState.FAILED
        if fill is None or fill.state is not FillState.PENDING:
            was = "never matched" if fill is None else f"{fill.state} already"
            order.add(finding(Rule.FILL_FINALITY, f"{fact.fill}: {type(fact).__name__}, but it was {was}"))
            return
        if isinstance(fact, FillConfirmed):
            state = FillState.CONFIRMED
            self._books(order.intent.agent).cash -= fill.cost + fill.fee
        fill.state = state
        if order.settled:
            order.add(finding(Rule.SETTLED_EARLY, f"{fact.fill} became final only after the trade was settled"))

    def _settle(self, order: AuditedOrder, fact: TradeSettled) -> None:
        if order.settled:
            order.add(finding(Rule.SETTLED_TWICE, f"settled again, for ${plain(fact.payout)}"))
            return
        intent, payout_up = order.intent, self.payouts.get(order.intent.market)
        if payout_up is None or order.closed is None or order.pending:
            lacks = f"payout {payout_up}, closed {order.closed}, {order.pending} fills not final"
            order.add(finding(Rule.SETTLED_EARLY, f"settled before its time: {lacks}"))
        confirmed = order.total(FillState.CONFIRMED)
        for text in judge_settlement(fact, intent, confirmed, payout_up):
            order.add(text)
        payout = fact.payout if payout_up is None else payout_due(intent.outcome, payout_up, confirmed.shares)
        pnl = payout - confirmed.spent
        books = self._books(intent.agent)
        books.cash += payout
        books.equity += pnl
        self.pnl += pnl
        self.settlements_audited += 1
        order.settled = True

    # -- markets and the run ------------------------------------------------------------------------------------------

    def _settle_market(self, fact: MarketSettled) -> list[AuditFact]:
        wrong = []
        if fact.market not in self.markets:
            wrong.append("it was never opened")
        if not 0 <= fact.payout_up <= UNIT:
            wrong.append(f"an Up share pays {plain(fact.payout_up)}, outside 0 to 1")
        if fact.market in self.payouts:
            wrong.append(f"it was settled before, at {plain(self.payouts[fact.market])}")
        else:
            _keep(self.payouts, fact.market, fact.payout_up, MARKETS_KEPT_MAX)
        self.findings_made += len(wrong)
        texts = [
            finding(Rule.MARKET_SETTLEMENT, f"{fact.market} settled at {plain(fact.payout_up)}: {w}") for w in wrong
        ]
        return [SystemNoted(at=fact.at, severity=Severity.ERROR, component="auditor", text=text) for text in texts]

    def _end(self, at: Millis) -> list[AuditFact]:
        """At the end of all there was to play, no order of a settled market may be left over."""
        verdicts: list[AuditFact] = []
        for order in list(self.orders.values()):
            if order.intent.market in self.payouts:
                shares = plain(order.total(FillState.CONFIRMED).shares)
                state = "open" if order.closed is None else "closed"
                text = f"{order.intent.market} is settled; the order is {state}, {shares} shares of it not paid out"
                order.add(finding(Rule.NEVER_SETTLED, text))
                verdicts.append(self._verdict(order, at))
        return verdicts

    # -- the auditor's own books --------------------------------------------------------------------------------------

    def _standing(self, agent: AgentId, at: Millis) -> Standing:
        books = self._books(agent)
        base = None if self.capital is None else Money(min(self.capital, self.funds) + min(self.pnl, 0))
        pauses = [p for p in self.pauses.values() if p.agent in (None, agent) and (p.until is None or at < p.until)]
        return Standing(
            capital_base=base,
            agent_free=Money(books.equity - books.exposure),
            agent_exposure=Money(books.exposure),
            floor_exposure=Money(self.exposure),
            paused=pauses[0].text if pauses else None,
        )

    def _books(self, agent: AgentId) -> AgentBooks:
        return self.agents.setdefault(agent, AgentBooks())

    def _fund(self, fact: CapitalAllocated) -> None:
        books = self._books(fact.agent)
        books.cash += fact.moved
        books.equity += fact.moved
        self.funds += fact.moved

    def _expose(self, agent: AgentId, change: int) -> None:
        self._books(agent).exposure += change
        self.exposure += change

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def _order(self, order_id: OrderId) -> AuditedOrder | None:
        return self.orders.get(order_id) or self.finished.get(order_id)

    def _verdicts(self, order: AuditedOrder, at: Millis) -> list[AuditFact]:
        if order.is_final and order.findings_told is None:
            for text in judge_cost(order.intent, order.standing):
                order.add(text)
        told = order.findings_told
        due = order.is_final and (told is None or len(order.findings) > told)
        verdicts: list[AuditFact] = [self._verdict(order, at)] if due else []
        if order.is_over and self.orders.pop(order.intent.id, None) is not None:
            _keep(self.finished, order.intent.id, order, ORDERS_KEPT_MAX)
        return verdicts

    def _verdict(self, order: AuditedOrder, at: Millis) -> TradeAudited:
        self.orders_audited += order.findings_told is None
        self.findings_made += len(order.findings) - (order.findings_told or 0)
        order.findings_told = len(order.findings)
        intent, findings = order.intent, list(order.findings)
        return TradeAudited(at=at, agent=intent.agent, order=intent.id, passed=not findings, findings=findings)


def _close(order: AuditedOrder, reason: CloseReason) -> None:
    if order.closed is not None:
        # A rejection closes the order by itself; the desk's own word for it may follow.
        if not (order.closed is reason is CloseReason.REJECTED):
            order.add(finding(Rule.ORDER_LIFE, f"closed again as {reason}, after {order.closed}"))
        return
    order.closed = reason
    for text in judge_close(order.asked, reason, order.matched.shares):
        order.add(text)


def _match(order: AuditedOrder, fact: FillMatched) -> None:
    if fact.fill in order.fills:
        order.add(finding(Rule.FILL_TWICE, f"{fact.fill} was matched again"))
        return
    if order.closed is not None:
        order.add(finding(Rule.FILL_AFTER_CLOSE, f"{fact.fill} was matched after the order was {order.closed}"))
    elif not order.accepted:
        order.add(finding(Rule.FILL_BEFORE_ACCEPTANCE, f"{fact.fill} was matched before the venue had the order"))
    for text in judge_fill(fact, order.asked, order.market, order.matched):
        order.add(text)
    order.fills[fact.fill] = FillRecord.of(fact)


def _pause_key(fact: TradingPaused | TradingResumed) -> str:
    return f"{fact.agent or ''}/{fact.breaker}"


def _keep(kept: dict[Key, Value], key: Key, value: Value, kept_max: int) -> None:
    """Remember `value`, and forget the oldest beyond `kept_max`."""
    kept[key] = value
    while len(kept) > kept_max:
        del kept[next(iter(kept))]
