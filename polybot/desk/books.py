"""What a desk owns, and how facts change it: its orders, fills, money and positions (state.py has them as plain data).

Everything durable changes through `apply` alone, so folding the journal over an empty desk gives the same desk.
"""

from collections.abc import Callable
from typing import Any

from polybot.desk.state import (
    ACCOUNT_CASH,
    ACCOUNT_OWNER,
    DeskState,
    Holding,
    MissRank,
    fill_cost,
    fill_movements,
    settlement_movements,
)
from polybot.domain import order as orders
from polybot.domain.account_facts import CostAccepted
from polybot.domain.errors import OrderError
from polybot.domain.events import (
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    TradeSettled,
    TradingPaused,
    TradingResumed,
    WindowRecorded,
)
from polybot.domain.fact import AgentFact
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId
from polybot.domain.ledger import CASH, Movement
from polybot.domain.market import Outcome
from polybot.domain.order import Closed, CloseReason, Intended, Working
from polybot.domain.units import UNIT, Millis, Money, Shares, notional_floor


class DeskBooks:
    """One desk's books. They decide nothing: that is for the desk, which is built on them (desk.py)."""

    def __init__(self, state: DeskState) -> None:
        self.state = state
        self.proves_ends = False
        """Whether an ended order must be looked up before its market is settled: a venue's stream may lose fills."""
        self.unproven: dict[OrderId, MarketId] = {}
        self._apply: dict[type, Callable[[Any], None]] = {
            CapitalAllocated: self._allocated,
            IntentRecorded: self._intended,
            OrderAccepted: self._accepted,
            OrderRejected: self._rejected,
            FillMatched: self._matched,
            FillConfirmed: self._confirmed,
            FillFailed: self._failed,
            OrderClosed: self._closed,
            MarketSettled: self._resolved,
            TradeSettled: self._settled,
            WindowRecorded: self._recorded,
            TradingPaused: self._paused,
            TradingResumed: self._resumed,
            CostAccepted: self._cost_accepted,
        }

    @property
    def agent(self) -> AgentId:
        return self.state.agent

    def apply(self, fact: AgentFact | MarketSettled | TradingPaused | TradingResumed) -> None:
        """Take a fact in. Facts that do not concern a desk's books are passed over."""
        handler = self._apply.get(type(fact))
        if handler is not None:
            handler(fact)

    def forget(self, market: MarketId) -> None:
        """Drop what is kept of a market whose story is over."""
        self.state.tallies.pop(market, None)
        self.state.resolved.pop(market, None)
        self.state.recorded.discard(market)
        for order in [order for order, ended in self.state.ended.items() if ended.intent.market == market]:
            del self.state.ended[order]
            self.state.accepted.pop(order, None)
            self.unproven.pop(order, None)
        for fill in [fill for fill, where in self.state.final.items() if where == market]:
            del self.state.final[fill]

    # -- what has become due ------------------------------------------------------------------------------------------

    def settlements(self, at: Millis) -> list[TradeSettled]:
        """Positions whose market is resolved and whose fills are all final, with their result."""
        if not any(market in self.state.positions for market in self.state.resolved):
            return []
        return [
            self._result(holding, at)
            for holding in self.state.holdings.values()
            if holding.market in self.state.resolved and not self.awaits(holding.market)
        ]

    def awaits(self, market: MarketId) -> bool:
        """True while an order or a fill there is not final, or not proven final: too early to settle or to record."""
        return self.state.busy_in(market) or market in self.unproven.values()

    def prove_ends(self) -> None:
        """From now on, and for all orders remembered, an end counts only once `proven` was called (reconciler.py)."""
        self.proves_ends = True
        self.unproven = {order: ended.intent.market for order, ended in self.state.ended.items()}

    def proven(self, order: OrderId) -> None:
        """The venue's whole account of an ended order is taken in."""
        self.unproven.pop(order, None)

    def _result(self, holding: Holding, at: Millis) -> TradeSettled:
        payout_up = self.state.resolved[holding.market]
        per_share = payout_up if holding.outcome is Outcome.UP else UNIT - payout_up
        payout = notional_floor(per_share, holding.shares)  # type: ignore[arg-type]
        return TradeSettled(
            at=at,
            agent=self.agent,
            order=holding.order,
            market=holding.market,
            outcome=holding.outcome,
            shares=holding.shares,
            cost=holding.cost,
            fees=holding.fees,
            payout=payout,
            pnl=Money(payout - holding.cost - holding.fees),
        )

    # -- taking facts in ----------------------------------------------------------------------------------------------

    def _allocated(self, fact: CapitalAllocated) -> None:
        state = self.state
        movements = (Movement(ACCOUNT_OWNER, CASH, -fact.moved), Movement(ACCOUNT_CASH, CASH, fact.moved))
        state.ledger.post(self._transfer("capital"), movements)
        state.capital = Money(state.capital + fact.moved)

    def _intended(self, fact: IntentRecorded) -> None:
        state, intent = self.state, fact.intent
        state.orders[intent.id] = Intended(intent=intent)
        state.next_order += 1
        state.tally(intent.market).orders += 1

    def _accepted(self, fact: OrderAccepted) -> None:
        self.state.orders[fact.order] = orders.accept(self._order(fact.order))

    def _rejected(self, fact: OrderRejected) -> None:
        closed = self._end(fact.order, CloseReason.REJECTED)
        if closed.intent.market in self.state.recorded:
            return
        tally = self.state.tally(closed.intent.market)
        tally.miss(MissRank.VENUE, "order_rejected", 0.0, closed.intent.shares / UNIT, fact.text)

    def _matched(self, fact: FillMatched) -> None:
        state = self.state
        spent = Money(fill_cost(fact) + fact.fee)
        known, accepted = state.ended.get(fact.order) or self._order(fact.order), state.accepted.get(fact.order, 0)
        filled = orders.fill(known, fact.shares, spent, accepted)
        if isinstance(filled, Closed):
            state.ended[fact.order] = filled
        else:
            state.orders[fact.order] = filled
        state.ledger.hold(fact.fill, fill_movements(fact))
        state.provisional[fact.fill] = fact
        state.invest(fact.market, fact.outcome, fact.shares, spent)
        if fact.market not in state.recorded:
            state.tally(fact.market).fills += 1

    def _confirmed(self, fact: FillConfirmed) -> None:
        state = self.state
        state.ledger.confirm(fact.fill)
        fill = self._finish(fact.fill)
        holding = state.holdings.get(fill.order)
        if holding is None:
            holding = Holding(order=fill.order, market=fill.market, outcome=fill.outcome)
            state.holdings[fill.order] = holding
        holding.shares = Shares(holding.shares + fill.shares)
        holding.cost = Money(holding.cost + fill_cost(fill))
        holding.fees = Money(holding.fees + fill.fee)

    def _failed(self, fact: FillFailed) -> None:
        state = self.state
        state.ledger.void(fact.fill)
        fill = self._finish(fact.fill)
        state.invest(fill.market, fill.outcome, -fill.shares, -fill_cost(fill) - fill.fee)
        if fill.market not in state.recorded:
            tally = state.tally(fill.market)
            tally.fills -= 1
            tally.miss(MissRank.VENUE, "fill_failed", 0.0, fill.shares / UNIT, fact.text)

    def _closed(self, fact: OrderClosed) -> None:
        closed = self._end(fact.order, fact.reason)
        if not closed.filled and closed.intent.market not in self.state.recorded:
            asked = closed.intent.shares / UNIT
            self.state.tally(closed.intent.market).miss(MissRank.VENUE, f"order_{fact.reason}", 0.0, asked)

    def _resolved(self, fact: MarketSettled) -> None:
        self.state.resolved[fact.market] = fact.payout_up

    def _settled(self, fact: TradeSettled) -> None:
        state = self.state
        holding = state.holdings.pop(fact.order)
        state.invest(holding.market, holding.outcome, -holding.shares, -holding.cost - holding.fees)
        state.ledger.post(self._transfer("settle"), settlement_movements(holding, fact.payout))
        state.realised = Money(state.realised + fact.pnl)
        state.loss_streak = state.loss_streak + 1 if fact.pnl < 0 else 0

    def _recorded(self, fact: WindowRecorded) -> None:
        self.state.recorded.add(fact.market)
        self.state.tallies.pop(fact.market, None)

    def _paused(self, fact: TradingPaused) -> None:
        self.state.pauses[fact.breaker] = fact.until

    def _resumed(self, fact: TradingResumed) -> None:
        self.state.pauses.pop(fact.breaker, None)
        if fact.breaker == "loss_streak":
            self.state.loss_streak = 0

    def _cost_accepted(self, fact: CostAccepted) -> None:
        self.state.accepted[fact.order] = fact.cost

    def _end(self, order: OrderId, reason: CloseReason) -> Closed:
        closed = self.state.ended[order] = orders.close(self._order(order), reason)
        del self.state.orders[order]
        if self.proves_ends:
            self.unproven[order] = closed.intent.market
        return closed

    def _finish(self, fill: FillId) -> FillMatched:
        matched = self.state.provisional.pop(fill)
        self.state.final[fill] = matched.market
        return matched

    def _order(self, order: OrderId) -> Intended | Working:
        found = self.state.orders.get(order)
        if found is None:
            raise OrderError(f"{self.agent} has no open order {order}; the venue spoke of one it does not know")
        return found

    def _transfer(self, kind: str) -> str:
        self.state.next_transfer += 1
        return f"{kind}-{self.state.next_transfer}"
