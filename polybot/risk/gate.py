"""The one gate between a wish and an order. Only this file makes an `Approved`; the venue path takes nothing else."""

from typing import Final

import msgspec

from polybot.domain.book import Book, BookState
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import OrderIntent, Proof, TimeInForce
from polybot.domain.units import LOT, UNIT, Millis, Money, Price, Shares, notional_floor
from polybot.risk.known_terms import knows_fees, knows_rules
from polybot.risk.limits import Limits


class OrderWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk would like to send. A wish is not an order."""

    id: OrderId
    agent: AgentId
    outcome: Outcome
    limit: Price
    shares: Shares
    time_in_force: TimeInForce
    post_only: bool
    fair_value: Price
    reason: str
    inputs: dict[str, float]
    expires_at: Millis | None = None


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the gate judges by, gathered at one instant by the owner of each number."""

    now: Millis
    event_seq: int
    market: Market
    book: Book
    cash_available: Money
    agent_exposure: Money
    floor_exposure: Money
    capital_base: Money
    agent_pause: str | None
    floor_pause: str | None
    order_cost_max: Money | None = None
    """What the ramp allows one order to cost now (risk/ramp.py); None: no ramp."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that said no, the number that failed, and the bound it failed."""

    rule: str
    value: float
    limit: float

    @property
    def text(self) -> str:
        return REFUSALS[self.rule].format(value=self.value, limit=self.limit)


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """An order that may be sent. Built by `judge` and nowhere else (tests/test_architecture.py checks)."""

    intent: OrderIntent


REFUSALS: Final = {
    "floor_paused": "the floor is paused",
    "agent_paused": "the agent is paused",
    "outside_window": "{value:.1f} s of the window are left, new orders need more than {limit:.1f} s",
    "before_window": "the window opens in {value:.1f} s",
    "unknown_rules": "the market is settled under a rule, or runs on a protocol, that this version does not know",
    "unknown_fees": "the market's fee schedule is not one this version knows",
    "book_not_verified": "the book's best prices are not verified by the venue",
    "book_stale": "the book is {value:.0f} ms old, at most {limit:.0f} ms are allowed",
    "book_frozen": "the book has not changed for {value:.1f} s, at most {limit:.1f} s are believed in an open window",
    "off_tick": "the limit {value:.6f} is not on the tick grid of {limit:.6f}",
    "price_range": "the limit {value:.6f} lies outside the market's range, {limit:.6f} from either end",
    "off_lot": "{value:.6f} shares are not a multiple of {limit:.2f}",
    "size_minimum": "{value:.2f} shares are fewer than the market's minimum of {limit:.2f}",
    "notional_minimum": "${value:.2f} is less than the venue's minimum of ${limit:.2f} for a marketable buy",
    "would_cross": "a post-only limit of {value:.6f} would cross the best ask {limit:.6f}",
    "order_capital": "the order may cost ${value:.2f}, one order may cost ${limit:.2f}",
    "order_ramp": "the order may cost ${value:.2f}, live trading has come as far as ${limit:.2f} an order",
    "agent_capital": "the agent would have ${value:.2f} deployed, at most ${limit:.2f} are allowed",
    "floor_capital": "the floor would have ${value:.2f} deployed, at most ${limit:.2f} are allowed",
    "cash": "the order may cost ${value:.2f}, the agent has ${limit:.2f} free",
}


def judge(wish: OrderWish, seen: Circumstances, limits: Limits) -> Approved | Refused:
    """Apply every rule, cheapest first; the first to fail is the answer. Buys only: positions are held to the end."""
    refusal = _judge_moment(seen, limits) or _judge_terms(wish, seen, limits)
    if refusal:
        return refusal
    cost_max = seen.market.fees.buy_cost_max(wish.limit, wish.shares)
    refusal = _judge_money(cost_max, seen, limits)
    return refusal or Approved(intent=_intent(wish, cost_max, seen, limits.book_age_ms_max))


def judge_pauses(floor_pause: str | None, agent_pause: str | None) -> Refused | None:
    """Whether floor and agent may trade at all. Asked of every wish, and again when its order is about to leave."""
    if floor_pause is not None:
        return Refused(rule="floor_paused", value=1, limit=0)
    if agent_pause is not None:
        return Refused(rule="agent_paused", value=1, limit=0)
    return None


def _judge_moment(seen: Circumstances, limits: Limits) -> Refused | None:
    if (paused := judge_pauses(seen.floor_pause, seen.agent_pause)) is not None:
        return paused
    if seen.now < seen.market.window_start:
        return Refused(rule="before_window", value=(seen.market.window_start - seen.now) / 1000, limit=0)
    left = seen.market.window_end - seen.now
    if left <= limits.entry_cutoff_ms:
        return Refused(rule="outside_window", value=left / 1000, limit=limits.entry_cutoff_ms / 1000)
    if not knows_rules(seen.market):
        return Refused(rule="unknown_rules", value=0, limit=1)
    if not knows_fees(seen.market.fees):
        return Refused(rule="unknown_fees", value=0, limit=1)
    return _judge_book(seen.book, seen.now, limits)


