"""Our wallet as the paper venue keeps it: cash and shares, and what open orders reserve of them. Pure.

It is kept apart from the desks' ledgers on purpose: at rest the two must agree, and the tests ask them to.
"""

import msgspec

from polybot.domain.events import FillMatched
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Money, Price, Shares, notional_floor

SETTLED_MAX = 1_000
"""Payouts remembered for fills that are finalised late; the oldest are forgotten first."""


class Account(msgspec.Struct, kw_only=True):
    """`shares` by `market:OUTCOME`; `reserved` cash of open buys and `reserved_shares` of open sells, by order;
    `selling` says which asset an open sell is of. What came in by fills not final yet is counted in `cash` and `shares`
    and, again, as pending: it can be neither spent, sold nor redeemed (polymarket.md 7: "hold as provisional")."""

    cash: Money
    shares: dict[str, Shares] = {}
    reserved: dict[OrderId, Money] = {}
    reserved_shares: dict[OrderId, Shares] = {}
    selling: dict[OrderId, str] = {}
    settled: dict[MarketId, Price] = {}
    pending_cash: Money = Money(0)
    pending_shares: dict[str, Shares] = {}

    def can_afford(self, intent: OrderIntent) -> bool:
        """Whether cash (for a buy) or shares (for a sell), final and not reserved by other orders, cover it."""
        if intent.side is Side.BUY:
            return intent.cost_max <= self.cash - self.pending_cash - sum(self.reserved.values())
        asset = _asset(intent.market, intent.outcome)
        held_back = sum(shares for order, shares in self.reserved_shares.items() if self.selling.get(order) == asset)
        return intent.shares <= self._final_shares(asset) - held_back

    def reserve(self, intent: OrderIntent) -> None:
        if intent.side is Side.BUY:
            self.reserved[intent.id] = intent.cost_max
        else:
            self.reserved_shares[intent.id] = intent.shares
            self.selling[intent.id] = _asset(intent.market, intent.outcome)

    def release(self, order: OrderId) -> None:
        self.reserved.pop(order, None)
        self.reserved_shares.pop(order, None)
        self.selling.pop(order, None)

    def book(self, fill: FillMatched) -> None:
        """Move cash and shares at the match; what the fill took is no longer reserved, what it brought is pending."""
        self._move(fill, 1)
        self._pend(fill, 1)
        if fill.order in self.reserved:
            self.reserved[fill.order] = Money(max(0, self.reserved[fill.order] + _cash_moved(fill)))
        if fill.order in self.reserved_shares:
            self.reserved_shares[fill.order] = Shares(self.reserved_shares[fill.order] - fill.shares)

    def confirm(self, fill: FillMatched) -> None:
        """A fill is final: what it brought is ours to use, and redeemed at once where the market is settled."""
        self._pend(fill, -1)
        self._redeem(fill.market)

    def undo(self, fill: FillMatched) -> None:
        """A fill failed on chain: cash and shares go back, and shares that come back are redeemed where settled."""
        self._pend(fill, -1)
        self._move(fill, -1)
        self._redeem(fill.market)

    def settle(self, market: MarketId, payout_up: Price) -> None:
        """Redeem: the market's final shares become their payout. Doing it again changes nothing."""
        self.settled.setdefault(market, payout_up)
        self._redeem(market)
        while len(self.settled) > SETTLED_MAX:
            del self.settled[next(iter(self.settled))]

    def _redeem(self, market: MarketId) -> None:
        payout_up = self.settled.get(market)
        if payout_up is None:
            return
        for outcome, per_share in ((Outcome.UP, payout_up), (Outcome.DOWN, Price(UNIT - payout_up))):
            asset = _asset(market, outcome)
            shares = self._final_shares(asset)
            self.cash = Money(self.cash + notional_floor(per_share, shares))
            _add(self.shares, asset, -shares)

    def _move(self, fill: FillMatched, sign: int) -> None:
        shares = fill.shares if fill.side is Side.BUY else -fill.shares
        self.cash = Money(self.cash + sign * _cash_moved(fill))
        _add(self.shares, _asset(fill.market, fill.outcome), sign * shares)

    def _pend(self, fill: FillMatched, sign: int) -> None:
        if fill.side is Side.BUY:
            _add(self.pending_shares, _asset(fill.market, fill.outcome), sign * fill.shares)
        else:
            self.pending_cash = Money(self.pending_cash + sign * max(0, _cash_moved(fill)))

    def _final_shares(self, asset: str) -> Shares:
        return Shares(self.shares.get(asset, 0) - self.pending_shares.get(asset, 0))


def _asset(market: MarketId, outcome: Outcome) -> str:
    return f"{market}:{outcome.name}"


def _cash_moved(fill: FillMatched) -> int:
    notional = notional_floor(fill.price, fill.shares)
    return (-notional if fill.side is Side.BUY else notional) - fill.fee


def _add(amounts: dict[str, Shares], asset: str, amount: int) -> None:
    """Add to an entry, and drop it at zero: weeks of markets leave nothing behind."""
    total = Shares(amounts.get(asset, 0) + amount)
    if total:
        amounts[asset] = total
    else:
        amounts.pop(asset, None)
