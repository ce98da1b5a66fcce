"""Every kind of fact, and what it changes in Postgres; pure. The projector carries it out (projector.py)."""

from collections.abc import Callable, Iterable
from typing import Any

from polybot.domain import account_facts, events
from polybot.domain.events import AnyFact, Journaled
from polybot.storage import projection_floor as floor
from polybot.storage import projection_sql as sql
from polybot.storage import projection_trading as trading
from polybot.storage.projection_change import Change, as_moment, as_text

CHANGES: dict[type[AnyFact], Callable[[int, Any], list[Change]]] = {
    events.OrderAccepted: trading.accepted,
    events.OrderRejected: trading.rejected,
    events.CancelRefused: trading.cancel_refused,
    events.FillMatched: trading.matched,
    events.FillConfirmed: trading.confirmed,
    events.FillFailed: trading.failed,
    events.OrderClosed: trading.closed,
    events.IntentRecorded: trading.intended,
    events.TradeSettled: trading.settled,
    events.RunStarted: floor.run_started,
    events.RunEnded: floor.run_ended,
    events.MarketOpened: floor.market_opened,
    events.MarketSettled: floor.market_settled,
    events.CapitalAllocated: floor.allocated,
    events.AgentChanged: floor.agent_changed,
    events.SignalRefused: floor.refused,
    events.WindowRecorded: floor.window_recorded,
    events.TradingPaused: floor.paused,
    events.TradingResumed: floor.resumed,
    events.TradeAudited: floor.trade_audited,
    events.BooksAudited: floor.books_audited,
    events.MetricsRecorded: floor.metrics,
    events.SystemNoted: floor.noted,
    events.WalletMoved: floor.wallet_moved,
    account_facts.CashAccepted: floor.cash_accepted,
    account_facts.SharesAccepted: floor.shares_accepted,
    account_facts.CostAccepted: floor.cost_accepted,
}


def changes_of(entries: Iterable[Journaled]) -> list[Change]:
    """Everything that `entries` change, in order; agents first met are added before what refers to them."""
    changes: list[Change] = []
    known: set[str] = set()
    for entry in entries:
        agent = getattr(entry.fact, "agent", None)
        if agent is not None and agent not in known:
            known.add(agent)
            changes.append(Change(sql.ADD_AGENT, (as_text(agent), as_moment(entry.fact.at)), (f"agent:{agent}",)))
        changes += CHANGES[type(entry.fact)](entry.seq, entry.fact)
    return changes
