"""What markets, runs, agents, audits, metrics and pauses change in Postgres; pure."""

from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    BooksAudited,
    CapitalAllocated,
    MarketOpened,
    MarketSettled,
    MetricsRecorded,
    RunEnded,
    RunStarted,
    Severity,
    SignalRefused,
    SystemNoted,
    TradeAudited,
    TradingPaused,
    TradingResumed,
    WalletMove,
    WalletMoved,
    WindowRecorded,
)
from polybot.domain.ledger import CASH
from polybot.domain.units import format_units
from polybot.storage import projection_sql as sql
from polybot.storage.projection_change import (
    Change,
    as_amount,
    as_json,
    as_moment,
    as_moment_or_none,
    as_text,
    as_text_or_none,
    event,
    transfer,
)

AGENT_SEVERITY = {AgentState.CRASHED: Severity.ERROR, AgentState.BENCHED: Severity.ERROR}


def market_opened(_seq: int, fact: MarketOpened) -> list[Change]:
    market = fact.market
    arguments = (
        as_text(market.id),
        as_text(market.condition_id),
        as_text(market.series),
        as_text(market.asset),
        as_moment(market.window_start),
        as_moment(market.window_end),
        as_amount(market.tick),
        as_amount(market.size_min),
        as_json(market.fees),
        market.taker_delay_ms,
        as_text(market.rule_set),
        as_text(market.version),
        None if market.tokens is None else [as_text(token) for token in market.tokens],
        as_moment(fact.at),
    )
    return [Change(sql.OPEN_MARKET, arguments, (f"market:{market.id}",))]


def market_settled(_seq: int, fact: MarketSettled) -> list[Change]:
    arguments = (as_text(fact.market), as_amount(fact.payout_up), as_moment(fact.at))
    return [Change(sql.SETTLE_MARKET, arguments, (f"market:{fact.market}",))]


def run_started(seq: int, fact: RunStarted) -> list[Change]:
    arguments = (
        seq,
        as_text(fact.run),
        as_text(fact.source),
        as_text(fact.mode),
        as_amount(fact.capital),
        fact.seed,
        as_text(fact.version),
        as_json(fact.settings),
        as_moment(fact.at),
    )
    text = f"run {fact.run} started: {fact.mode} on {fact.source}, PolyBot {fact.version}"
    return [Change(sql.START_RUN, arguments, ("runs",)), event(seq, fact, Severity.INFO, text)]


def run_ended(seq: int, fact: RunEnded) -> list[Change]:
    text = f"run ended: {fact.reason}" if fact.finished else f"run stopped, can go on: {fact.reason}"
    change = Change(sql.END_RUN, (as_moment(fact.at), as_text(fact.reason), fact.finished), ("runs",))
    return [change, event(seq, fact, Severity.INFO, text)]


def agent_changed(seq: int, fact: AgentChanged) -> list[Change]:
    arguments = (as_text(fact.agent), fact.state.value, as_text(fact.role), as_text(fact.text), as_moment(fact.at))
    severity = AGENT_SEVERITY.get(fact.state, Severity.INFO)
    text = f"{fact.agent} {fact.state}" + (f": {fact.text}" if fact.text else "")
    return [Change(sql.CHANGE_AGENT, arguments, (f"agent:{fact.agent}",)), event(seq, fact, severity, text)]


def allocated(seq: int, fact: CapitalAllocated) -> list[Change]:
    key = (f"agent:{fact.agent}",)
    movements = [("owner", CASH, -fact.moved), ("cash", CASH, fact.moved)]
    arguments = (seq, as_text(fact.agent), as_amount(fact.capital), as_amount(fact.moved), as_moment(fact.at))
    return [
        Change(sql.ADD_ALLOCATION, arguments, needs=key),
        Change(sql.SET_AGENT_CAPITAL, (as_text(fact.agent), as_amount(fact.capital)), key),
        transfer(seq, fact, f"capital:{seq}", "posted", movements, keys=key),
    ]


# -- what was watched, checked and paused ------------------------------------------------------------------------------


def refused(seq: int, fact: SignalRefused) -> list[Change]:
    agent, market, rule, text = map(as_text, (fact.agent, fact.market, fact.rule, fact.text))
    arguments = (seq, agent, market, rule, fact.value, fact.limit, text, as_moment(fact.at))
    return [Change(sql.ADD_REFUSAL, arguments, needs=(f"agent:{fact.agent}",))]


def window_recorded(seq: int, fact: WindowRecorded) -> list[Change]:
    arguments = (
        seq,
        as_text(fact.agent),
        as_text(fact.market),
        fact.verdict.value,
        as_text(fact.reason),
        fact.value,
        fact.threshold,
        fact.shortfall,
        as_text(fact.text),
        fact.evaluations,
        fact.orders,
        fact.fills,
        as_moment(fact.at),
    )
    return [Change(sql.ADD_WINDOW_RECORD, arguments, needs=(f"agent:{fact.agent}",))]


