"""Tells the log what the floor did, in words a trader uses."""

from datetime import UTC, datetime

from loguru import logger

from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    FillFailed,
    FillMatched,
    IntentRecorded,
    Journaled,
    MarketSettled,
    OrderRejected,
    RunEnded,
    RunStarted,
    Severity,
    SignalRefused,
    SystemNoted,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    TradingResumed,
    Verdict,
    WalletMoved,
    WindowRecorded,
)
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Money, format_units

Told = tuple[str, str, str]


def tell(facts: list[Journaled]) -> None:
    """One log line per fact worth one."""
    for entry in facts:
        told = in_words(entry.fact)
        if told is not None:
            level, action, text = told
            logger.bind(action=action, seq=entry.seq).log(level, "[{}] {}", market_clock(entry.fact.at), text)


def market_clock(at: Millis) -> str:
    """The market's time of day in UTC; the log's own time is the machine's."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")


def dollars(amount: Money) -> str:
    return f"{'-' if amount < 0 else '+'}${abs(amount) / UNIT:,.2f}"


def in_words(fact: AnyFact) -> Told | None:  # noqa: C901, PLR0911, PLR0912  one line per kind of fact, no logic
    """Level, action and text; None for facts that would only be noise."""
    match fact:
        case RunStarted() | RunEnded() | AgentChanged() | SystemNoted():
            return _of_the_house(fact)
        case IntentRecorded(intent=i):
            text = (
                f"{i.agent} wants {format_units(i.shares)} {i.outcome.name} up to {format_units(i.limit)}: {i.reason}"
            )
            return "INFO", "order", text
        case FillMatched():
            shares, price, fee = format_units(fact.shares), format_units(fact.price), format_units(fact.fee)
            what = f"{fact.side.lower()}s {shares} {fact.outcome.name} at {price}"
            return "INFO", "fill", f"{fact.agent} {what} ({fact.liquidity}, fee {fee})"
        case FillFailed():
            return "WARNING", "fill_failed", f"{fact.fill} was undone: {fact.text}"
        case OrderRejected():
            return "WARNING", "order_rejected", f"{fact.order}: {fact.text}"
        case SignalRefused():
            return "INFO", "refused", f"{fact.agent} held back: {fact.text}"
        case MarketSettled():
            side = Outcome.UP if fact.payout_up == UNIT else Outcome.DOWN
            won = side.name if fact.payout_up in (0, UNIT) else f"Up pays {format_units(fact.payout_up)}"
            return "INFO", "resolved", f"{fact.market}: {won}"
        case TradeSettled():
            return "INFO", "settled", f"{fact.agent} {dollars(fact.pnl)} on {fact.market}"
        case WindowRecorded(verdict=Verdict.DOWN):
            return "WARNING", "window_down", f"{fact.agent} was down in {fact.market}"
        case WindowRecorded():
            return "DEBUG", "window", f"{fact.agent} {fact.verdict} {fact.market}: {fact.reason}"
        case TradingPaused():
            return "WARNING", "paused", f"{fact.agent or 'the floor'}: {fact.text}"
        case TradingResumed():
            return "INFO", "resumed", f"{fact.agent or 'the floor'}: {fact.text}"
        case TradeAudited(passed=False):
            return "ERROR", "audit_failed", f"{fact.order}: {'; '.join(fact.findings)}"
        case BooksAudited(passed=False):
            said, found = format_units(fact.desk_cash), format_units(fact.recomputed_cash)
            return "ERROR", "books_differ", f"{fact.agent} has {said} in cash, its fills give {found}"
        case WalletMoved():
            return "INFO", "wallet", f"{fact.kind} {format_units(fact.amount)} pUSD of {fact.market or 'elsewhere'}"
        case CashAccepted() | SharesAccepted() | CostAccepted():
            return "WARNING", "account", f"{fact.by} accepted {_what_was_accepted(fact)}: {fact.text}"
        case _:
            return None


def _what_was_accepted(fact: CashAccepted | SharesAccepted | CostAccepted) -> str:
    match fact:
        case CashAccepted():
            return f"{format_units(fact.amount)} pUSD"
        case SharesAccepted():
            return f"{format_units(fact.shares)} shares of {fact.market} {fact.outcome.name}"
        case CostAccepted():
            return f"{format_units(fact.cost)} pUSD as the cost of {fact.order}"


def _of_the_house(fact: RunStarted | RunEnded | AgentChanged | SystemNoted) -> Told:
    match fact:
        case RunStarted():
            text = f"run {fact.run}: {fact.mode} on {fact.source}, capital {format_units(fact.capital)}"
            return "INFO", "run_started", text
        case RunEnded():
            return "INFO", "run_ended", fact.reason
        case AgentChanged():
            level = "WARNING" if fact.state in (AgentState.CRASHED, AgentState.BENCHED) else "INFO"
            detail = f": {fact.text}" if fact.text else ""
            return level, "agent", f"{fact.agent} ({fact.role}) is {fact.state}{detail}"
        case SystemNoted():
            level = fact.severity if fact.severity in Severity else Severity.INFO
            return level.value, fact.component, fact.text
