"""What a run came to, as one value made from its facts alone: the same facts, the same report."""

import math

import msgspec

from polybot.backtest.money_check import MoneyCheck
from polybot.domain.events import RunStarted, SystemNoted, TradingPaused, WindowRecorded
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.units import Millis, Money, Price

TROUBLES_KEPT_MAX = 20
"""Errors, pauses and findings told one by one; the rest are counted only, so that a bad day stays readable."""


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    at: Millis
    equity: Money


class Performer(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's result or, with agent None, the floor's.

    `break_even` is the average over trades of what a share cost, fee included: the win rate that these prices ask for.
    Each trade counts once, as it does in the win rate; weighted by shares, the two could not be compared, because the
    same money buys more of the cheap and unlikely. `uptime` is None where no agent is said to have started, as in a
    backtest.
    """

    agent: AgentId | None
    trades: int
    wins: int
    pnl: Money
    fees: Money
    break_even: float | None
    equity_from: Money
    equity_to: Money
    drawdown: float
    sharpe: float | None
    exposure_peak: Money
    uptime: float | None
    crashes: int
    traded: int
    passed: int
    down: int
    curve: tuple[EquityPoint, ...]

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.trades if self.trades else None


class WindowCell(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did in one window; `record` is None where there is none, `pnl` None where nothing was settled."""

    agent: AgentId
    record: WindowRecorded | None
    pnl: Money | None


class WindowRow(msgspec.Struct, frozen=True, kw_only=True):
    """One window; `payout_up` is None until the venue has settled it, `ended` False if the run stopped inside it."""

    market: MarketId
    series: str
    start: Millis
    end: Millis
    payout_up: Price | None
    ended: bool
    cells: tuple[WindowCell, ...]


class RefusalCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often the gate said no by one rule, counting the first time per agent and window; `example` is its first."""

    rule: str
    count: int
    example: str


class AuditFinding(msgspec.Struct, frozen=True, kw_only=True):
    order: OrderId
    text: str


class AuditResult(msgspec.Struct, frozen=True, kw_only=True):
    """The auditor's last word on every order, and on the books. `findings` holds the first, `findings_total` all."""

    orders: int
    audited: int
    failed: int
    findings_total: int
    findings: tuple[AuditFinding, ...]
    books: int
    books_failed: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How much can be said from so few trades.

    Trades of one window share one outcome, so `windows` with a trade, not trades, are the independent draws.
    """

    windows: int
    windows_traded: int
    trades: int
    wins: int

    @property
    def standard_error(self) -> float | None:
        """Of the win rate, were all trades independent: sqrt(w(1 - w) / n). It says nothing at 0 or 1, hence None."""
        if self.wins in (0, self.trades):
            return None
        rate = self.wins / self.trades
        return math.sqrt(rate * (1 - rate) / self.trades)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval (1927), which stays honest for few trades and near 0 and 1."""
        if self.trades == 0:
            return None
        n, rate, z = self.trades, self.wins / self.trades, 1.959964
        centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        return max(centre - half, 0.0), min(centre + half, 1.0)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Times are the floor's: on a tape, the tape's."""

    start: RunStarted | None
    first_at: Millis
    last_at: Millis
    finished: bool
    floor: Performer
    agents: tuple[Performer, ...]
    windows: tuple[WindowRow, ...]
    records_missing: int
    refusals: tuple[RefusalCount, ...]
    pauses: tuple[TradingPaused, ...]
    pauses_total: int
    audit: AuditResult
    money: MoneyCheck
    sample: Sample
    errors: tuple[SystemNoted, ...]
    errors_total: int


def trades_needed(edge: float) -> int:
    """Trades it takes to tell an edge of `edge` (0.02 is two cents a share) from none, at prices near one half.

    One-sided 5 %, power 80 %: n = (1.6449 + 0.8416)^2 * p(1 - p) / edge^2 with p = 1/2: 3,865 for 2 cents.
    """
    return math.ceil((1.644854 + 0.841621) ** 2 * 0.25 / edge**2)
