"""From an opinion to a wish: how much to pay at most, and how many shares that buys."""

import enum

import msgspec

from polybot.domain.book import Book
from polybot.domain.errors import BadInput
from polybot.domain.market import Market
from polybot.domain.order import TimeInForce
from polybot.domain.signal import Signal
from polybot.domain.units import LOT, UNIT, Millis, Money, Price, Shares, floor_to_lot, floor_to_tick

MANY = Shares(1_000_000 * UNIT)
LOTS_OFF_MAX = 1_000
"""The guess of `shares_within` is a lot or two off at any price a market has (0.001 and up)."""


class Style(enum.StrEnum):
    TAKER = "taker"
    MAKER = "maker"


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an agent trades on its strategy's signals.

    `edge_min` is what must be left of fair value after price and fee, per share, at the limit too; `slippage_ticks` how
    far above the best ask a taker may pay; `order_cost_max` caps an order below the owner's limit; `rest_s` how long a
    maker order stands.
    """

    style: Style = Style.TAKER
    time_in_force: TimeInForce = TimeInForce.FAK
    edge_min: Price = Price(0)
    slippage_ticks: int = 1
    orders_per_window: int = 1
    order_cost_max: Money | None = None
    rest_s: int = 240

    def __post_init__(self) -> None:
        if not 1 <= self.orders_per_window <= 1_000 or not 0 <= self.slippage_ticks <= 100:
            raise BadInput("orders_per_window is 1 to 1000, slippage_ticks 0 to 100")
        if self.style is Style.TAKER and self.time_in_force.rests:
            raise BadInput("a taker order is FAK or FOK; for GTD orders set style = 'maker'")
        if not 0 <= self.edge_min < UNIT or (self.order_cost_max is not None and self.order_cost_max <= 0):
            raise BadInput("edge_min lies between 0 and 1, order_cost_max above 0")
        if self.rest_s > 86_400:
            raise BadInput("rest_s is at most 86400, a day")
        if self.rest_s < 125:
            raise BadInput("rest_s is at least 125: the venue takes no GTD order with less than two minutes to live")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Terms a wish can be made from."""

    limit: Price
    shares: Shares
    time_in_force: TimeInForce
    post_only: bool
    expires_at: Millis | None


class NoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Why no order makes sense: the reason, the number that failed, and what it had to reach."""

    code: str
    value: float
    threshold: float


def make_plan(
    signal: Signal, book: Book, market: Market, *, execution: Execution, budget: Money, now: Millis
) -> Plan | NoPlan:
    """Size an order for the signal within `budget` (fee included), or say why not."""
    taker = execution.style is Style.TAKER
    anchor = book.best_ask if taker else book.best_bid
    if anchor is None:
        return NoPlan(code="no_ask" if taker else "no_bid", value=0, threshold=1)
    fee = market.fees.taker_fee(anchor, Shares(UNIT)) if taker else 0
    edge = signal.fair_value - anchor - fee
    if edge < execution.edge_min or edge <= 0:
        return NoPlan(code="edge_too_small", value=edge / UNIT, threshold=max(execution.edge_min, 1) / UNIT)
    limit = _taker_limit(signal, anchor, market, execution) if taker else floor_to_tick(anchor, market.tick)
    if limit <= 0:  # a price below the tick we know of: the venue's grid is finer than the terms we hold
        return NoPlan(code="price_below_tick", value=anchor / UNIT, threshold=market.tick / UNIT)
    shares = shares_within(budget, limit, market)
    if shares < market.size_min:
        return NoPlan(code="budget_too_small", value=shares / UNIT, threshold=market.size_min / UNIT)
    return Plan(
        limit=limit,
        shares=shares,
        time_in_force=execution.time_in_force if taker else TimeInForce.GTD,
        post_only=not taker,
        expires_at=None if taker else Millis(now + execution.rest_s * 1000),
    )


def _taker_limit(signal: Signal, best_ask: Price, market: Market, execution: Execution) -> Price:
    """The highest price within the slippage that still leaves the edge after its own fee; the best ask if none does."""
    for ticks in range(execution.slippage_ticks, 0, -1):
        limit = floor_to_tick(best_ask + ticks * market.tick, market.tick)
        if limit >= UNIT:
            continue
        fee = market.fees.taker_fee(limit, Shares(UNIT))
        if signal.fair_value - limit - fee >= max(execution.edge_min, 1):
            return limit
    return floor_to_tick(best_ask, market.tick)


def shares_within(budget: Money, limit: Price, market: Market) -> Shares:
    """The most shares, in whole lots, whose worst cost at `limit` stays within `budget`.

    Guessed from the cost of very many shares, where rounding no longer counts, then put right by a lot or two. None
    where that does not do: a price at which shares cost next to nothing is no price to trade at.
    """
    cost = market.fees.buy_cost_max
    overhead = cost(limit, Shares(0))
    of_many = cost(limit, MANY) - overhead
    if budget <= overhead or not of_many:
        return Shares(0)
    shares = floor_to_lot((budget - overhead) * MANY // of_many)
    for _ in range(LOTS_OFF_MAX):
        if cost(limit, shares) > budget:
            shares = Shares(shares - LOT)
        elif cost(limit, Shares(shares + LOT)) <= budget:
            shares = Shares(shares + LOT)
        else:
            return shares
    return Shares(0)
