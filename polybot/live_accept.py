"""What parts an account from our books and a person may book, to the millionth; and the facts that book it. Pure.

Money or shares moved by hand are taken for what they are: not the floor's. An order that cost more than was reserved
is the floor's own: what a person accepts is its cost, and its fills are booked like any others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from polybot.account_talk import ItemSeen, signed
from polybot.desk.state import DeskState, fill_cost
from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.events import FillMatched, VenueReply
from polybot.domain.ids import AgentId, MarketId, OrderId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.order import OrderIntent, fits
from polybot.domain.units import Millis, Money, Shares, format_units
from polybot.venue.polymarket.account_values import Compared, Difference, DifferenceKind

CASH = "cash"
REASON_MAX = 200
REMEDIES = {
    DifferenceKind.FOREIGN_TRADE: "what it moved shows as money and shares; the trade itself is not read again after a "
    "minute",
    DifferenceKind.FOREIGN_ORDER: "cancel it by hand; one in a market we trade is cancelled by the floor",
    DifferenceKind.STRAY_ORDER: "the floor cancels it",
    DifferenceKind.ALLOWANCE: "approve the spender anew",
}
"""What is not to be booked, and what makes it go away."""
Acceptance = CashAccepted | SharesAccepted | CostAccepted
ARRIVED_S = 180.0
"""Thrice the pace of the readings."""
THE_FLOOR = "the floor"


class SharesOf(msgspec.Struct, frozen=True):
    market: MarketId
    outcome: Outcome


class CostOf(msgspec.Struct, frozen=True):
    agent: AgentId
    order: OrderId


class OpenItem(msgspec.Struct, frozen=True, kw_only=True):
    """A difference as a person sees it, and what it is about; `subject` None: the wallet's pUSD."""

    seen: ItemSeen
    subject: SharesOf | CostOf | None = None


# -- what there is to book ---------------------------------------------------------------------------------------------


def open_items(
    unexplained: Iterable[Difference],
    compared: Compared,
    since: Mapping[tuple[DifferenceKind, str], Millis],
    markets: Mapping[MarketId, Market],
) -> list[OpenItem]:
    """Money first. What stands in `REMEDIES` is not among them. `markets`: those that are not settled."""
    found: list[OpenItem] = []
    for difference in unexplained:
        first_seen = since.get((difference.kind, difference.subject))
        if difference.kind is DifferenceKind.CASH:
            found.append(_cash(difference, compared, first_seen))
        elif difference.kind is DifferenceKind.SHARES:
            found += _shares(difference, compared, first_seen, markets)
    return found


def _cash(difference: Difference, compared: Compared, since: Millis | None) -> OpenItem:
    books = compared.books
    theirs = compared.reading.collateral.balance - (books.elsewhere or 0)
    least, most = theirs - books.cash_most, theirs - books.cash_least
    return OpenItem(seen=ItemSeen(name=CASH, least=least, most=most, text=difference.text, since=since))


def _shares(
    difference: Difference, compared: Compared, since: Millis | None, markets: Mapping[MarketId, Market]
) -> Iterator[OpenItem]:
    """None of a market that is settled or forgotten: what its shares pay shows as money."""
    token = TokenId(difference.subject)
    holding = next((holding for holding in compared.books.holdings if holding.token == token), None)
    market = markets.get(holding.market) if holding is not None else None
    if holding is None or market is None or market.tokens is None:
        return
    outcome, theirs = Outcome(market.tokens.index(token)), compared.reading.held[token]
    seen = ItemSeen(
        name=item_name(market.id, outcome),
        least=theirs - holding.most,
        most=theirs - holding.least,
        text=difference.text,
        since=since,
    )
    yield OpenItem(seen=seen, subject=SharesOf(market.id, outcome))


def item_name(market: MarketId, outcome: Outcome) -> str:
    return f"{market}:{outcome.name.lower()}"


