"""What orders, fills and settlements change in Postgres; pure."""

from polybot.domain.events import (
    CancelRefused,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    Severity,
    TradeSettled,
)
from polybot.domain.ids import OrderId
from polybot.domain.ledger import CASH
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason
from polybot.domain.units import notional_floor
from polybot.storage import projection_sql as sql
from polybot.storage.projection_change import (
    Change,
    as_amount,
    as_amount_or_none,
    as_json,
    as_moment,
    as_moment_or_none,
    as_text,
    event,
    tokens,
    transfer,
)


def intended(seq: int, fact: IntentRecorded) -> list[Change]:
    intent, proof = fact.intent, fact.intent.proof
    arguments = (
        as_text(intent.id),
        seq,
        as_text(fact.agent),
        as_text(intent.market),
        Outcome(intent.outcome).name,
        intent.side.value,
        as_amount(intent.limit),
        as_amount(intent.shares),
        intent.time_in_force.value,
        intent.post_only,
        as_amount(intent.cost_max),
        as_amount(intent.fair_value),
        as_text(intent.reason),
        as_json(intent.inputs),
        as_moment(intent.decided_at),
        as_moment_or_none(intent.expires_at),
        proof.event_seq,
        proof.book_state.value,
        proof.book_age_ms,
        proof.book_age_ms_max,
        as_amount_or_none(proof.best_bid),
        as_amount_or_none(proof.best_ask),
        as_amount(proof.depth),
        as_text(proof.fee_fingerprint),
        as_text(proof.rule_set),
        as_amount(proof.capital_base),
        as_amount(proof.agent_exposure),
        as_amount(proof.floor_exposure),
    )
    needs = (f"agent:{fact.agent}", f"market:{intent.market}")
    return [Change(sql.ADD_ORDER, arguments, (f"order:{intent.id}",), needs)]


def accepted(_seq: int, fact: OrderAccepted) -> list[Change]:
    return [Change(sql.ACCEPT_ORDER, (as_text(fact.order), as_moment(fact.at)), (f"order:{fact.order}",))]


def rejected(_seq: int, fact: OrderRejected) -> list[Change]:
    arguments = (as_text(fact.order), CloseReason.REJECTED.value, as_moment(fact.at), as_text(fact.text))
    return [Change(sql.CLOSE_ORDER, arguments, (f"order:{fact.order}",))]


def closed(_seq: int, fact: OrderClosed) -> list[Change]:
    arguments = (as_text(fact.order), fact.reason.value, as_moment(fact.at), None)
    return [Change(sql.CLOSE_ORDER, arguments, (f"order:{fact.order}",))]


def cancel_refused(seq: int, fact: CancelRefused) -> list[Change]:
    return [event(seq, fact, Severity.WARNING, f"cancel of {fact.order} refused: {fact.text}")]


def matched(seq: int, fact: FillMatched) -> list[Change]:
    """A fill, its transfer on hold, and what follows from it for the order and the trade."""
    sign = 1 if fact.side is Side.BUY else -1
    notional = notional_floor(fact.price, fact.shares)
    arguments = (
        as_text(fact.fill),
        seq,
        as_text(fact.order),
        as_text(fact.agent),
        as_text(fact.market),
        Outcome(fact.outcome).name,
        fact.side.value,
        as_amount(fact.price),
        as_amount(fact.shares),
        as_amount(notional),
        as_amount(fact.fee),
        fact.liquidity.value,
        as_amount(fact.available),
        as_amount(fact.rebate_basis),
        as_moment(fact.at),
    )
    asset = tokens(fact.market, fact.outcome)
    movements = [
        ("cash", CASH, -sign * notional - fact.fee),
        ("market", CASH, sign * notional),
        ("fees", CASH, fact.fee),
        ("shares", asset, sign * fact.shares),
        ("market", asset, -sign * fact.shares),
    ]
    key, needs = (f"order:{fact.order}",), (f"agent:{fact.agent}", f"market:{fact.market}")
    booked = transfer(seq, fact, f"fill:{fact.fill}", "held", movements, keys=key)
    return [
        Change(sql.ADD_FILL, arguments, key, needs),
        booked,
        _reckon(sql.COUNT_FILLED, fact.order),
        _reckon(sql.RECKON_TRADE, fact.order),
    ]


def confirmed(_seq: int, fact: FillConfirmed) -> list[Change]:
    return _ended(fact, "confirmed", "posted", None)


def failed(seq: int, fact: FillFailed) -> list[Change]:
    """The fill never was: its transfer is void, the order's and the trade's figures are reckoned without it."""
    return [
        *_ended(fact, "voided", "voided", as_text(fact.text)),
        _reckon(sql.COUNT_FILLED, fact.order),
        _reckon(sql.DROP_EMPTY_TRADE, fact.order),
        _reckon(sql.RECKON_TRADE, fact.order),
        event(seq, fact, Severity.WARNING, f"fill {fact.fill} of {fact.order} failed: {fact.text}"),
    ]


def _ended(fact: FillConfirmed | FillFailed, fill_state: str, entry_state: str, words: str | None) -> list[Change]:
    key = (f"order:{fact.order}",)
    return [
        Change(sql.END_FILL, (as_text(fact.fill), fill_state, as_moment(fact.at), words), key),
        Change(sql.END_TRANSFER, (as_text(f"fill:{fact.fill}"), entry_state), key),
    ]


def _reckon(statement: str, order: OrderId) -> Change:
    return Change(statement, (as_text(order),), (f"order:{order}",))


def settled(seq: int, fact: TradeSettled) -> list[Change]:
    key = (f"order:{fact.order}",)
    asset = tokens(fact.market, fact.outcome)
    movements = [
        ("shares", asset, -fact.shares),
        ("market", asset, fact.shares),
        ("cash", CASH, fact.payout),
        ("market", CASH, -fact.payout),
    ]
    arguments = (as_text(fact.order), as_amount(fact.payout), as_amount(fact.pnl), as_moment(fact.at))
    booked = transfer(seq, fact, f"settlement:{fact.order}", "posted", movements, keys=key)
    return [Change(sql.SETTLE_TRADE, arguments, key), booked]
