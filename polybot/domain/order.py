"""The life of an order as types: a state holds only what exists in it, and only these functions make the steps.

Intended ──accepted──▶ Working ──closed──▶ Closed          (fills happen while Working)
    └──────rejected, or never sent────────▶ Closed        (and may be told of late)
"""

import enum

import msgspec

from polybot.domain.book import BookState
from polybot.domain.errors import OrderError
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import Millis, Money, Price, Shares


class TimeInForce(enum.StrEnum):
    """Fill or kill, fill and kill, good till cancelled, good till date (polymarket.md 6.1)."""

    FOK = "FOK"
    FAK = "FAK"
    GTC = "GTC"
    GTD = "GTD"

    @property
    def rests(self) -> bool:
        return self in (TimeInForce.GTC, TimeInForce.GTD)


class CloseReason(enum.StrEnum):
    FILLED = "filled"
    KILLED = "killed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    MARKET_ENDED = "market_ended"
    NEVER_SENT = "never_sent"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate saw when it approved an order, kept so that anyone can check the decision afterwards.

    `event_seq` is the last event applied (D5b); `book_age_ms_max` the age that was allowed; `depth` the shares on offer
    within the limit; `capital_base` the money the limits were reckoned from; the exposures are those before this order.
    """

    event_seq: int
    book_state: BookState
    book_age_ms: int
    book_age_ms_max: int
    best_bid: Price | None
    best_ask: Price | None
    depth: Shares
    fee_fingerprint: str
    rule_set: str
    capital_base: Money
    agent_exposure: Money
    floor_exposure: Money


class OrderIntent(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it will be sent. `cost_max` is what it can cost at worst, fee included, and what is reserved.

    `expires_at` is the venue's effective end of a GTD order in UTC milliseconds, None for the others.
    """

    id: OrderId
    agent: AgentId
    market: MarketId
    outcome: Outcome
    side: Side
    limit: Price
    shares: Shares
    time_in_force: TimeInForce
    post_only: bool
    cost_max: Money
    decided_at: Millis
    fair_value: Price
    reason: str
    inputs: dict[str, float]
    proof: Proof
    expires_at: Millis | None = None

    @property
    def is_market_buy(self) -> bool:
        """A FOK or FAK BUY gives pUSD: at a better price than was seen they bring more shares (polymarket.md 6.1)."""
        return self.side is Side.BUY and not self.time_in_force.rests


class Intended(msgspec.Struct, frozen=True, kw_only=True, tag="intended"):
    """Written down, perhaps sent, not yet answered."""

    intent: OrderIntent


class Working(msgspec.Struct, frozen=True, kw_only=True, tag="working"):
    """The venue has it. `filled` and `spent` (fees included) are matched so far, provisional or not."""

    intent: OrderIntent
    filled: Shares = Shares(0)
    spent: Money = Money(0)


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """Nothing more will be matched; fills already matched may still be confirmed or fail, or be told of only now.

    `filled` and `spent` as in Working: what is told of only now must fit with them.
    """

    intent: OrderIntent
    reason: CloseReason
    filled: Shares
    spent: Money


OrderState = Intended | Working | Closed


def accept(order: OrderState) -> Working:
    if not isinstance(order, Intended):
        raise OrderError(f"{order.intent.id} was accepted while {_name(order)}; only an intended order can be")
    return Working(intent=order.intent)


def fits(intent: OrderIntent, filled: int, spent: int, accepted: int = 0) -> bool:
    """Whether the venue may have matched so much of an order in all, `spent` with fees.

    Every order is bounded by its shares; a market BUY may bring more, for no more than its money. That fewer cost more
    than was reserved (a fee that was raised meanwhile) does not make them less true. Failed fills count: the venue does
    not give back to an order what failed of it. `accepted` is what a person lets all of it cost, whatever it brings.
    """
    return filled <= intent.shares or (intent.is_market_buy and spent <= intent.cost_max) or spent <= accepted


def fill(order: OrderState, shares: Shares, spent: Money, accepted: int = 0) -> Working | Closed:
    """Count `shares` more as matched, and what was `spent` on them. Raises OrderError beyond what `fits`.

    A closed order stays closed: the venue matched before it closed, and its word of that came late (D8).
    """
    if isinstance(order, Intended):
        raise OrderError(f"{order.intent.id} was filled while {_name(order)}; only an accepted order can be")
    intent, filled, paid = order.intent, Shares(order.filled + shares), Money(order.spent + spent)
    if shares <= 0 or not fits(intent, filled, paid, accepted):
        made = f"{filled} of {intent.shares} for {paid} of {intent.cost_max}"
        raise OrderError(f"{intent.id}: a fill of {shares} for {spent} would make {made}")
    return msgspec.structs.replace(order, filled=filled, spent=paid)


def close(order: OrderState, reason: CloseReason) -> Closed:
    if isinstance(order, Closed):
        raise OrderError(f"{order.intent.id} was closed twice: {order.reason}, then {reason}")
    working = order if isinstance(order, Working) else Working(intent=order.intent)
    return Closed(intent=order.intent, reason=reason, filled=working.filled, spent=working.spent)


def _name(order: OrderState) -> str:
    return type(order).__name__.lower()
