"""How each agent and the floor are doing, folded fact by fact: constant work per fact, nothing kept that is over."""

import math

import msgspec

from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MetricsRecorded,
    OrderClosed,
    OrderRejected,
    RunEnded,
    RunStarted,
    TradeSettled,
)
from polybot.domain.ids import AgentId, FillId, OrderId
from polybot.domain.market import Side
from polybot.domain.units import Millis, Money, notional_floor


class Returns(msgspec.Struct, kw_only=True):
    """Mean and spread of per-trade returns by Welford's running sums (1962), which lose no digits over many trades."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        step = value - self.mean
        self.mean += step / self.count
        self.squares += step * (value - self.mean)

    @property
    def sharpe(self) -> float | None:
        """Mean over sample standard deviation (n - 1); None below two trades or where all returned the same."""
        deviation = math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0
        return self.mean / deviation if deviation > 0 else None


class Score(msgspec.Struct, kw_only=True):
    """One agent's running sums, or the floor's. Money in millionths of a pUSD.

    * A trade counts once it is settled, so from confirmed fills alone: a voided fill never enters. A win made money
      after fees (`pnl > 0`).
    * `equity` is settled: `funds` (put in less taken out) and settled P&L. Open positions stand in it at cost, because
      a binary's mid price is an opinion and its payout is not known yet.
    * `drawdown` is the deepest fall of settled equity below its peak so far, as a fraction of that peak. Money put in
      or taken out is neither profit nor loss: the peak moves in proportion, so the fraction does not.
    * `sharpe` is the mean of per-trade returns over their standard deviation. A trade's return is its P&L over its
      stake (cost and fees), so a lost binary returns exactly -1. It is per trade and deliberately not annualised:
      trades come irregularly, and multiplying by the root of trades per year would turn a dozen trades into a
      flattering number that nobody could earn.
    * `exposure` is the money deployed as the limits count it: what an open order may still cost, and what
      fills did cost, fees included, until they are settled.
    """

    trades: int = 0
    wins: int = 0
    pnl: Money = Money(0)
    fees: Money = Money(0)
    funds: Money = Money(0)
    exposure: Money = Money(0)
    peak: Money = Money(0)
    drawdown: float = 0.0
    returns: Returns = msgspec.field(default_factory=Returns)

    @property
    def equity(self) -> Money:
        return Money(self.funds + self.pnl)

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.trades if self.trades else None

    def fund(self, moved: Money) -> None:
        """Take money put in (negative: taken out); the fraction below the peak stays what it was."""
        before, after = self.equity, Money(self.equity + moved)
        self.peak = Money(max(after, self.peak * after // before)) if before > 0 else after
        self.funds = Money(self.funds + moved)

    def settle(self, trade: TradeSettled) -> None:
        self.trades += 1
        self.wins += trade.pnl > 0
        self.pnl = Money(self.pnl + trade.pnl)
        self.fees = Money(self.fees + trade.fees)
        self.peak = max(self.peak, self.equity)
        if self.peak > 0:
            self.drawdown = max(self.drawdown, (self.peak - self.equity) / self.peak)
        if trade.cost + trade.fees > 0:
            self.returns.add(trade.pnl / (trade.cost + trade.fees))


class Uptime(msgspec.Struct, kw_only=True):
    """How long one agent ran, in milliseconds, since it was first started."""

    started: Millis
    ran_ms: int = 0
    running_since: Millis | None = None

    def change(self, at: Millis, *, running: bool) -> None:
        if self.running_since is not None:
            self.ran_ms += max(at - self.running_since, 0)
        self.running_since = at if running else None

    def ran_until(self, at: Millis) -> int:
        return self.ran_ms + (max(at - self.running_since, 0) if self.running_since is not None else 0)

    def span_until(self, at: Millis) -> int:
        return max(at - self.started, 0)


class OpenOrder(msgspec.Struct, kw_only=True):
    """An order until it is settled. `spent` is what its fills cost, fees included, those that failed left out; `used`
    counts those too: the venue does not give a failed fill's shares back to the order."""

    agent: AgentId
    cost_max: Money
    spent: int = 0
    used: int = 0
    pending: int = 0
    closed: bool = False

    @property
    def exposure(self) -> int:
        return self.spent if self.closed else self.spent + max(self.cost_max - self.used, 0)


class PendingFill(msgspec.Struct, frozen=True, kw_only=True):
    order: OrderId
    cost: int


