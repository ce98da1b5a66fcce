"""What the auditor holds an order to before it was sent: each rule named, each finding with its number and its bound.

Pure. Findings are texts of the form "rule: what was found, against what bound". The rules repeat the gate's arithmetic
on purpose and share none of its code: a check that asks the checked is none.
"""

import enum
from collections.abc import Iterator

import msgspec

from polybot.domain.book import BookState
from polybot.domain.market import Market, Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import LOT, UNIT, Money, Price, format_units, notional_floor
from polybot.risk.limits import Limits


class Rule(enum.StrEnum):
    """The names findings begin with. tests/risk/test_audit.py breaks every one of them and sees it found."""

    # the order as it was meant
    SIDE = "side"
    TICK_GRID = "tick_grid"
    PRICE_RANGE = "price_range"
    SIZE_MINIMUM = "size_minimum"
    SIZE_LOT = "size_lot"
    NOTIONAL_MINIMUM = "notional_minimum"
    TRADING_WINDOW = "trading_window"
    EXPIRY = "expiry"
    BOOK_VERIFIED = "book_verified"
    BOOK_AGE = "book_age"
    DEPTH = "depth"
    MARKETABLE = "marketable"
    POST_ONLY = "post_only"
    FEE_FINGERPRINT = "fee_fingerprint"
    RULE_SET = "rule_set"
    FAIR_VALUE = "fair_value"
    COST_MAX = "cost_max"
    PAUSED = "paused"
    # the owner's limits, from the auditor's own books
    CAPITAL_BASE = "capital_base"
    ORDER_CAPITAL = "order_capital"
    AGENT_CAPITAL = "agent_capital"
    FLOOR_CAPITAL = "floor_capital"
    CASH = "cash"
    AGENT_EXPOSURE = "agent_exposure"
    FLOOR_EXPOSURE = "floor_exposure"
    # the order's life
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_MARKET = "unknown_market"
    WRONG_AGENT = "wrong_agent"
    ORDER_TWICE = "order_twice"
    ORDER_LIFE = "order_life"
    CLOSE_REASON = "close_reason"
    ALL_OR_NOTHING = "all_or_nothing"
    COST_PAID = "cost_paid"
    # its fills
    FILL_TERMS = "fill_terms"
    FILL_PRICE = "fill_price"
    FILL_SIZE = "fill_size"
    FILL_AVAILABLE = "fill_available"
    FILL_FEE = "fill_fee"
    FILL_LIQUIDITY = "fill_liquidity"
    FILL_BEFORE_ACCEPTANCE = "fill_before_acceptance"
    FILL_AFTER_CLOSE = "fill_after_close"
    FILL_AFTER_WINDOW = "fill_after_window"
    FILL_TWICE = "fill_twice"
    FILL_FINALITY = "fill_finality"
    # its end
    SETTLED_EARLY = "settled_early"
    SETTLED_TWICE = "settled_twice"
    SETTLED_TERMS = "settled_terms"
    SETTLED_SHARES = "settled_shares"
    SETTLED_COST = "settled_cost"
    SETTLED_FEES = "settled_fees"
    SETTLED_PAYOUT = "settled_payout"
    SETTLED_PNL = "settled_pnl"
    NEVER_SETTLED = "never_settled"
    # the market itself
    MARKET_SETTLEMENT = "market_settlement"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the auditor's own books say just before an order, in millionths of a pUSD, from facts other than the proof.

    `capital_base` is None where no RunStarted said what the capital is; `paused` is the text of an open breaker.
    """

    capital_base: Money | None
    agent_free: Money
    agent_exposure: Money
    floor_exposure: Money
    paused: str | None


def finding(rule: Rule, text: str) -> str:
    return f"{rule}: {text}"


def judge_intent(intent: OrderIntent, market: Market, standing: Standing, limits: Limits) -> Iterator[str]:
    """Everything that can be said about an order before it is sent."""
    yield from _judge_price_and_size(intent, market, limits)
    yield from _judge_moment(intent, market, standing, limits)
    yield from _judge_book(intent, limits)
    yield from _judge_claims(intent, market)
    yield from _judge_limits(intent, standing, limits)


def _judge_price_and_size(intent: OrderIntent, market: Market, limits: Limits) -> Iterator[str]:
    limit, shares, tick = intent.limit, intent.shares, market.tick
    if intent.side is not Side.BUY:
        yield finding(Rule.SIDE, f"a {intent.side} was sent; positions are bought and held to settlement")
    if limit % tick:
        yield finding(Rule.TICK_GRID, f"limit {plain(limit)} is off the market's grid of {plain(tick)}")
    if not tick <= limit <= UNIT - tick:
        yield finding(Rule.PRICE_RANGE, f"limit {plain(limit)} lies outside {plain(tick)} to {plain(UNIT - tick)}")
    if shares < market.size_min:
        yield finding(Rule.SIZE_MINIMUM, f"{plain(shares)} shares, the market's minimum is {plain(market.size_min)}")
    if shares % LOT:
        yield finding(Rule.SIZE_LOT, f"{plain(shares)} shares are not a multiple of the venue's lot of {plain(LOT)}")
    notional = notional_floor(limit, shares)
    if _crosses(intent) and notional < limits.marketable_notional_min:
        bound = plain(limits.marketable_notional_min)
        yield finding(Rule.NOTIONAL_MINIMUM, f"${plain(notional)} in a marketable buy, the venue's minimum is ${bound}")


def _judge_moment(intent: OrderIntent, market: Market, standing: Standing, limits: Limits) -> Iterator[str]:
    early, left = market.window_start - intent.decided_at, market.window_end - intent.decided_at
    if early > 0:
        yield finding(Rule.TRADING_WINDOW, f"decided {early} ms before the window opened")
    if left <= limits.entry_cutoff_ms:
        yield finding(
            Rule.TRADING_WINDOW, f"decided {left} ms before the window's end, bound {limits.entry_cutoff_ms} ms"
        )
    if (intent.expires_at is not None) is not (intent.time_in_force is TimeInForce.GTD):
        yield finding(
            Rule.EXPIRY, f"expires_at is {intent.expires_at} on a {intent.time_in_force} order; GTD alone has one"
        )
    elif intent.expires_at is not None and intent.expires_at <= intent.decided_at:
        yield finding(Rule.EXPIRY, f"expires at {intent.expires_at}, not after its decision at {intent.decided_at}")
    if standing.paused is not None:
        yield finding(Rule.PAUSED, f"decided while trading was paused: {standing.paused}")


def _judge_book(intent: OrderIntent, limits: Limits) -> Iterator[str]:
    proof, crosses = intent.proof, _crosses(intent)
    if proof.book_state is not BookState.VERIFIED:
        yield finding(Rule.BOOK_VERIFIED, f"the book was {proof.book_state}, only a verified one may be traded on")
    if not 0 <= proof.book_age_ms <= limits.book_age_ms_max:
        yield finding(Rule.BOOK_AGE, f"the book was {proof.book_age_ms} ms old, bound {limits.book_age_ms_max} ms")
    if crosses is not (proof.depth > 0):
        ask = _plain_or_none(proof.best_ask)
        yield finding(Rule.DEPTH, f"{plain(proof.depth)} shares claimed within {plain(intent.limit)}, best ask {ask}")
    if not intent.time_in_force.rests and not crosses:
        ask = _plain_or_none(proof.best_ask)
        yield finding(
            Rule.MARKETABLE, f"{intent.time_in_force} at {plain(intent.limit)} cannot reach the best ask {ask}"
        )
    if intent.post_only and crosses:
        ask = _plain_or_none(proof.best_ask)
        yield finding(Rule.POST_ONLY, f"a post-only limit of {plain(intent.limit)} crosses the best ask {ask}")
    if intent.post_only and not intent.time_in_force.rests:  # polymarket.md 6.1
        yield finding(Rule.POST_ONLY, f"post-only goes with GTC and GTD, not with {intent.time_in_force}")


def _judge_claims(intent: OrderIntent, market: Market) -> Iterator[str]:
    proof, fees = intent.proof, market.fees
    if proof.fee_fingerprint != fees.fingerprint:
        text = f"reckoned with schedule {proof.fee_fingerprint}, the market's is {fees.fingerprint}"
        yield finding(Rule.FEE_FINGERPRINT, text)
    if proof.rule_set != market.rule_set:
        yield finding(Rule.RULE_SET, f"decided under {proof.rule_set!r}, the market's rules are {market.rule_set!r}")
    if not intent.limit <= intent.fair_value < UNIT:
        text = f"valued at {plain(intent.fair_value)}, yet ready to pay {plain(intent.limit)}"
        yield finding(Rule.FAIR_VALUE, text)
    worst = fees.buy_cost_max(intent.limit, intent.shares)
    if intent.cost_max != worst:
        yield finding(Rule.COST_MAX, f"${plain(intent.cost_max)} reserved, the worst case is ${plain(worst)}")


def _judge_limits(intent: OrderIntent, standing: Standing, limits: Limits) -> Iterator[str]:
    proof, cost = intent.proof, intent.cost_max
    base = standing.capital_base
    if base is None or not 0 < proof.capital_base <= base:
        bound = "unknown: no RunStarted" if base is None else f"${plain(base)}"
        text = f"limits were reckoned from ${plain(proof.capital_base)}, the facts allow {bound}"
        yield finding(Rule.CAPITAL_BASE, text)
    capital = proof.capital_base if base is None else base
    bounds = (
        (Rule.ORDER_CAPITAL, "the order may cost", cost, limits.order_capital_share),
        (Rule.AGENT_CAPITAL, "the agent has deployed", standing.agent_exposure + cost, limits.agent_capital_share),
        (Rule.FLOOR_CAPITAL, "the floor has deployed", standing.floor_exposure + cost, limits.floor_capital_share),
    )
    for rule, words, amount, share in bounds:
        bound_amount = capital * share // UNIT
        if amount > bound_amount:
            text = f"{words} ${plain(amount)}, bound ${plain(bound_amount)} ({share / UNIT:.0%} of ${plain(capital)})"
            yield finding(rule, text)
    if cost > standing.agent_free:
        yield finding(Rule.CASH, f"the order may cost ${plain(cost)}, the agent has ${plain(standing.agent_free)} free")
    # A fact may be durable, and not yet taken in when this is decided. It frees money: more is said then, never less.
    if proof.agent_exposure < standing.agent_exposure:
        text = f"the proof says ${plain(proof.agent_exposure)}, the facts give ${plain(standing.agent_exposure)}"
        yield finding(Rule.AGENT_EXPOSURE, text)
    if proof.floor_exposure < standing.floor_exposure:
        text = f"the proof says ${plain(proof.floor_exposure)}, the facts give ${plain(standing.floor_exposure)}"
        yield finding(Rule.FLOOR_EXPOSURE, text)


def _crosses(intent: OrderIntent) -> bool:
    return intent.proof.best_ask is not None and intent.limit >= intent.proof.best_ask


def plain(value: int) -> str:
    """Millionths as people write them, no digit lost."""
    return format_units(value)


def _plain_or_none(price: Price | None) -> str:
    return "none" if price is None else format_units(price)
