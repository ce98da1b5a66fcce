"""Who trades with whom, at which price, for how much: plans over a pool, and the trades they become. Pure.

Every match is of so many shares that its money is a whole number of millionths (`share_step`): nothing is ever rounded,
and a ledger kept elsewhere from prices and sizes alone agrees with this one to the last millionth.
"""

from math import gcd

import msgspec

from polybot.domain.fees import FeeSchedule
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Money, Price, Shares, notional_floor
from polybot.exchange.core.model import (
    BYTES32_ZERO,
    NO_ONE,
    STREET,
    Address,
    Leg,
    Listing,
    MakerFill,
    Order,
    OrderHash,
    OwnerKey,
    Trade,
    TradeId,
)
from polybot.exchange.core.pool import Pool, Resting

CROWD_ORDER = OrderHash(BYTES32_ZERO)


class Bite(msgspec.Struct, frozen=True):
    """What one level (at Up's `price`) gives a taker: `crowd` shares of the tape's, and parts of clients' orders."""

    price: Price
    crowd: Shares
    makers: tuple[tuple[Resting, Shares], ...]

    @property
    def shares(self) -> Shares:
        return Shares(self.crowd + sum(shares for _, shares in self.makers))


class Plan(msgspec.Struct, frozen=True):
    """What an order would get now. `whole`: all that it asks for; `cost`: the pUSD a BUY pays, before `fee`."""

    bites: tuple[Bite, ...]
    whole: bool
    shares: Shares
    cost: Money
    fee: Money


def share_step(price: Price) -> int:
    """The fewest millionths of a share that cost a whole number of millionths at `price`: 25 at 0.52, 1000 at 0.523."""
    return UNIT // gcd(price, UNIT)


def is_marketable(pool: Pool, order: Order) -> bool:
    other = pool.of(not order.is_bid)
    return other.best is not None and other.reaches(order.up_price, other.best)


def plan(pool: Pool, order: Order, fees: FeeSchedule) -> Plan:
    """Walk the other side from its best price to the order's limit; nothing is taken yet."""
    other = pool.of(not order.is_bid)
    bites: list[Bite] = []
    wanted, money = order.left, order.spend
    total, cost, fee, whole = 0, 0, 0, False
    for up_price in other.best_first():
        if not other.reaches(order.up_price, up_price) or whole:
            break
        price, step = own_price(order.outcome, up_price), share_step(up_price)
        most = wanted - total if money is None else (money - cost) * UNIT // price
        crowd_step = step if money is None else 1  # money buys shares down to their last decimal, as on chain
        bite = _bite(list(other.levels[up_price].offers()), up_price, most, step, crowd_step)
        if bite.shares:
            bites.append(bite)
            total += bite.shares
            cost += notional_floor(price, bite.shares)
            fee += fees.taker_fee(price, bite.shares)
        whole = total == wanted if money is None else (money - cost) * UNIT // price < step
    return Plan(tuple(bites), whole, Shares(total), Money(cost), Money(fee))


def _bite(offers: list[tuple[Resting | None, Shares]], price: Price, most: int, step: int, crowd_step: int) -> Bite:
    """Take from a level's offers in their order, of clients in whole steps, so that each of them is paid exactly. The
    crowd's may be of any size: less than a step of it stays."""
    crowd, makers, left = 0, [], most
    for maker, offered in offers:
        part = min(left, offered)
        part -= part % (crowd_step if maker is None else step)
        if maker is None:
            crowd += part
        elif part:
            makers.append((maker, Shares(part)))
        left -= part
        if not left:
            break
    return Bite(price, Shares(crowd), tuple(makers))


def own_price(outcome: Outcome, up_price: Price) -> Price:
    return up_price if outcome is Outcome.UP else Price(UNIT - up_price)


class Taker(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever trades with resting orders: a client's order, or the crowd (`crowd_taker`)."""

    order_id: OrderHash
    owner: OwnerKey
    account: Address
    outcome: Outcome
    side: Side


def client_taker(order: Order) -> Taker:
    return Taker(order_id=order.id, owner=order.owner, account=order.account, outcome=order.outcome, side=order.side)


def crowd_taker(maker: Order) -> Taker:
    """The crowd, as it would have traded with this resting order: in the same token, from the other side."""
    side = Side.SELL if maker.side is Side.BUY else Side.BUY
    return Taker(order_id=CROWD_ORDER, owner=NO_ONE, account=STREET, outcome=maker.outcome, side=side)


class Match(msgspec.Struct, frozen=True):
    """Who trades with a taker at one level, at Up's `price`: parts of clients' orders, and `crowd` of the tape's."""

    price: Price
    parts: list[tuple[Order, Shares]]
    crowd: Shares = Shares(0)


class Dealt(msgspec.Struct, frozen=True, kw_only=True):
    """What a trade needs to be named and dated by."""

    id: TradeId
    transaction_hash: str
    at: Millis
    bucket: int = 0


def trade_of(listing: Listing, taker: Taker, match: Match, fees: FeeSchedule | None, dealt: Dealt) -> Trade:
    """One taker against one level; `fees` None where the taker is the crowd."""
    price, parts, crowd = own_price(taker.outcome, match.price), match.parts, match.crowd
    buys, token = taker.side is Side.BUY, listing.tokens[taker.outcome]
    sign = 1 if buys else -1
    shares = crowd + sum(part for _, part in parts)
    fee = Money(0) if fees is None else fees.taker_fee(price, Shares(shares))
    cash = Money(-sign * notional_floor(price, Shares(shares)))
    legs = [Leg(account=taker.account, token=token, cash=cash, shares=Shares(sign * shares), fee=fee)]
    legs += [_maker_leg(order, part) for order, part in parts]
    makers = [_maker_fill(order, part) for order, part in parts]
    if crowd:
        crowd_cash = Money(sign * notional_floor(price, crowd))
        legs.append(Leg(account=STREET, token=token, cash=crowd_cash, shares=Shares(-sign * crowd)))
        makers.append(_crowd_fill(taker, listing, price, crowd))
    minted = sign * sum(part for order, part in parts if order.side is taker.side)
    return Trade(
        id=dealt.id,
        market=listing.market.id,
        condition_id=listing.market.condition_id,
        token=token,
        outcome=taker.outcome,
        side=taker.side,
        price=price,
        shares=Shares(shares),
        fee=fee,
        taker_order=taker.order_id,
        taker_owner=taker.owner,
        taker_account=taker.account,
        makers=tuple(makers),
        legs=tuple(legs),
        minted=Money(minted),
        matched_at=dealt.at,
        updated_at=dealt.at,
        bucket=dealt.bucket,
        transaction_hash=dealt.transaction_hash,
    )


def _maker_leg(order: Order, shares: Shares) -> Leg:
    sign = 1 if order.side is Side.BUY else -1
    cash = Money(-sign * notional_floor(order.price, shares))
    return Leg(account=order.account, token=order.token, cash=cash, shares=Shares(sign * shares))


def _maker_fill(order: Order, shares: Shares) -> MakerFill:
    return MakerFill(
        order_id=order.id,
        owner=order.owner,
        account=order.account,
        token=order.token,
        outcome=order.outcome,
        side=order.side,
        price=order.price,
        shares=shares,
    )


def _crowd_fill(taker: Taker, listing: Listing, price: Price, shares: Shares) -> MakerFill:
    return MakerFill(
        order_id=CROWD_ORDER,
        owner=NO_ONE,
        account=STREET,
        token=listing.tokens[taker.outcome],
        outcome=taker.outcome,
        side=Side.SELL if taker.side is Side.BUY else Side.BUY,
        price=price,
        shares=shares,
    )
