"""Who has what: cash and shares as the chain has them, what open orders reserve, what matched trades will take. Pure.

Money is conserved at every step: all cash, the street's and the fees' included, plus the collateral locked in complete
sets equals what was ever deposited; and of every market there are as many Up shares as Down shares as locked pUSD.
"""

from collections.abc import Iterable

from polybot.domain.errors import LedgerError
from polybot.domain.ids import MarketId, TokenId
from polybot.domain.market import Side
from polybot.domain.units import UNIT, Money, Shares, notional_ceil
from polybot.exchange.core.model import STREET, Address, Leg, Order, Trade

NO_SHARES = Shares(0)


class Account:
    """One wallet. `cash` and `shares` move only when a trade is mined, a set is made or taken apart, or a market pays.

    `pending` is what matched trades not yet mined will take. `approved`: whether the exchange may move its tokens.
    """

    __slots__ = (
        "address",
        "approved",
        "cash",
        "pending_cash",
        "pending_shares",
        "reserved",
        "reserved_shares",
        "shares",
    )

    def __init__(self, address: Address) -> None:
        self.address = address
        self.approved = True
        self.cash = Money(0)
        self.reserved = Money(0)
        self.pending_cash = Money(0)
        self.shares: dict[TokenId, Shares] = {}
        self.reserved_shares: dict[TokenId, Shares] = {}
        self.pending_shares: dict[TokenId, Shares] = {}

    @property
    def free_cash(self) -> Money:
        """What a new order may spend."""
        return Money(self.cash - self.reserved - self.pending_cash)

    def shares_of(self, token: TokenId) -> Shares:
        return self.shares.get(token, NO_SHARES)

    def free_shares(self, token: TokenId) -> Shares:
        """What a new order may sell."""
        taken = self.reserved_shares.get(token, 0) + self.pending_shares.get(token, 0)
        return Shares(self.shares.get(token, 0) - taken)


class Bank:
    """All accounts. `fees` is what takers have paid, `locked` the collateral of each market's complete sets."""

    def __init__(self) -> None:
        self.accounts: dict[Address, Account] = {}
        self.fees = Money(0)
        self.deposited = Money(0)
        self.locked: dict[MarketId, Money] = {}

    def account(self, address: Address) -> Account:
        """The account, opened empty where there was none."""
        known = self.accounts.get(address)
        if known is None:
            known = self.accounts[address] = Account(address)
        return known

    def deposit(self, address: Address, amount: Money) -> None:
        """Money comes from outside, or goes there (negative). Raises LedgerError for more than is free."""
        account = self.account(address)
        if account.free_cash + amount < 0:
            raise LedgerError(f"{address} cannot withdraw {-amount}: {account.free_cash} are free")
        account.cash = Money(account.cash + amount)
        self.deposited = Money(self.deposited + amount)

    # -- orders -------------------------------------------------------------------------------------------------------

    def reserve(self, order: Order, sign: int) -> None:
        """Set aside what an open order may still take (+1), or give it back (-1)."""
        account, token = self.account(order.account), order.token
        if order.side is Side.BUY:
            account.reserved = Money(account.reserved + sign * reserve_of(order))
        else:
            account.reserved_shares[token] = Shares(account.reserved_shares.get(token, 0) + sign * order.left)

    # -- trades -------------------------------------------------------------------------------------------------------

    def pend(self, trade: Trade, sign: int) -> None:
        """Set aside what a matched trade will take (+1), or give it back (-1)."""
        for leg in trade.legs:
            if leg.account == STREET:
                continue
            account = self.account(leg.account)
            account.pending_cash = Money(account.pending_cash + sign * cash_given(leg))
            if leg.shares < 0:
                pending = account.pending_shares.get(leg.token, 0) - sign * leg.shares
                account.pending_shares[leg.token] = Shares(pending)

    def post(self, trade: Trade) -> None:
        """Do what was matched. Raises LedgerError if it would make or lose money: a bug of the exchange."""
        if sum(leg.cash for leg in trade.legs) + trade.minted:
            raise LedgerError(f"trade {trade.id} does not sum to zero")
        for leg in trade.legs:
            self._move(leg.account, leg.token, Money(leg.cash - leg.fee), leg.shares)
            self.fees = Money(self.fees + leg.fee)
        self._lock(trade.market, trade.minted)

    # -- positions ----------------------------------------------------------------------------------------------------

    def mint(self, address: Address, market: MarketId, tokens: Iterable[TokenId], amount: int) -> None:
        """Make `amount` complete sets, or take them apart (negative). Raises LedgerError where there is not enough."""
        account = self.account(address)
        if account.free_cash < amount or any(account.free_shares(token) + amount < 0 for token in tokens):
            raise LedgerError(f"{address} has not enough for {amount} sets of {market}")
        account.cash = Money(account.cash - amount)
        for token in tokens:
            account.shares[token] = Shares(account.shares_of(token) + amount)
        self._lock(market, Money(amount))

    def redeem(self, address: Address, market: MarketId, pays: Iterable[tuple[TokenId, int]]) -> Money:
        """Burn the balance of each token for what it pays (millionths a share); returns what was paid.

        What a matched sale not yet mined will take is left. The street settles its debts in the same way.
        """
        account, total = self.account(address), 0
        for token, payout in pays:
            shares = account.shares_of(token) if address == STREET else account.free_shares(token)
            account.shares[token] = Shares(account.shares_of(token) - shares)
            total += payout * shares // UNIT
        account.cash = Money(account.cash + total)
        self._lock(market, Money(-total))
        return Money(total)

    def held(self) -> Money:
        """All money there is, wherever it is: equal to `deposited`, always."""
        return Money(sum(a.cash for a in self.accounts.values()) + self.fees + sum(self.locked.values()))

    def _move(self, address: Address, token: TokenId, cash: Money, shares: Shares) -> None:
        account = self.account(address)
        account.cash = Money(account.cash + cash)
        account.shares[token] = Shares(account.shares_of(token) + shares)
        if address != STREET and (account.cash < 0 or account.shares[token] < 0):
            raise LedgerError(f"{address} would owe: {account.cash} pUSD, {account.shares[token]} of {token}")

    def _lock(self, market: MarketId, amount: Money) -> None:
        if amount:
            self.locked[market] = Money(self.locked.get(market, 0) + amount)


def reserve_of(order: Order) -> Money:
    """What an open BUY may still spend. It is reckoned on the whole order, so that its parts never need more."""
    if order.spend is not None:
        return order.spend
    return Money(notional_ceil(order.price, order.size) - notional_ceil(order.price, order.matched))


def cash_given(leg: Leg) -> int:
    """What a leg takes from its account: a purchase's price and fee; a sale's fee comes out of its proceeds."""
    return max(0, leg.fee - leg.cash)