def _judge_book(book: Book, now: Millis, limits: Limits) -> Refused | None:
    """A book is as old as the moment up to which it is known to be the venue's (domain/book.py).

    One that only says again and again that nothing has changed is not believed for ever: in an open window, prices
    move every second or so, and a server that repeats itself out of a cache is a known fault (polymarket.md 8, 11).
    """
    if book.state is not BookState.VERIFIED:
        return Refused(rule="book_not_verified", value=0, limit=1)
    age = book.age_ms(now)
    if age > limits.book_age_ms_max:
        return Refused(rule="book_stale", value=age, limit=limits.book_age_ms_max)
    unchanged = now - book.at
    if unchanged > limits.book_unchanged_ms_max:
        return Refused(rule="book_frozen", value=unchanged / 1000, limit=limits.book_unchanged_ms_max / 1000)
    return None


def _judge_terms(wish: OrderWish, seen: Circumstances, limits: Limits) -> Refused | None:
    market, best_ask = seen.market, seen.book.best_ask
    if wish.limit % market.tick:
        return Refused(rule="off_tick", value=wish.limit / UNIT, limit=market.tick / UNIT)
    if not market.tick <= wish.limit <= UNIT - market.tick:
        return Refused(rule="price_range", value=wish.limit / UNIT, limit=market.tick / UNIT)
    if wish.shares % LOT:
        return Refused(rule="off_lot", value=wish.shares / UNIT, limit=LOT / UNIT)
    if wish.shares < market.size_min:
        return Refused(rule="size_minimum", value=wish.shares / UNIT, limit=market.size_min / UNIT)
    crosses = best_ask is not None and wish.limit >= best_ask
    if wish.post_only and crosses:
        return Refused(rule="would_cross", value=wish.limit / UNIT, limit=(best_ask or 0) / UNIT)
    notional = notional_floor(wish.limit, wish.shares)
    if crosses and notional < limits.marketable_notional_min:
        return Refused(rule="notional_minimum", value=notional / UNIT, limit=limits.marketable_notional_min / UNIT)
    return None


def _judge_money(cost_max: Money, seen: Circumstances, limits: Limits) -> Refused | None:
    capital = seen.capital_base
    ramp = seen.order_cost_max
    bounds = (
        ("order_capital", cost_max, capital * limits.order_capital_share // UNIT),
        ("order_ramp", cost_max, cost_max if ramp is None else ramp),
        ("agent_capital", seen.agent_exposure + cost_max, capital * limits.agent_capital_share // UNIT),
        ("floor_capital", seen.floor_exposure + cost_max, capital * limits.floor_capital_share // UNIT),
        ("cash", cost_max, seen.cash_available),
    )
    for rule, value, bound in bounds:
        if value > bound:
            return Refused(rule=rule, value=value / UNIT, limit=bound / UNIT)
    return None


def _intent(wish: OrderWish, cost_max: Money, seen: Circumstances, book_age_ms_max: int) -> OrderIntent:
    book = seen.book
    proof = Proof(
        event_seq=seen.event_seq,
        book_state=book.state,
        book_age_ms=book.age_ms(seen.now),
        book_age_ms_max=book_age_ms_max,
        best_bid=book.best_bid,
        best_ask=book.best_ask,
        depth=book.depth_within(Side.SELL, wish.limit),
        fee_fingerprint=seen.market.fees.fingerprint,
        rule_set=seen.market.rule_set,
        capital_base=seen.capital_base,
        agent_exposure=seen.agent_exposure,
        floor_exposure=seen.floor_exposure,
    )
    return OrderIntent(
        id=wish.id,
        agent=wish.agent,
        market=seen.market.id,
        outcome=wish.outcome,
        side=Side.BUY,
        limit=wish.limit,
        shares=wish.shares,
        time_in_force=wish.time_in_force,
        post_only=wish.post_only,
        cost_max=cost_max,
        decided_at=seen.now,
        fair_value=wish.fair_value,
        reason=wish.reason,
        inputs=wish.inputs,
        proof=proof,
        expires_at=wish.expires_at,
    )


def order_budget(capital_base: Money, limits: Limits, order_cost_max: Money | None = None) -> Money:
    """The most one order may cost, fee included, in millionths of a pUSD; `order_cost_max` is the ramp's word."""
    budget = Money(capital_base * limits.order_capital_share // UNIT)
    return budget if order_cost_max is None else min(budget, order_cost_max)
