"""Our wallet as the paper venue keeps it: cash and shares, and what open orders reserve of them. Pure.

It is kept apart from the desks' ledgers on purpose: at rest the two must agree, and the tests ask them to.
"""

import msgspec

from polybot.domain.events import FillMatched
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Money, Price, Shares, notional_ceil, notional_floor

SETTLED_MAX = 1_000
"""Payouts remembered for fills that fail late; the oldest are forgotten first."""


class Account(msgspec.Struct, kw_only=True):
    """`shares` by `market:OUTCOME`; `reserved` cash of open buys and `reserved_shares` of open sells, by order;
    `selling` says which asset an open sell is of."""

    cash: Money
    shares: dict[str, Shares] = {}
    reserved: dict[OrderId, Money] = {}
    reserved_shares: dict[OrderId, Shares] = {}
    selling: dict[OrderId, str] = {}
    settled: dict[MarketId, Price] = {}

    def can_afford(self, intent: OrderIntent) -> bool:
        """Whether cash (for a buy) or shares (for a sell) not reserved by other orders cover it."""
        if intent.side is Side.BUY:
            return intent.cost_max <= self.cash - sum(self.reserved.values())
        asset = f"{intent.market}:{intent.outcome.name}"
        held_back = sum(
            shares for order, shares in self.reserved_shares.items() if self.selling.get(order) == asset
        )
        return intent.shares <= self.shares.get(asset, 0) - held_back

    def reserve(self, intent: OrderIntent) -> None:
        if intent.side is Side.BUY:
            self.reserved[intent.id] = intent.cost_max
        else:
            self.reserved_shares[intent.id] = intent.shares
            self.selling[intent.id] = f"{intent.market}:{intent.outcome.name}"

    def release(self, order: OrderId) -> None:
        self.reserved.pop(order, None)
        self.reserved_shares.pop(order, None)
        self.selling.pop(order, None)

    def book(self, fill: FillMatched) -> None:
        """Move cash and shares at the match; what the fill took is no longer reserved."""
        self._move(fill, 1)
        spent = -self._cash_moved(fill)
        if fill.order in self.reserved:
            self.reserved[fill.order] = Money(max(0, self.reserved[fill.order] - spent))
        if fill.order in self.reserved_shares:
            self.reserved_shares[fill.order] = Shares(self.reserved_shares[fill.order] - fill.shares)

    def undo(self, fill: FillMatched) -> None:
        """A fill failed on chain: cash and shares go back, a payout already taken for them too."""
        self._move(fill, -1)
        if fill.market in self.settled:
            self._pay_out(fill.market, self.settled[fill.market])

    def settle(self, market: MarketId, payout_up: Price) -> None:
        """Redeem: the market's shares become their payout. Doing it again changes nothing."""
        self.settled.setdefault(market, payout_up)
        while len(self.settled) > SETTLED_MAX:
            del self.settled[next(iter(self.settled))]
        self._pay_out(market, payout_up)

    def _pay_out(self, market: MarketId, payout_up: Price) -> None:
        for outcome, per_share in ((Outcome.UP, payout_up), (Outcome.DOWN, Price(UNIT - payout_up))):
            shares = self.shares.pop(f"{market}:{outcome.name}", Shares(0))
            self.cash = Money(self.cash + notional_floor(per_share, shares))

    def _move(self, fill: FillMatched, sign: int) -> None:
        asset = f"{fill.market}:{fill.outcome.name}"
        shares = fill.shares if fill.side is Side.BUY else -fill.shares
        self.cash = Money(self.cash + sign * self._cash_moved(fill))
        self.shares[asset] = Shares(self.shares.get(asset, 0) + sign * shares)

    @staticmethod
    def _cash_moved(fill: FillMatched) -> int:
        if fill.side is Side.BUY:
            return -notional_ceil(fill.price, fill.shares) - fill.fee
        return notional_floor(fill.price, fill.shares) - fill.fee
