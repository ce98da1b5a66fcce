"""The venue's account against our books: values in, differences out. Pure.

One difference alone proves nothing: a reading takes a moment in which a trade may be mined. What stands in two readings
in a row, and is the same in both, is unexplained, and trading waits until somebody has explained it.
"""

import enum
from collections.abc import Iterable, Sequence

import msgspec

from polybot.domain.units import Money, Shares, format_units
from polybot.venue.polymarket.account_values import AccountReading, Books, Difference, DifferenceKind
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen


class UnknownOrderRule(enum.StrEnum):
    """What is done with an open order that our books do not have open."""

    ADOPT = "adopt"
    """It is ours, by its hash: what happens to it is booked, and it is cancelled, for we closed it."""
    CANCEL = "cancel"
    """Not ours, in a market we trade: it could meet our own orders, or be a former run's."""
    LEAVE = "leave"
    """Not ours, and none of our business: somebody else uses this wallet."""


def rule_for(order: OrderSeen, books: Books) -> UnknownOrderRule:
    if order.hash in books.intents:
        return UnknownOrderRule.ADOPT
    return UnknownOrderRule.CANCEL if order.condition in books.conditions else UnknownOrderRule.LEAVE


def unknown_orders(reading: AccountReading, books: Books) -> list[OrderSeen]:
    return [order for order in reading.orders if order.is_open and order.hash not in books.open]


def compare(books: Books, reading: AccountReading) -> list[Difference]:
    """Everything in which the two differ, money first."""
    return [
        *_cash(books, reading),
        *_shares(books, reading),
        *_allowances(books, reading),
        *_orders(books, reading),
        *_trades(books, reading.trades),
    ]


def widened(before: Books, after: Books) -> Books:
    """The books around a reading: what changed while it was made may show in it or not."""
    holdings = {holding.token: holding for holding in before.holdings}
    both = []
    for holding in after.holdings:
        earlier = holdings.pop(holding.token, holding)
        least, most = min(earlier.least, holding.least), max(earlier.most, holding.most)
        both.append(msgspec.structs.replace(holding, least=least, most=most))
    return msgspec.structs.replace(
        after,
        cash_least=Money(min(before.cash_least, after.cash_least)),
        cash_most=Money(max(before.cash_most, after.cash_most)),
        holdings=(*both, *(msgspec.structs.replace(gone, least=Shares(0)) for gone in holdings.values())),
        intents=before.intents | after.intents,
        open=before.open | after.open,
    )


def unexplained(before: Iterable[Difference], now: Sequence[Difference]) -> list[Difference]:
    """What a second reading found again, to the last millionth."""
    earlier = {(found.kind, found.subject, found.ours, found.theirs) for found in before}
    return [found for found in now if (found.kind, found.subject, found.ours, found.theirs) in earlier]


def elsewhere_at_first(books: Books, reading: AccountReading) -> Money:
    """What of the wallet's money is not the floor's, when the two are compared for the first time."""
    return Money(reading.collateral.balance - books.cash_most)


def _cash(books: Books, reading: AccountReading) -> list[Difference]:
    if books.elsewhere is None:
        return []
    theirs = reading.collateral.balance - books.elsewhere
    ours = min(max(theirs, books.cash_least), books.cash_most)
    if ours == theirs:
        return []
    text = f"the wallet has {_money(theirs)} of the floor's, the books {_span(books.cash_least, books.cash_most)}"
    return [Difference(kind=DifferenceKind.CASH, subject="pUSD", ours=ours, theirs=theirs, text=text)]


def _shares(books: Books, reading: AccountReading) -> list[Difference]:
    """Only tokens that were read: a wallet may hold others, from before us or beside us."""
    found = []
    holdings = {holding.token: holding for holding in books.holdings}
    for token, theirs in reading.held.items():
        holding = holdings.get(token)
        least, most = (holding.least, holding.most) if holding is not None else (0, 0)
        ours = min(max(theirs, least), most)
        if ours != theirs:
            where = holding.market if holding is not None else f"token {token[:12]}"
            text = f"{where}: the wallet has {_money(theirs)} shares, the books {_span(least, most)}"
            found.append(Difference(kind=DifferenceKind.SHARES, subject=token, ours=ours, theirs=theirs, text=text))
    return found


def _allowances(books: Books, reading: AccountReading) -> list[Difference]:
    """A spender that may no longer spend all that the floor has: orders will be refused for it. What else is in the
    wallet nobody has to approve."""
    balance = max(0, min(reading.collateral.balance, books.cash_most))
    return [
        Difference(
            kind=DifferenceKind.ALLOWANCE,
            subject=spender,
            ours=balance,
            theirs=min(allowed, balance),
            text=f"{spender} may spend {_money(min(allowed, balance))} of {_money(balance)}: approve it anew",
        )
        for spender, allowed in sorted(reading.collateral.allowances.items())
        if allowed < balance
    ]


def _orders(books: Books, reading: AccountReading) -> list[Difference]:
    found = []
    for order in unknown_orders(reading, books):
        intent = books.intents.get(order.hash)
        left = order.shares - order.matched
        kind = DifferenceKind.FOREIGN_ORDER if intent is None else DifferenceKind.STRAY_ORDER
        whose = "nobody here placed" if intent is None else f"the books have closed ({intent.id})"
        at = "no known price" if order.price is None else _money(order.price)
        text = f"an order for {_money(left)} shares at {at} is open, which {whose}"
        name = None if intent is None else intent.id
        found.append(Difference(kind=kind, subject=order.hash, ours=0, theirs=left, text=text, order=name))
    return found


def _trades(books: Books, trades: Iterable[TradeSeen]) -> list[Difference]:
    """Trades in our markets in which no order of ours took part: another hand uses this wallet."""
    return [
        Difference(
            kind=DifferenceKind.FOREIGN_TRADE,
            subject=trade.id,
            ours=0,
            theirs=trade.shares,
            text=f"a trade of {_money(trade.shares)} shares that none of our orders made",
        )
        for trade in trades
        if trade.condition in books.conditions and not (hashes_of(trade) & books.intents.keys())
    ]


def hashes_of(trade: TradeSeen) -> set[str]:
    """Every order that took part in a trade."""
    return {trade.taker_order, *(entry.order for entry in trade.makers)}


def _money(units: int) -> str:
    return format_units(units)


def _span(least: int, most: int) -> str:
    return format_units(least) if least == most else f"{format_units(least)} to {format_units(most)}"