class Performance(msgspec.Struct, kw_only=True):
    """The monitor's books. Plain data, fit for a checkpoint; grows with agents and open orders, never with history.

    Facts are taken in journal order. Those about unknown orders are passed over: finding them is the auditor's work.
    """

    floor: Score = msgspec.field(default_factory=Score)
    agents: dict[AgentId, Score] = {}
    uptimes: dict[AgentId, Uptime] = {}
    orders: dict[OrderId, OpenOrder] = {}
    fills: dict[FillId, PendingFill] = {}
    last_at: Millis = Millis(0)

    def apply(self, fact: AnyFact) -> None:
        match fact:
            case RunStarted():
                self._stop_clocks(self.last_at)  # killed: nobody ran after the last fact the old run wrote
                self.floor.fund(Money(fact.capital - self.floor.funds))
            case RunEnded():
                self._stop_clocks(fact.at)
            case CapitalAllocated():
                self._score(fact.agent).fund(fact.moved)
            case AgentChanged():
                self._change_agent(fact)
            case IntentRecorded():
                self._open(fact)
            case FillMatched():
                self._match(fact)
            case FillConfirmed() | FillFailed():
                self._finish_fill(fact)
            case OrderClosed() | OrderRejected():
                self._close(fact.order)
            case TradeSettled():
                self._settle(fact)
            case _:
                pass
        self.last_at = max(self.last_at, fact.at)

    def record(self, at: Millis) -> list[MetricsRecorded]:
        """The figures at `at`: one record per agent, by name, and last the floor's.

        The floor's uptime is that of all its agents together: time they ran over time they could have.
        """
        names = sorted(self.agents.keys() | self.uptimes.keys())
        idle = Score()
        records = [_record(at, name, self.agents.get(name, idle), self._uptimes(at, name)) for name in names]
        return [*records, _record(at, None, self.floor, self._uptimes(at, *names))]

    def _score(self, agent: AgentId) -> Score:
        return self.agents.setdefault(agent, Score())

    def _uptimes(self, at: Millis, *names: AgentId) -> float:
        clocks = [self.uptimes[name] for name in names if name in self.uptimes]
        span = sum(clock.span_until(at) for clock in clocks)
        if span == 0:
            return float(any(clock.running_since is not None for clock in clocks))
        return sum(clock.ran_until(at) for clock in clocks) / span

    def _stop_clocks(self, at: Millis) -> None:
        for clock in self.uptimes.values():
            clock.change(at, running=False)

    def _change_agent(self, fact: AgentChanged) -> None:
        clock = self.uptimes.setdefault(fact.agent, Uptime(started=fact.at))
        clock.change(fact.at, running=fact.state is AgentState.RUNNING)

    def _open(self, fact: IntentRecorded) -> None:
        if fact.intent.id not in self.orders:
            order = OpenOrder(agent=fact.intent.agent, cost_max=fact.intent.cost_max)
            self.orders[fact.intent.id] = order
            self._expose(order.agent, order.exposure)

    def _match(self, fact: FillMatched) -> None:
        order = self.orders.get(fact.order)
        if order is None or fact.fill in self.fills or fact.side is Side.SELL:
            return
        cost = notional_floor(fact.price, fact.shares) + fact.fee
        self.fills[fact.fill] = PendingFill(order=fact.order, cost=cost)
        before = order.exposure
        order.spent += cost
        order.used += cost
        order.pending += 1
        self._expose(order.agent, order.exposure - before)

    def _finish_fill(self, fact: FillConfirmed | FillFailed) -> None:
        fill = self.fills.pop(fact.fill, None)
        order = self.orders.get(fill.order) if fill else None
        if fill is None or order is None:
            return
        before = order.exposure
        order.pending -= 1
        if isinstance(fact, FillFailed):
            order.spent -= fill.cost
        self._expose(order.agent, order.exposure - before)
        self._forget_if_empty(fill.order, order)

    def _close(self, order_id: OrderId) -> None:
        order = self.orders.get(order_id)
        if order is None:
            return
        before = order.exposure
        order.closed = True
        self._expose(order.agent, order.exposure - before)
        self._forget_if_empty(order_id, order)

    def _forget_if_empty(self, order_id: OrderId, order: OpenOrder) -> None:
        if order.closed and order.spent == 0 and order.pending == 0:
            del self.orders[order_id]

    def _settle(self, fact: TradeSettled) -> None:
        order = self.orders.pop(fact.order, None)
        if order is not None:
            self._expose(order.agent, -order.exposure)
        if fact.shares > 0:
            self._score(fact.agent).settle(fact)
            self.floor.settle(fact)

    def _expose(self, agent: AgentId, change: int) -> None:
        for score in (self._score(agent), self.floor):
            score.exposure = Money(score.exposure + change)


def _record(at: Millis, agent: AgentId | None, score: Score, uptime: float) -> MetricsRecorded:
    return MetricsRecorded(
        at=at,
        agent=agent,
        trades=score.trades,
        wins=score.wins,
        pnl=score.pnl,
        fees=score.fees,
        equity=score.equity,
        exposure=score.exposure,
        win_rate=score.win_rate,
        sharpe=score.returns.sharpe,
        drawdown=score.drawdown,
        uptime=uptime,
    )
