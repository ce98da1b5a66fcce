"""What of the account's wallet no desk knows, folded from the facts (D7), so that a restart goes on comparing exactly.

A desk books a win when its market is settled; on chain it is paid when it is redeemed, earlier or later, and a complete
set that was merged has been paid ahead. What a person moved by hand is known once he has said so. Pure.
"""

from collections.abc import Mapping

import msgspec

from polybot.domain.account_facts import CashAccepted, SharesAccepted
from polybot.domain.events import (
    AnyFact,
    CapitalAllocated,
    MarketOpened,
    MarketSettled,
    RunStarted,
    TradeSettled,
    WalletMove,
    WalletMoved,
)
from polybot.domain.ids import ConditionId, MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import DAY_MS, UNIT, Millis, Money, Price, Shares, notional_floor

LIVE = "live"
WALLET_FACTS = frozenset(
    (
        *(RunStarted, CapitalAllocated, MarketOpened, MarketSettled, TradeSettled),
        *(WalletMoved, CashAccepted, SharesAccepted),
    )
)
"""A market that is opened only tells the time: what is too old is forgotten then."""
PAID_WITHIN_MS = DAY_MS
"""What has not been paid for so long is not waited for any more: the comparison shows it as unexplained."""
LEFT_LYING = UNIT // 100
"""Less than a cent is not worth a transaction (venue/polymarket/account_settlement.py): it stays where it is."""


class WalletMarket(msgspec.Struct, kw_only=True):
    """`unpaid` is what desks were credited less what the chain has paid, merges included: below 0 where it is ahead.

    `merged` are complete sets turned into pUSD: of both outcomes the wallet has so many fewer than the desks.
    """

    condition: ConditionId | None
    at: Millis
    unpaid: Money = Money(0)
    merged: Shares = Shares(0)


class WalletState(msgspec.Struct, kw_only=True):
    """`elsewhere` is what of the wallet's pUSD is not the floor's, None before the run's first comparison told it.

    A market is kept until it is paid to the millionth, or for a day after its story is over.
    """

    live: bool = False
    elsewhere: Money | None = None
    markets: dict[MarketId, WalletMarket] = {}
    dust: Money = Money(0)
    """Remainders of markets that are forgotten, each below a cent: credited here, never to be paid there."""
    beside: dict[MarketId, dict[Outcome, Shares]] = {}
    """Shares in the wallet that no desk bought, as a person said; below 0 where he took some of a desk's away.

    They are like one more desk's, until the market is settled: then what they pay is not the floor's.
    """

    @property
    def unpaid(self) -> Money:
        """How much less the wallet has than the desks' cash says, by what has been told."""
        return Money(self.dust + sum(market.unpaid for market in self.markets.values()))

    def take(self, fact: AnyFact, markets: Mapping[MarketId, Market]) -> None:
        """`markets` are those whose story is not over."""
        match fact:
            case RunStarted():
                self.live = fact.mode == LIVE
            case CapitalAllocated() if self.live and self.elsewhere is not None:
                self.elsewhere = Money(self.elsewhere - fact.moved)  # it was in the wallet all along
            case TradeSettled() if self.live and fact.payout:
                found = self._market(fact.market, fact.at, markets)
                found.unpaid = Money(found.unpaid + fact.payout)
            case WalletMoved():
                self._moved(fact, markets)
            case CashAccepted() if self.elsewhere is not None:
                self.elsewhere = Money(self.elsewhere + fact.amount)
            case SharesAccepted():
                held = self.beside.setdefault(fact.market, {})
                held[fact.outcome] = Shares(held.get(fact.outcome, 0) + fact.shares)
                if not held[fact.outcome]:  # brought back
                    del held[fact.outcome]
            case MarketSettled():
                self._settle_beside(fact, markets)
                return  # nothing grows old by it
            case _:
                pass
        self._forget(fact.at, markets)

    def _settle_beside(self, fact: MarketSettled, markets: Mapping[MarketId, Market]) -> None:
        """The chain pays for these shares as for a desk's: what is told of it balances with both."""
        held = self.beside.pop(fact.market, None)
        if held is None or self.elsewhere is None:
            return
        pays = {Outcome.UP: fact.payout_up, Outcome.DOWN: Price(UNIT - fact.payout_up)}
        worth = sum(notional_floor(pays[outcome], shares) for outcome, shares in held.items())
        found = self._market(fact.market, fact.at, markets)
        found.unpaid, self.elsewhere = Money(found.unpaid + worth), Money(self.elsewhere + worth)

    def _moved(self, fact: WalletMoved, markets: Mapping[MarketId, Market]) -> None:
        if fact.kind is WalletMove.OPENED:
            self.elsewhere = fact.amount
        elif fact.market is None:
            self.elsewhere = None if self.elsewhere is None else Money(self.elsewhere + fact.amount)
        else:
            found = self._market(fact.market, fact.at, markets)
            found.unpaid = Money(found.unpaid - fact.amount)
            if fact.kind is WalletMove.MERGED:
                found.merged = Shares(found.merged + fact.amount)

    def _market(self, name: MarketId, at: Millis, markets: Mapping[MarketId, Market]) -> WalletMarket:
        found = self.markets.get(name)
        if found is None:
            terms = markets.get(name)
            found = self.markets[name] = WalletMarket(condition=None if terms is None else terms.condition_id, at=at)
        found.at = max(found.at, at)
        return found

    def _forget(self, now: Millis, markets: Mapping[MarketId, Market]) -> None:
        for name in [name for name in self.beside if name not in markets]:
            del self.beside[name]  # told of only after it was settled: what they paid shows as money
        for name, market in tuple(self.markets.items()):
            if not market.unpaid:
                del self.markets[name]
            elif name not in markets and market.at + PAID_WITHIN_MS <= now:
                if abs(market.unpaid) < LEFT_LYING:
                    self.dust = Money(self.dust + market.unpaid)
                del self.markets[name]
