"""Double-entry books: every transfer sums to zero in every asset, and a transfer can be pending first (design.md D9).

A pending transfer is *held*, then *confirmed* (posted for good) or *voided* (as if it had not been). Money going out is
unavailable from the moment it is held; money coming in is available only once confirmed.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from polybot.domain.errors import LedgerError

CASH = "pUSD"


class Movement(msgspec.Struct, frozen=True, array_like=True):
    """`amount` millionths of `asset` into `account` (negative: out of it)."""

    account: str
    asset: str
    amount: int


class Balance(msgspec.Struct, array_like=True):
    """What has been posted, and what is held on its way in or out (both counted positive)."""

    posted: int = 0
    held_in: int = 0
    held_out: int = 0

    @property
    def available(self) -> int:
        return self.posted - self.held_out


class Ledger(msgspec.Struct, kw_only=True):
    """Balances by `account/asset`, and the transfers still held. All of it is plain data, fit for a checkpoint."""

    balances: dict[str, Balance] = {}
    held: dict[str, tuple[Movement, ...]] = {}

    def post(self, transfer: str, movements: Sequence[Movement]) -> None:
        """Book a transfer for good. Raises LedgerError unless it sums to zero in every asset."""
        _require_balanced(transfer, movements)
        for movement in movements:
            self._balance(movement).posted += movement.amount
        self._forget_empty(movements)

    def hold(self, transfer: str, movements: Sequence[Movement]) -> None:
        """Book a transfer as pending under the name `transfer`, once."""
        _require_balanced(transfer, movements)
        if transfer in self.held:
            raise LedgerError(f"transfer {transfer} is held already; the same fill was booked twice")
        self.held[transfer] = tuple(movements)
        for movement in movements:
            self._hold(movement, 1)

    def confirm(self, transfer: str) -> None:
        """Make a held transfer final."""
        for movement in self._release(transfer):
            self._balance(movement).posted += movement.amount

    def void(self, transfer: str) -> None:
        """Undo a held transfer: nothing of it remains."""
        self._forget_empty(self._release(transfer))

    def balance(self, account: str, asset: str) -> Balance:
        """The balance as it is; an account never used is empty."""
        return self.balances.get(f"{account}/{asset}") or Balance()

    def total(self, asset: str) -> int:
        """The sum over all accounts, which is zero for every asset at all times."""
        return sum(balance.posted for key, balance in self.balances.items() if key.endswith(f"/{asset}"))

    def _release(self, transfer: str) -> tuple[Movement, ...]:
        if transfer not in self.held:
            raise LedgerError(f"transfer {transfer} is not held; it was confirmed or voided before, or never booked")
        movements = self.held.pop(transfer)
        for movement in movements:
            self._hold(movement, -1)
        return movements

    def _hold(self, movement: Movement, sign: int) -> None:
        balance = self._balance(movement)
        if movement.amount >= 0:
            balance.held_in += sign * movement.amount
        else:
            balance.held_out -= sign * movement.amount

    def _forget_empty(self, movements: Sequence[Movement]) -> None:
        """Shares of markets long settled would fill the memory of weeks; an empty balance is the same as none."""
        for movement in movements:
            key = f"{movement.account}/{movement.asset}"
            if movement.asset != CASH and self.balances.get(key) == Balance():
                del self.balances[key]

    def _balance(self, movement: Movement) -> Balance:
        return self.balances.setdefault(f"{movement.account}/{movement.asset}", Balance())


def _require_balanced(transfer: str, movements: Sequence[Movement]) -> None:
    sums: defaultdict[str, int] = defaultdict(int)
    for movement in movements:
        sums[movement.asset] += movement.amount
    uneven = {asset: amount for asset, amount in sums.items() if amount}
    if uneven or not movements:
        raise LedgerError(f"transfer {transfer} does not sum to zero: {uneven or 'it is empty'}")
