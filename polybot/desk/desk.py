"""One agent's desk. `step` turns a market event into verdicts; `apply` takes a fact into what the desk owns.

Everything durable changes through `apply` alone, so folding the journal over an empty desk gives the same desk.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from polybot.desk.sizing import Execution, NoPlan, make_plan
from polybot.desk.state import (
    ACCOUNT_CASH,
    ACCOUNT_OWNER,
    NOTHING_HELD,
    DeskState,
    Holding,
    MissRank,
    Tally,
    fill_cost,
    fill_movements,
    settlement_movements,
)
from polybot.domain import order as orders
from polybot.domain.errors import OrderError
from polybot.domain.events import (
    AgentFact,
    BookReplaced,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    LevelsChanged,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    ReferencePriced,
    SignalRefused,
    TradePrinted,
    TradeSettled,
    TradingPaused,
    TradingResumed,
    Verdict,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, FillId, MarketId, OrderId, SeriesId, order_id
from polybot.domain.ledger import CASH, Movement
from polybot.domain.market import Outcome
from polybot.domain.markets import MarketState
from polybot.domain.order import Closed, CloseReason, Intended, Working
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Millis, Money, Shares, notional_floor
from polybot.risk.breakers import loss_streak_breaker
from polybot.risk.gate import Approved, Circumstances, OrderWish, Refused, judge, order_budget
from polybot.risk.limits import Limits
from polybot.strategies.base import BaseStrategy, MarketView, Wake

WAKING_EVENTS: dict[Wake, tuple[type, ...]] = {
    Wake.BOOK: (BookReplaced, LevelsChanged),
    Wake.TRADE: (TradePrinted,),
    Wake.REFERENCE: (ReferencePriced,),
}
DeskVerdict = Approved | SignalRefused
NO_VERDICTS: tuple[DeskVerdict, ...] = ()


class AgentPlan(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as configured: who it is, what it believes in, how it trades, and which series (empty: every one)."""

    agent: AgentId
    strategy: BaseStrategy
    execution: Execution
    series: frozenset[SeriesId] = frozenset()


class FloorView:
    """What a desk may know of the floor around it; the room keeps it true."""

    __slots__ = ("capital_base", "floor_exposure", "pause", "position")

    def __init__(
        self,
        position: Callable[[], int],
        capital_base: Callable[[], Money],
        floor_exposure: Callable[[], Money],
        pause: Callable[[], str | None],
    ) -> None:
        self.position, self.capital_base = position, capital_base
        self.floor_exposure, self.pause = floor_exposure, pause


