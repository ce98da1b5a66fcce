"""One agent's desk. `step` turns a market event into verdicts; `apply` takes a fact into its books (books.py)."""

from collections.abc import Callable

import msgspec

from polybot.desk.books import DeskBooks
from polybot.desk.sizing import Execution, NoPlan, make_plan
from polybot.desk.state import (
    NOTHING_HELD,
    DeskState,
    MissRank,
    Tally,
)
from polybot.domain.events import (
    BookReplaced,
    IntentRecorded,
    LevelsChanged,
    ReferencePriced,
    SignalRefused,
    TradePrinted,
    TradingPaused,
    Verdict,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, MarketId, SeriesId, order_id
from polybot.domain.market import Market
from polybot.domain.markets import MarketState
from polybot.domain.signal import Signal
from polybot.domain.units import Millis, Money
from polybot.risk.breakers import loss_streak_breaker
from polybot.risk.gate import Approved, Circumstances, OrderWish, Refused, judge, judge_pauses, order_budget
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

    __slots__ = ("capital_base", "floor_exposure", "order_cost_max", "pause", "position")

    def __init__(
        self,
        position: Callable[[], int],
        capital_base: Callable[[], Money],
        floor_exposure: Callable[[], Money],
        pause: Callable[[], str | None],
        order_cost_max: Callable[[], Money | None],
    ) -> None:
        self.position, self.capital_base = position, capital_base
        self.floor_exposure, self.pause, self.order_cost_max = floor_exposure, pause, order_cost_max


class Desk(DeskBooks):
    """An agent's strategy, execution terms and state, and the decisions that follow from them."""

    def __init__(self, plan: AgentPlan, limits: Limits, floor: FloorView, state: DeskState) -> None:
        super().__init__(state)
        self.plan, self.limits, self.floor = plan, limits, floor
        self.strategy, self.execution = plan.strategy, plan.execution
        strategy = plan.strategy
        self._wakes = frozenset(t for wake, types in WAKING_EVENTS.items() if wake in strategy.wakes for t in types)
        self._view = MarketView()

    def wakes_on(self, event_type: type) -> bool:
        return event_type in self._wakes

    # -- deciding -----------------------------------------------------------------------------------------------------

    def step(self, event_type: type, state: MarketState, now: Millis) -> tuple[DeskVerdict, ...]:
        """Look at a market that has just changed. An approval returned is already reserved here, and not yet sent."""
        if not self._is_awake(event_type, state, now):
            return NO_VERDICTS
        market = state.market
        tally = self.state.tally(market.id)
        if not self._is_ours(market):
            tally.code = "other_series"
            return NO_VERDICTS
        tally.evaluations += 1
        if not self._is_free(market.id, tally):
            return NO_VERDICTS
        view = self._view
        signal = self._opinion(state, now)
        if signal is None:
            tally.miss(view.pass_rank, view.pass_code, view.pass_value, view.pass_threshold)
            return NO_VERDICTS
        return self._act_on(signal, state, tally, now)

    def wants(self, event_type: type, state: MarketState, now: Millis) -> bool:
        """Whether it has an opinion to act on; nothing comes of the question."""
        if not self._is_awake(event_type, state, now) or not self._is_ours(state.market):
            return False
        market = state.market.id
        return self._is_free(market, self.state.tally(market)) and self._opinion(state, now) is not None

    def _is_awake(self, event_type: type, state: MarketState, now: Millis) -> bool:
        return event_type in self._wakes and state.market.window_start <= now < state.market.window_end

    def _is_ours(self, market: Market) -> bool:
        return not self.plan.series or market.series in self.plan.series

    def _is_free(self, market: MarketId, tally: Tally) -> bool:
        """One order at a time in a market: the next waits for this one's answer."""
        if tally.orders >= self.execution.orders_per_window:
            return False
        return not self.state.orders or not self.state.busy_in(market)

    def _opinion(self, state: MarketState, now: Millis) -> Signal | None:
        self._view.aim(state, now, self.state.positions.get(state.market.id, NOTHING_HELD))
        return self.strategy.generate_signal(self._view)

    def _act_on(self, signal: Signal, state: MarketState, tally: Tally, now: Millis) -> tuple[DeskVerdict, ...]:
        market, book = state.market, state.books[signal.outcome]
        capital_base = self.floor.capital_base()
        order_cost_max = self.floor.order_cost_max()
        budget = order_budget(capital_base, self.limits, order_cost_max)
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
            agent_pause=self._pause(),
            floor_pause=self.floor.pause(),
            order_cost_max=order_cost_max,
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

    def barred(self) -> str | None:
        """Why an order that was approved may not leave any more; None while it may.

        The world may have changed while its intent was being written: a pause, or the lease on the account.
        """
        floor, own = self.floor.pause(), self._pause()
        refused = judge_pauses(floor, own)
        return None if refused is None else f"{refused.text} ({floor or own})"

    def _pause(self) -> str | None:
        return next(iter(self.state.pauses), None)

    def miss_event(self, state: MarketState, now: Millis) -> None:
        """The market changed while the agent was not there to look."""
        if state.market.window_start <= now < state.market.window_end:
            self.state.tally(state.market.id).missed += 1

    # -- what has become due ------------------------------------------------------------------------------------------

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
