"""The floor's ledger against the exchange's books, to the last millionth. Pure.

The ledger is reckoned from the journal's bare facts alone; the exchange's side is its own account of the same wallet.
What they have in common is an order's hash and a trade's id.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from polybot.domain.events import (
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    Journaled,
    Liquidity,
    MarketOpened,
    MarketSettled,
    OrderClosed,
    OrderRejected,
    TradeSettled,
)
from polybot.domain.ids import FillId, MarketId, OrderId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Price, notional_floor
from polybot.exchange.core.model import Order, Trade, TradeStatus
from polybot.rehearsal.switches import ExchangeBooks


class Ledger(msgspec.Struct, kw_only=True):
    """What the journal says: plain sums over its facts."""

    intents: dict[OrderId, OrderIntent] = {}
    markets: dict[MarketId, Market] = {}
    fills: dict[FillId, FillMatched] = {}
    fates: dict[FillId, bool] = {}
    """True: confirmed. False: failed on chain."""
    closed: dict[OrderId, CloseReason] = {}
    payouts: dict[MarketId, Price] = {}
    capital: int = 0
    settled: dict[OrderId, int] = {}
    """What each trade paid, by the floor's own word."""

    def take(self, entry: Journaled) -> None:
        match entry.fact:
            case IntentRecorded(intent=intent):
                self.intents[intent.id] = intent
            case MarketOpened(market=market):
                self.markets[market.id] = market
            case FillMatched() as fill:
                self.fills[fill.fill] = fill
            case FillConfirmed(fill=name):
                self.fates[name] = True
            case FillFailed(fill=name):
                self.fates[name] = False
            case OrderClosed(order=order, reason=reason):
                self.closed[order] = reason
            case OrderRejected(order=order):
                self.closed[order] = CloseReason.REJECTED
            case MarketSettled(market=name, payout_up=payout):
                self.payouts[name] = payout
            case CapitalAllocated(moved=moved):
                self.capital += moved
            case TradeSettled(order=order, payout=paid):
                self.settled[order] = paid
            case _:
                pass

    @property
    def is_at_rest(self) -> bool:
        """No order open, no fill provisional, every position paid out."""
        held = {fill.order for fill in self.fills.values() if self.fates.get(fill.fill)}
        return (
            self.closed.keys() >= self.intents.keys()
            and self.fates.keys() >= self.fills.keys()
            and self.settled.keys() >= held
        )

    def cash(self) -> int:
        """Of all agents together: what was given to them, less what confirmed fills cost, plus what markets paid."""
        confirmed = [fill for fill in self.fills.values() if self.fates.get(fill.fill)]
        spent = sum(notional_floor(fill.price, fill.shares) + fill.fee for fill in confirmed)
        return self.capital - spent + sum(self.settled.values())

    def token_of(self, fill: FillMatched) -> TokenId:
        tokens = self.markets[fill.market].tokens
        assert tokens is not None, "live markets have them"
        return TokenId(tokens[fill.outcome])


def compare(
    ledger: Ledger, books: ExchangeBooks, wallet: str, hashes: Mapping[OrderId, str], elsewhere: int
) -> list[str]:
    """Everything in which the two differ, in words. `elsewhere`: what the wallet had beyond the floor's capital.

    `hashes` are the venue's names of our orders, made from the intents by the floor's own signer.
    """
    return [
        *_money(ledger, books, wallet, elsewhere),
        *_shares(ledger, books, wallet),
        *_orders(ledger, books, wallet, hashes),
        *_trades(ledger, books, wallet, hashes),
        *_markets(ledger, books),
        *_at_rest(ledger, books, wallet),
    ]


def _money(ledger: Ledger, books: ExchangeBooks, wallet: str, elsewhere: int) -> Iterable[str]:
    if books.deposited != books.held:
        yield f"the exchange itself has {books.held} of {books.deposited} deposited"
    ours, theirs = ledger.cash() + elsewhere, books.accounts[wallet].cash
    if ours != theirs:
        yield f"cash: {ours} by the journal, {theirs} at the exchange: {theirs - ours:+} millionths"
    fees_ours = sum(fill.fee for fill in ledger.fills.values() if ledger.fates.get(fill.fill))
    fees_theirs = sum(leg.fee for trade in _confirmed(books) for leg in trade.legs if leg.account == wallet)
    if fees_ours != fees_theirs:
        yield f"fees: {fees_ours} by the journal, {fees_theirs} at the exchange"


def _shares(ledger: Ledger, books: ExchangeBooks, wallet: str) -> Iterable[str]:
    """What was bought, token by token; and that of what is still held nothing is worth anything."""
    ours: defaultdict[str, int] = defaultdict(int)
    for fill in ledger.fills.values():
        if ledger.fates.get(fill.fill):
            ours[ledger.token_of(fill)] += fill.shares if fill.side is Side.BUY else -fill.shares
    theirs: defaultdict[str, int] = defaultdict(int)
    for trade in _confirmed(books):
        for leg in trade.legs:
            if leg.account == wallet:
                theirs[leg.token] += leg.shares
    for token in sorted(ours.keys() | theirs.keys()):
        if ours[token] != theirs[token]:
            yield f"token {token}: {ours[token]} shares by the journal, {theirs[token]} at the exchange"
    payouts = {token: paid for market in books.markets for token, paid in _paid(market.tokens, market.payout_up)}
    for token, held in books.accounts[wallet].shares.items():
        if payouts.get(token) != 0:
            yield f"token {token}: {held} shares are still held, and were not redeemed"
        elif held > ours[token]:
            yield f"token {token}: {held} shares are held, the journal knows of {ours[token]}"