class Desk:
    """An agent's strategy, execution terms and state, and the decisions that follow from them."""

    def __init__(self, plan: AgentPlan, limits: Limits, floor: FloorView, state: DeskState) -> None:
        self.plan, self.limits, self.floor, self.state = plan, limits, floor, state
        self.strategy, self.execution = plan.strategy, plan.execution
        strategy = plan.strategy
        self._wakes = frozenset(t for wake, types in WAKING_EVENTS.items() if wake in strategy.wakes for t in types)
        self._view = MarketView()
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
        }

    @property
    def agent(self) -> AgentId:
        return self.state.agent

    def wakes_on(self, event_type: type) -> bool:
        return event_type in self._wakes

    # -- deciding -----------------------------------------------------------------------------------------------------

    def step(self, event_type: type, state: MarketState, now: Millis) -> tuple[DeskVerdict, ...]:
        """Look at a market that has just changed. An approval returned is already reserved here, and not yet sent."""
        market = state.market
        if event_type not in self._wakes or not market.window_start <= now < market.window_end:
            return NO_VERDICTS
        tally = self.state.tally(market.id)
        if self.plan.series and market.series not in self.plan.series:
            tally.code = "other_series"
            return NO_VERDICTS
        tally.evaluations += 1
        mine = self.state
        if tally.orders >= self.execution.orders_per_window or (mine.orders and mine.busy_in(market.id)):
            return NO_VERDICTS  # one order at a time in a market: the next waits for this one's answer
        view = self._view
        view.aim(state, now, mine.positions.get(market.id, NOTHING_HELD))
        signal = self.strategy.generate_signal(view)
        if signal is None:
            tally.miss(view.pass_rank, view.pass_code, view.pass_value, view.pass_threshold)
            return NO_VERDICTS
        return self._act_on(signal, state, tally, now)

    def _act_on(self, signal: Signal, state: MarketState, tally: Tally, now: Millis) -> tuple[DeskVerdict, ...]:
        market, book = state.market, state.books[signal.outcome]
        capital_base = self.floor.capital_base()
        budget = order_budget(capital_base, self.limits)
        if self.execution.order_cost_max is not None:
            budget = min(budget, self.execution.order_cost_max)
        plan = make_plan(signal, book, market, execution=self.execution, budget=budget, now=now)
        if isinstance(plan, NoPlan):
            tally.miss(MissRank.OPINION, plan.code, plan.value, plan.threshold, signal.reason)
            return NO_VERDICTS
        wish = OrderWish(
            id=order_id(self.agent, self.state.next_order),
            agent=self.agent,
            outcome=signal.outcome,
            limit=plan.limit,
            shares=plan.shares,
            time_in_force=plan.time_in_force,
            post_only=plan.post_only,
            fair_value=signal.fair_value,
            reason=signal.reason,
            inputs=signal.inputs,
            expires_at=plan.expires_at,
        )
        seen = Circumstances(
            now=now,
            event_seq=self.floor.position(),
            market=market,
            book=book,
            cash_available=self.state.cash_available,
            agent_exposure=self.state.exposure,
            floor_exposure=self.floor.floor_exposure(),
            capital_base=capital_base,
            agent_pause=next(iter(self.state.pauses), None),
            floor_pause=self.floor.pause(),
        )
        answer = judge(wish, seen, self.limits)
        if isinstance(answer, Refused):
            return self._refuse(answer, tally, market.id, now)
        self.apply(IntentRecorded(at=now, agent=self.agent, intent=answer.intent))
        return (answer,)

    def _refuse(self, refused: Refused, tally: Tally, market: MarketId, now: Millis) -> tuple[DeskVerdict, ...]:
        tally.miss(MissRank.GATE, refused.rule, refused.value, refused.limit)
        seen_before = tally.refusals.get(refused.rule, 0)
        tally.refusals[refused.rule] = seen_before + 1
        if seen_before:
            return NO_VERDICTS
        fact = SignalRefused(
            at=now,
            agent=self.agent,
            market=market,
            rule=refused.rule,
            value=refused.value,
            limit=refused.limit,
            text=refused.text,
        )
        return (fact,)

    def miss_event(self, state: MarketState, now: Millis) -> None:
        """The market changed while the agent was not there to look."""
        if state.market.window_start <= now < state.market.window_end:
            self.state.tally(state.market.id).missed += 1

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

    def streak_breaker(self, at: Millis) -> TradingPaused | None:
        """The pause a run of losses asks for, unless it is in force."""
        if "loss_streak" in self.state.pauses:
            return None
        return loss_streak_breaker(self.agent, self.state.loss_streak, at, self.limits)

    def window_record(self, market: MarketId, at: Millis, *, down: bool) -> WindowRecorded:
        """The one record of a window that has ended; `down` when the agent is not there now.

        An agent that never looked because it was away is DOWN, even if it is back when the window ends.
        """
        tally = self.state.tallies.get(market) or Tally()
        if tally.fills:
            verdict, reason = Verdict.TRADED, "filled"
        elif not tally.evaluations and (down or tally.missed):
            verdict, reason = Verdict.DOWN, "agent_down"
        else:
            verdict, reason = Verdict.PASSED, tally.code
        missed = verdict is Verdict.PASSED and (tally.value != 0 or tally.threshold != 0)  # some reasons have no number
        return WindowRecorded(
            at=at,
            agent=self.agent,
            market=market,
            verdict=verdict,
            reason=reason,
            value=tally.value if missed else None,
            threshold=tally.threshold if missed else None,
            shortfall=abs(tally.threshold - tally.value) if missed else None,
            text=tally.text,
            evaluations=tally.evaluations,
            orders=tally.orders,
            fills=tally.fills,
        )

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
            self.unproven.pop(order, None)
        for fill in [fill for fill, where in self.state.final.items() if where == market]:
            del self.state.final[fill]

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
        filled = orders.fill(state.ended.get(fact.order) or self._order(fact.order), fact.shares, spent)
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
