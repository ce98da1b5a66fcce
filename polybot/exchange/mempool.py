"""The chain for those who pay for themselves: transactions by nonce, mined one by one, their gas taken from POL. Pure.

A node takes what its sender can pay for, and only then finds out whether it can be done: what reverts is paid for, too.
"""

from collections.abc import Callable

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.exchange.chain_calls import action_of
from polybot.exchange.core.model import Address
from polybot.exchange.raw_transactions import NodeError, RawTransaction
from polybot.exchange.relayer import Execute

GAS_USED = 200_000
"""By every call."""
GAS_PRICE = 30_000_000_000
"""Wei."""
POL = 10**18
"""Wei in one."""
GIVEN = 10 * POL
"""What every address has from the beginning."""
WAITING_MAX = 1_000
RECEIPTS_KEPT = 10_000


class Receipt(msgspec.Struct, frozen=True):
    """`error` is why it was reverted, "" where it was done."""

    error: str = ""


class Mempool:
    """`failing` is how many of the next transactions are to be reverted. `mined_ms` on the exchange's clock."""

    def __init__(self, execute: Execute, mined_ms: Callable[[], int]) -> None:
        self._execute, self._mined_ms = execute, mined_ms
        self.failing = 0
        self._pol: dict[Address, int] = {}
        self._nonces: dict[Address, int] = {}
        self._waiting: list[tuple[Millis, RawTransaction]] = []
        self._receipts: dict[str, Receipt] = {}

    def nonce(self, sender: Address) -> int:
        """What its next transaction has to carry; those that wait count."""
        return self._nonces.get(sender, 0)

    def pol(self, sender: Address) -> int:
        """Wei."""
        return self._pol.get(sender, GIVEN)

    def set_pol(self, sender: Address, wei: int) -> None:
        self._pol[sender] = wei

    def receipt(self, name: str) -> Receipt | None:
        return self._receipts.get(name)

    @property
    def next_at(self) -> Millis | None:
        """When `step` has something to do."""
        return self._waiting[0][0] if self._waiting else None

    def take(self, transaction: RawTransaction, now: Millis) -> None:
        """Raises NodeError, in a node's words, for what it would not take."""
        sender, expected = transaction.sender, self.nonce(transaction.sender)
        if transaction.nonce != expected:
            which = "low" if transaction.nonce < expected else "high"
            raise NodeError(f"nonce too {which}: next nonce {expected}, tx nonce {transaction.nonce}")
        if transaction.gas_price < GAS_PRICE:
            raise NodeError(f"transaction underpriced: gas price {transaction.gas_price}, needed {GAS_PRICE}")
        cost, owned = transaction.gas * transaction.gas_price, self.pol(sender)
        if cost > owned:
            overshot = cost - owned
            raise NodeError(
                f"insufficient funds for gas * price + value: balance {owned}, tx cost {cost}, overshot {overshot}"
            )
        if len(self._waiting) == WAITING_MAX:
            raise NodeError("txpool is full")
        self._nonces[sender] = expected + 1
        self._waiting.append((Millis(now + self._mined_ms()), transaction))

    def step(self, now: Millis) -> None:
        """Mine what is due by `now`, in the order it came."""
        while self._waiting and self._waiting[0][0] <= now:
            at, transaction = self._waiting.pop(0)
            self._pol[transaction.sender] = self.pol(transaction.sender) - GAS_USED * transaction.gas_price
            self._receipts[transaction.hash] = Receipt(self._mine(transaction, at))
            if len(self._receipts) > RECEIPTS_KEPT:
                del self._receipts[next(iter(self._receipts))]

    def _mine(self, transaction: RawTransaction, at: Millis) -> str:
        if self.failing:
            self.failing -= 1
            return "execution reverted: by order of the rehearsal"
        if transaction.gas < GAS_USED:
            return "out of gas"
        try:
            return self._execute(transaction.sender, [action_of(transaction.call)], at)
        except BadInput as error:
            return str(error)
