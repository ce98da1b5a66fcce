"""Facts folded into a report, in journal order."""

from collections.abc import Iterable

import msgspec

from polybot.backtest.money_check import MoneyBooks
from polybot.backtest.report import (
    TROUBLES_KEPT_MAX,
    AuditFinding,
    AuditResult,
    EquityPoint,
    Performer,
    RefusalCount,
    Report,
    Sample,
    WindowCell,
    WindowRow,
)
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    CapitalAllocated,
    IntentRecorded,
    Journaled,
    MarketOpened,
    MarketSettled,
    RunEnded,
    RunStarted,
    Severity,
    SignalRefused,
    SystemNoted,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    Verdict,
    WindowRecorded,
)
from polybot.domain.fact import AgentFact
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.market import Market
from polybot.domain.units import Millis, Money, Price
from polybot.learning.metrics import Performance, Score


def build_report(facts: Iterable[AnyFact | Journaled]) -> Report:
    """Fold the facts in journal order."""
    builder = ReportBuilder()
    for fact in facts:
        builder.apply(fact.fact if isinstance(fact, Journaled) else fact)
    return builder.report()


class ReportBuilder:
    """Folds facts; `report` may be asked at any moment, also of a run that has not ended."""

    def __init__(self) -> None:
        self._performance = Performance()
        self._money = MoneyBooks()
        self._start: RunStarted | None = None
        self._ended: RunEnded | None = None
        self._first_at: Millis | None = None
        self._traders: dict[AgentId, Money] = {}
        self._prices_paid: dict[AgentId | None, float] = {}
        self._exposure_peaks: dict[AgentId | None, Money] = {}
        self._curves: dict[AgentId | None, dict[Millis, Money]] = {None: {}}
        self._crashes: dict[AgentId, int] = {}
        self._markets: dict[MarketId, Market] = {}
        self._payouts: dict[MarketId, Price] = {}
        self._records: dict[tuple[MarketId, AgentId], WindowRecorded] = {}
        self._window_pnl: dict[tuple[MarketId, AgentId], int] = {}
        self._refusals: dict[str, RefusalCount] = {}
        self._orders: set[OrderId] = set()
        self._verdicts: dict[OrderId, TradeAudited] = {}
        self._books: list[bool] = []
        self._pauses: list[TradingPaused] = []
        self._errors: list[SystemNoted] = []

    def apply(self, fact: AnyFact) -> None:
        if self._first_at is None:
            self._first_at = fact.at
        self._performance.apply(fact)
        self._money.apply(fact)
        self._note_run(fact)
        self._note_trading(fact)
        self._note_judgement(fact)
        self._note_curves(fact)

    def _note_run(self, fact: AnyFact) -> None:
        match fact:
            case RunStarted():
                self._start, self._ended = self._start or fact, None
            case RunEnded():
                self._ended = fact
            case CapitalAllocated():
                self._traders.setdefault(fact.agent, fact.moved)
            case AgentChanged(state=AgentState.CRASHED):
                self._crashes[fact.agent] = self._crashes.get(fact.agent, 0) + 1
            case SystemNoted(severity=Severity.ERROR | Severity.CRITICAL):
                self._errors.append(fact)
            case _:
                pass

    def _note_trading(self, fact: AnyFact) -> None:
        match fact:
            case MarketOpened():
                self._markets[fact.market.id] = fact.market
            case MarketSettled():
                self._payouts[fact.market] = fact.payout_up
            case IntentRecorded():
                self._orders.add(fact.intent.id)
            case WindowRecorded():
                self._records[fact.market, fact.agent] = fact
            case TradeSettled():
                key = fact.market, fact.agent
                self._window_pnl[key] = self._window_pnl.get(key, 0) + fact.pnl
                for name in (fact.agent, None):
                    paid = (fact.cost + fact.fees) / fact.shares if fact.shares else 0.0
                    self._prices_paid[name] = self._prices_paid.get(name, 0.0) + paid
            case _:
                pass

    def _note_judgement(self, fact: AnyFact) -> None:
        match fact:
            case SignalRefused():
                before = self._refusals.get(fact.rule) or RefusalCount(rule=fact.rule, count=0, example=fact.text)
                self._refusals[fact.rule] = msgspec.structs.replace(before, count=before.count + 1)
            case TradingPaused():
                self._pauses.append(fact)
            case TradeAudited():
                self._verdicts[fact.order] = fact
            case BooksAudited():
                self._books.append(fact.passed)
            case _:
                pass

    def _note_curves(self, fact: AnyFact) -> None:
        floor = self._performance.floor
        if isinstance(fact, AgentFact):
            score = self._performance.agents.get(fact.agent, floor)
            for name, exposure in ((fact.agent, score.exposure), (None, floor.exposure)):
                self._exposure_peaks[name] = max(self._exposure_peaks.get(name, Money(0)), exposure)
        if isinstance(fact, CapitalAllocated | TradeSettled):
            curve = self._curves.setdefault(fact.agent, {})
            curve[fact.at] = self._performance.agents[fact.agent].equity
        if isinstance(fact, RunStarted | TradeSettled):
            self._curves[None][fact.at] = floor.equity

    # -- the whole of it ----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        last_at, windows = self._performance.last_at, self._windows()
        ended = [row for row in windows if row.ended]
        return Report(
            start=self._start,
            first_at=self._first_at or Millis(0),
            last_at=last_at,
            finished=self._ended is not None and self._ended.finished,
            floor=self._performer(None, self._performance.floor),
            agents=tuple(self._performer(name, self._performance.agents[name]) for name in self._traders),
            windows=windows,
            records_missing=sum(cell.record is None for row in ended for cell in row.cells),
            refusals=tuple(sorted(self._refusals.values(), key=lambda refusal: (-refusal.count, refusal.rule))),
            pauses=tuple(self._pauses[:TROUBLES_KEPT_MAX]),
            pauses_total=len(self._pauses),
            audit=self._audit(),
            money=self._money.check(),
            sample=self._sample(ended),
            errors=tuple(self._errors[:TROUBLES_KEPT_MAX]),
            errors_total=len(self._errors),
        )

    def _performer(self, agent: AgentId | None, score: Score) -> Performer:
        record = next(r for r in self._performance.record(self._performance.last_at) if r.agent == agent)
        verdicts = [record.verdict for (_, name), record in self._records.items() if agent in (None, name)]
        crashes = self._crashes.values() if agent is None else (self._crashes.get(agent, 0),)
        start = self._start.capital if self._start else Money(0)
        return Performer(
            agent=agent,
            trades=score.trades,
            wins=score.wins,
            pnl=score.pnl,
            fees=score.fees,
            break_even=self._prices_paid.get(agent, 0.0) / score.trades if score.trades else None,
            equity_from=start if agent is None else self._traders[agent],
            equity_to=score.equity,
            drawdown=score.drawdown,
            sharpe=score.returns.sharpe,
            exposure_peak=self._exposure_peaks.get(agent, Money(0)),
            uptime=record.uptime if self._performance.uptimes else None,
            crashes=sum(crashes),
            traded=verdicts.count(Verdict.TRADED),
            passed=verdicts.count(Verdict.PASSED),
            down=verdicts.count(Verdict.DOWN),
            curve=tuple(EquityPoint(at=at, equity=equity) for at, equity in self._curves.get(agent, {}).items()),
        )

    def _windows(self) -> tuple[WindowRow, ...]:
        markets = sorted(self._markets.values(), key=lambda market: (market.window_start, market.id))
        return tuple(self._window(market) for market in markets)

    def _window(self, market: Market) -> WindowRow:
        cells = []
        for agent in self._traders:
            pnl = self._window_pnl.get((market.id, agent))
            record = self._records.get((market.id, agent))
            cells.append(WindowCell(agent=agent, record=record, pnl=None if pnl is None else Money(pnl)))
        return WindowRow(
            market=market.id,
            series=market.series,
            start=market.window_start,
            end=market.window_end,
            payout_up=self._payouts.get(market.id),
            ended=market.window_end <= self._performance.last_at,
            cells=tuple(cells),
        )

    def _audit(self) -> AuditResult:
        verdicts = self._verdicts.values()
        findings = [AuditFinding(order=v.order, text=text) for v in verdicts for text in v.findings]
        return AuditResult(
            orders=len(self._orders),
            audited=sum(order in self._verdicts for order in self._orders),
            failed=sum(not verdict.passed for verdict in verdicts),
            findings_total=len(findings),
            findings=tuple(findings[:TROUBLES_KEPT_MAX]),
            books=len(self._books),
            books_failed=self._books.count(False),
        )

    def _sample(self, ended: list[WindowRow]) -> Sample:
        floor = self._performance.floor
        traded = sum(any(cell.pnl is not None for cell in row.cells) for row in ended)
        return Sample(windows=len(ended), windows_traded=traded, trades=floor.trades, wins=floor.wins)
