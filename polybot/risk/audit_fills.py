"""What the auditor holds fills, closings and settlements to; findings as in audit_rules.py. Pure."""

from collections.abc import Iterator

import msgspec

from polybot.domain.events import FillMatched, Liquidity, TradeSettled
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.market_buy import market_buy_of
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import LOT, UNIT, Money, Price, notional_floor
from polybot.risk.audit_rules import Rule, finding, plain


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of an order's fills in one state: shares, what was paid for them, and the fees on top."""

    shares: int = 0
    cost: int = 0
    fees: int = 0

    @property
    def spent(self) -> int:
        return self.cost + self.fees


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An order as its fills are held to it.

    `by_money`: a market BUY at a live venue, which spends its pUSD and brings what shares they buy (polymarket.md 6.1).
    The paper venue gives every order its shares.
    """

    intent: OrderIntent
    by_money: bool = False


def judge_fill(fill: FillMatched, asked: Asked, market: Market | None, before: Totals) -> Iterator[str]:
    """One fill against the order it belongs to; `before` is what was matched of it earlier, failed fills too."""
    intent = asked.intent
    terms = (fill.market, fill.outcome, fill.side)
    if terms != (intent.market, intent.outcome, intent.side):
        text = f"{fill.fill} is a {fill.side} of {fill.outcome.name} in {fill.market}, not what the order says"
        yield finding(Rule.FILL_TERMS, text)
    if not 0 < fill.price < UNIT or _worse(fill.price, intent):
        yield finding(Rule.FILL_PRICE, f"{fill.fill} at {plain(fill.price)}, the limit is {plain(intent.limit)}")
    yield from _judge_size(fill, asked, before)
    if fill.shares > fill.available:
        text = f"{fill.fill} took {plain(fill.shares)} shares where there were {plain(fill.available)}"
        yield finding(Rule.FILL_AVAILABLE, text)
    yield from _judge_liquidity(fill, intent)
    if market is not None:
        yield from _judge_fill_in_market(fill, market)


def _judge_size(fill: FillMatched, asked: Asked, before: Totals) -> Iterator[str]:
    matched, whole = before.shares + fill.shares, asked.intent.shares
    spent, most = before.spent + fill_cost(fill) + fill.fee, asked.intent.cost_max
    if fill.shares <= 0 or (matched > whole and not asked.by_money):
        text = f"{fill.fill} of {plain(fill.shares)} makes {plain(matched)} of {plain(whole)} shares"
        yield finding(Rule.FILL_SIZE, text)
    if asked.by_money and spent > most:
        yield finding(Rule.FILL_SIZE, f"{fill.fill} makes ${plain(spent)} spent of ${plain(most)} at most")


def _judge_liquidity(fill: FillMatched, intent: OrderIntent) -> Iterator[str]:
    if fill.liquidity is Liquidity.TAKER and intent.post_only:
        yield finding(Rule.FILL_LIQUIDITY, f"{fill.fill} took liquidity for a post-only order")
    if fill.liquidity is Liquidity.MAKER and not intent.time_in_force.rests:
        yield finding(Rule.FILL_LIQUIDITY, f"{fill.fill} is a maker's, but a {intent.time_in_force} order never rests")


def _judge_fill_in_market(fill: FillMatched, market: Market) -> Iterator[str]:
    due = Money(0) if fill.liquidity is Liquidity.MAKER else market.fees.taker_fee(fill.price, fill.shares)
    if fill.fee != due:
        text = f"{fill.fill} was charged ${plain(fill.fee)}, the schedule gives ${plain(due)} to a {fill.liquidity}"
        yield finding(Rule.FILL_FEE, text)
    if fill.at > market.window_end:
        late = fill.at - market.window_end
        yield finding(Rule.FILL_AFTER_WINDOW, f"{fill.fill} was matched {late} ms after the window's end")


def judge_close(asked: Asked, reason: CloseReason, matched: int) -> Iterator[str]:
    """How an order ended against the shares that were matched, those that failed later included.

    Where money is spent the whole is what it buys at the limit at least, less what rounding each fill may take.
    """
    intent = asked.intent
    whole = matched >= intent.shares if asked.by_money else matched == intent.shares
    all_of_it = market_buy_of(intent).shares - LOT if asked.by_money else intent.shares
    if (reason is CloseReason.FILLED) is not whole:
        text = f"closed as {reason} with {plain(matched)} of {plain(intent.shares)} shares matched"
        yield finding(Rule.CLOSE_REASON, text)
    if intent.time_in_force is TimeInForce.FOK and 0 < matched < all_of_it:
        text = f"a fill-or-kill order got {plain(matched)} of {plain(all_of_it)} shares"
        yield finding(Rule.ALL_OR_NOTHING, text)


def judge_cost(intent: OrderIntent, paid: Totals) -> Iterator[str]:
    """What the fills that stand cost, fees included, against what was reserved for the order."""
    if paid.spent > intent.cost_max:
        yield finding(Rule.COST_PAID, f"${plain(paid.spent)} was paid, at most ${plain(intent.cost_max)} was reserved")


def judge_settlement(
    settled: TradeSettled, intent: OrderIntent, confirmed: Totals, payout_up: Price | None
) -> Iterator[str]:
    """A settled trade against the order's confirmed fills and the market's payout."""
    if (settled.market, settled.outcome) != (intent.market, intent.outcome):
        text = (
            f"settled as {settled.outcome.name} of {settled.market}, ordered {intent.outcome.name} of {intent.market}"
        )
        yield finding(Rule.SETTLED_TERMS, text)
    counted = (
        (Rule.SETTLED_SHARES, "shares", settled.shares, confirmed.shares),
        (Rule.SETTLED_COST, "pUSD of cost", settled.cost, confirmed.cost),
        (Rule.SETTLED_FEES, "pUSD of fees", settled.fees, confirmed.fees),
    )
    for rule, words, said, summed in counted:
        if said != summed:
            yield finding(rule, f"settled with {plain(said)} {words}, the confirmed fills sum to {plain(summed)}")
    if payout_up is not None:
        due = payout_due(intent.outcome, payout_up, confirmed.shares)
        if settled.payout != due:
            yield finding(Rule.SETTLED_PAYOUT, f"${plain(settled.payout)} was paid out, the market owes ${plain(due)}")
    pnl = settled.payout - settled.cost - settled.fees
    if settled.pnl != pnl:
        yield finding(Rule.SETTLED_PNL, f"P&L ${plain(settled.pnl)}, payout less cost less fees is ${plain(pnl)}")


def payout_due(outcome: Outcome, payout_up: Price, shares: int) -> Money:
    """What `shares` of `outcome` are paid: Up's payout per share, or the rest of 1; rounded down to a millionth."""
    return Money((payout_up if outcome is Outcome.UP else UNIT - payout_up) * shares // UNIT)


def fill_cost(fill: FillMatched) -> int:
    """What a buyer pays for the shares, fee apart, or, negative, what a seller gets."""
    notional = notional_floor(fill.price, fill.shares)
    return notional if fill.side is Side.BUY else -notional


def _worse(price: Price, intent: OrderIntent) -> bool:
    return price > intent.limit if intent.side is Side.BUY else price < intent.limit