def cost_item(desk: DeskState, intent: OrderIntent, account: Iterable[VenueReply]) -> OpenItem | None:
    """Of an order by the venue's whole account of it; None where its fills are, or can be, booked as they are."""
    fills = [reply for reply in account if isinstance(reply, FillMatched)]
    filled, spent = sum(fill.shares for fill in fills), sum(fill_cost(fill) + fill.fee for fill in fills)
    if fits(intent, filled, spent, desk.accepted.get(intent.id, 0)):
        return None
    made = f"{format_units(filled)} shares for {format_units(spent)} pUSD, fees included"
    meant = f"{format_units(intent.shares)} for {format_units(intent.cost_max)} at most were meant"
    text = f"{intent.id} brought {made}; {meant}: not all of it is booked"
    seen = ItemSeen(name=f"cost:{intent.id}", least=spent, most=spent, text=text, is_first=True)
    return OpenItem(seen=seen, subject=CostOf(intent.agent, intent.id))


# -- booking it --------------------------------------------------------------------------------------------------------


def refusal(amounts: Mapping[str, int], reason: str, items: Sequence[OpenItem]) -> str | None:
    """Why this cannot be booked now; None where it can. What is booked is what was seen, or nothing is."""
    known = {item.seen.name: item.seen for item in items}
    first = [name for name, seen in known.items() if seen.is_first]
    if not amounts:
        return "no amount was given"
    if not reason.strip() or len(reason) > REASON_MAX or not reason.isprintable():
        return f"a reason is needed, of {REASON_MAX} plain characters at most: it stays in the record"
    for name, amount in amounts.items():
        seen = known.get(name)
        if seen is None:
            return f"{name}: there is no such difference (any more)"
        if not seen.least <= amount <= seen.most:
            return f"{name}: {signed(amount)} was given, and the difference is {seen.span}"
    if first and set(amounts) - set(first):
        return f"{', '.join(first)} comes first: a fill that is not booked yet is part of the other differences"
    return None


def acceptances(
    amounts: Mapping[str, int], items: Iterable[OpenItem], *, at: Millis, by: str, reason: str
) -> list[Acceptance]:
    """The facts, for amounts that are not refused."""
    return [_acceptance(item, amounts[item.seen.name], at, by, reason) for item in items if item.seen.name in amounts]


def _acceptance(item: OpenItem, amount: int, at: Millis, by: str, text: str) -> Acceptance:
    match item.subject:
        case None:
            return CashAccepted(at=at, amount=Money(amount), by=by, text=text)
        case SharesOf(market=market, outcome=outcome):
            return SharesAccepted(at=at, market=market, outcome=outcome, shares=Shares(amount), by=by, text=text)
        case CostOf(agent=agent, order=order):
            return CostAccepted(at=at, agent=agent, order=order, cost=Money(amount), by=by, text=text)


# -- what needs no person ----------------------------------------------------------------------------------------------


class Arrivals:
    """Money that comes from outside: the venue pays rebates and rewards daily, and a floor would wait for a person each
    time. What came is taken for not the floor's once it has stood for ARRIVED_S, the same sum, beside no other
    difference: then nothing that we booked is behind it. What is missing is never believed without a person, but for
    what rounding makes (`Difference.is_rounding`).
    """

    def __init__(self) -> None:
        self._stands: tuple[int, Money | None] = (0, None)
        self._since_s = 0.0

    def believed(
        self, found: Sequence[Difference], elsewhere: Money | None, now_s: float, at: Millis
    ) -> CashAccepted | None:
        """`found` is what differed twice in a row, by a reading of just now (`now_s`: monotonic seconds); `elsewhere`
        what is known not to be the floor's: once somebody has booked of it, a new reading has to be waited for."""
        stands = (came := _arrived(found), elsewhere)
        if stands != self._stands:
            self._stands, self._since_s = stands, now_s
        if not came or elsewhere is None or now_s - self._since_s < ARRIVED_S:
            return None
        source = "how fees are rounded" if found[0].is_rounding else "it came from outside"
        text = f"{source}, and nothing else differs for {ARRIVED_S:.0f} s"
        return CashAccepted(at=at, amount=Money(came), by=THE_FLOOR, text=text)


def _arrived(found: Sequence[Difference]) -> int:
    """How much more pUSD the wallet has than the books allow, or less by a rounding; 0 where that is not all."""
    if [difference.kind for difference in found] != [DifferenceKind.CASH]:
        return 0
    came = found[0].theirs - found[0].ours
    return came if found[0].is_rounding else max(0, came)