def trade_audited(seq: int, fact: TradeAudited) -> list[Change]:
    findings = [as_text(finding) for finding in fact.findings]
    arguments = (seq, as_text(fact.agent), as_text(fact.order), fact.passed, findings, as_moment(fact.at))
    audit = Change(sql.ADD_AUDIT, arguments, needs=(f"agent:{fact.agent}",))
    if fact.passed:
        return [audit]
    return [audit, event(seq, fact, Severity.ERROR, f"{fact.order} failed its audit: {'; '.join(fact.findings)}")]


def books_audited(seq: int, fact: BooksAudited) -> list[Change]:
    desk, recomputed = as_amount(fact.desk_cash), as_amount(fact.recomputed_cash)
    arguments = (seq, as_text(fact.agent), desk, recomputed, fact.passed, as_moment(fact.at))
    audit = Change(sql.ADD_BALANCE_AUDIT, arguments, needs=(f"agent:{fact.agent}",))
    if fact.passed:
        return [audit]
    has, gives = format_units(fact.desk_cash), format_units(fact.recomputed_cash)
    text = f"{fact.agent}'s desk has ${has} in cash, its fills alone give ${gives}"
    return [audit, event(seq, fact, Severity.CRITICAL, text)]


def metrics(seq: int, fact: MetricsRecorded) -> list[Change]:
    arguments = (
        seq,
        as_text_or_none(fact.agent),
        fact.trades,
        fact.wins,
        as_amount(fact.pnl),
        as_amount(fact.fees),
        as_amount(fact.equity),
        as_amount(fact.exposure),
        fact.win_rate,
        fact.sharpe,
        fact.drawdown,
        fact.uptime,
        as_moment(fact.at),
    )
    return [Change(sql.ADD_METRICS, arguments, needs=(f"agent:{fact.agent}",))]


def paused(seq: int, fact: TradingPaused) -> list[Change]:
    arguments = (
        seq,
        as_text_or_none(fact.agent),
        as_text(fact.breaker),
        fact.value,
        fact.limit,
        as_text(fact.text),
        as_moment(fact.at),
        as_moment_or_none(fact.until),
    )
    severity = Severity.ERROR if fact.agent is None else Severity.WARNING
    text = f"{fact.agent or 'the floor'} paused by {fact.breaker}: {fact.text}"
    key, needs = (f"pause:{fact.agent}:{fact.breaker}",), (f"agent:{fact.agent}",)
    return [Change(sql.ADD_PAUSE, arguments, key, needs), event(seq, fact, severity, text)]


def resumed(seq: int, fact: TradingResumed) -> list[Change]:
    arguments = (as_text_or_none(fact.agent), as_text(fact.breaker), as_moment(fact.at), as_text(fact.text))
    text = f"{fact.agent or 'the floor'} resumed after {fact.breaker}: {fact.text}"
    keys = (f"pause:{fact.agent}:{fact.breaker}",)
    return [Change(sql.END_PAUSES, arguments, keys), event(seq, fact, Severity.INFO, text)]


def noted(seq: int, fact: SystemNoted) -> list[Change]:
    arguments = (seq, as_moment(fact.at), fact.severity.value, as_text(fact.component), as_text(fact.text))
    return [Change(sql.ADD_EVENT, arguments)]


def wallet_moved(seq: int, fact: WalletMoved) -> list[Change]:
    arguments = (seq, as_moment(fact.at), Severity.INFO.value, "wallet", as_text(_wallet_words(fact)))
    return [Change(sql.ADD_EVENT, arguments)]


def _wallet_words(fact: WalletMoved) -> str:
    amount = f"{format_units(fact.amount)} pUSD"
    if fact.kind is WalletMove.OPENED:
        return f"{amount} of the wallet are not the floor's"
    by = f" in {fact.transaction}" if fact.transaction else ""
    return f"{fact.kind} {amount} of {fact.market or 'shares that are not of this floor'}{by}"


def cash_accepted(seq: int, fact: CashAccepted) -> list[Change]:
    return [_accepted(seq, fact, f"{format_units(fact.amount)} pUSD")]


def shares_accepted(seq: int, fact: SharesAccepted) -> list[Change]:
    return [_accepted(seq, fact, f"{format_units(fact.shares)} shares of {fact.market} {fact.outcome.name}")]


def cost_accepted(seq: int, fact: CostAccepted) -> list[Change]:
    return [_accepted(seq, fact, f"{format_units(fact.cost)} pUSD as the cost of {fact.order}")]


def _accepted(seq: int, fact: CashAccepted | SharesAccepted | CostAccepted, what: str) -> Change:
    """A warning: somebody changed what the books hold the wallet to, and the audit trail is where to find it."""
    text = f"{fact.by} accepted {what}: {fact.text}"
    return Change(sql.ADD_EVENT, (seq, as_moment(fact.at), Severity.WARNING.value, "account", as_text(text)))