def _orders(ledger: Ledger, books: ExchangeBooks, wallet: str, hashes: Mapping[OrderId, str]) -> Iterable[str]:
    theirs: dict[str, Order] = {order.id: order for order in books.orders if order.account == wallet}
    names = {order_hash: order for order, order_hash in hashes.items()}
    if len(names) != len(ledger.intents):
        yield f"{len(ledger.intents)} orders have {len(names)} hashes"
    filled: defaultdict[OrderId, int] = defaultdict(int)
    for fill in ledger.fills.values():
        filled[fill.order] += fill.shares
    markets = {market.slug: market for market in books.markets}
    for order_hash, order in theirs.items():
        name = names.get(order_hash)
        if name is None:
            yield f"order {order_hash} at the exchange was never written down here"
            continue
        if filled[name] != order.matched:
            yield f"order {name} ({order_hash}): {filled[name]} shares filled by the journal, {order.matched} there"
        market = markets[order.market]
        if not market.window_start <= order.created_at < market.window_end:
            yield f"order {name} came in at {order.created_at}, outside its window"
    for order_hash, count in books.posted.items():
        if count > 1 and order_hash in names:
            yield f"order {names[order_hash]} was handed in {count} times"
    for name in sorted(name for name, shares in filled.items() if shares and hashes.get(name) not in theirs):
        yield f"order {name} has fills, and the exchange does not know it"
    for name, reason in ledger.closed.items():
        if reason is CloseReason.NEVER_SENT and hashes.get(name) in theirs:
            yield f"order {name} is closed as never sent, and the exchange has it"


def _trades(ledger: Ledger, books: ExchangeBooks, wallet: str, hashes: Mapping[OrderId, str]) -> Iterable[str]:
    """Each trade's fate, shares, money and fee: of each of our orders in it by itself."""
    ours: defaultdict[tuple[str, str], list[FillMatched]] = defaultdict(list)
    for fill in ledger.fills.values():
        ours[fill.fill.split("/")[0], hashes.get(fill.order, "")].append(fill)
    theirs = {(str(trade.id), order): trade for trade in books.trades for order in _our_orders(trade, wallet)}
    for key in sorted(theirs.keys() - ours.keys()):
        yield f"trade {key[0]} of order {key[1]} ({theirs[key].status}) is not in the journal"
    for key in sorted(ours.keys() - theirs.keys()):
        yield f"trade {key[0]} of order {key[1]} is in the journal alone"
    for key in sorted(ours.keys() & theirs.keys()):
        yield from _trade(ledger, theirs[key], key[1], ours[key])


def _trade(ledger: Ledger, trade: Trade, order: str, fills: list[FillMatched]) -> Iterable[str]:
    fates = {ledger.fates.get(fill.fill) for fill in fills}
    if fates != {trade.status is TradeStatus.CONFIRMED}:
        yield f"trade {trade.id} is {trade.status} there, by the journal confirmed: {fates}"
    shares = sum(fill.shares for fill in fills)
    takes = trade.taker_order == order
    wanted = trade.shares if takes else sum(part.shares for part in trade.makers if part.order_id == order)
    if shares != wanted:
        yield f"trade {trade.id}: {shares} shares by the journal, {wanted} there"
    if takes and sum(fill.fee for fill in fills if fill.liquidity is Liquidity.TAKER) != trade.fee:
        yield f"trade {trade.id}: fee {sum(fill.fee for fill in fills)} by the journal, {trade.fee} there"


def _markets(ledger: Ledger, books: ExchangeBooks) -> Iterable[str]:
    for market in books.markets:
        told = ledger.payouts.get(market.slug)
        if told is not None and told != market.payout_up:
            yield f"{market.slug} settled at {told} by the journal, at {market.payout_up} there"


def _at_rest(ledger: Ledger, books: ExchangeBooks, wallet: str) -> Iterable[str]:
    for order in ledger.intents.keys() - ledger.closed.keys():
        yield f"order {order} is still open in the journal"
    for fill in ledger.fills.keys() - ledger.fates.keys():
        yield f"fill {fill} is still provisional in the journal"
    for order in {fill.order for fill in ledger.fills.values() if ledger.fates.get(fill.fill)} - ledger.settled.keys():
        yield f"the position of order {order} is not paid out"
    for open_there in books.open_orders:
        if open_there.account == wallet:
            yield f"order {open_there.id} is still open at the exchange"
    account = books.accounts[wallet]
    if account.reserved or account.pending:
        yield f"the exchange still sets aside {account.reserved} for orders and {account.pending} for trades"


def is_quiet(books: ExchangeBooks, wallet: str) -> bool:
    """Nothing of the wallet is on its way at the exchange: no order, no trade, no share worth anything."""
    worthless = {
        token for market in books.markets for token, paid in _paid(market.tokens, market.payout_up) if not paid
    }
    account = books.accounts[wallet]
    return (
        not any(order.account == wallet for order in books.open_orders)
        and all(trade.status.is_final for trade in books.trades if _our_orders(trade, wallet))
        and all(token in worthless for token in account.shares)
    )


def _confirmed(books: ExchangeBooks) -> Iterable[Trade]:
    return (trade for trade in books.trades if trade.status is TradeStatus.CONFIRMED)


def _our_orders(trade: Trade, wallet: str) -> set[str]:
    ours = {str(maker.order_id) for maker in trade.makers if maker.account == wallet}
    return ours | ({str(trade.taker_order)} if trade.taker_account == wallet else set())


def _paid(tokens: tuple[TokenId, TokenId], payout_up: Price | None) -> Iterable[tuple[TokenId, int]]:
    if payout_up is None:
        return []
    return [(tokens[Outcome.UP], payout_up), (tokens[Outcome.DOWN], 1_000_000 - payout_up)]
