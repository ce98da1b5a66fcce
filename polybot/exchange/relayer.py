"""The gasless relayer: takes signed transactions, carries them out in the order given, and tells their state. Pure.

A transaction is NEW, then EXECUTED, MINED (its calls are done, all or none) and CONFIRMED. Signatures are checked by
`relayed_signatures`; here are nonces, deadlines, the quota, and what a rehearsal makes fail (polymarket.md 7).
"""

import enum
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from polybot.domain.units import Millis
from polybot.exchange.chain_calls import Action
from polybot.exchange.core.model import Address, Refused

SUBMITS_PER_MINUTE = 25
MINUTE_MS = 60_000
TRANSACTIONS_KEPT = 10_000
TOO_MANY = 429


class RelayState(enum.StrEnum):
    NEW = "STATE_NEW"
    EXECUTED = "STATE_EXECUTED"
    MINED = "STATE_MINED"
    CONFIRMED = "STATE_CONFIRMED"
    INVALID = "STATE_INVALID"
    FAILED = "STATE_FAILED"

    @property
    def is_final(self) -> bool:
        return self in (RelayState.CONFIRMED, RelayState.INVALID, RelayState.FAILED)


class RelayTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of the exchange's clock after the submission; `quota` is per key and minute."""

    executed_ms: int = 500
    mined_ms: int = 1_500
    confirmed_ms: int = 2_500
    quota: int = SUBMITS_PER_MINUTE


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """What was submitted, decoded. `wallet` acts; `hash` is known from EXECUTED on; `error` says why it failed."""

    id: str
    kind: str
    signer: Address
    wallet: Address
    actions: tuple[Action, ...]
    metadata: str
    created_at: Millis
    state: RelayState = RelayState.NEW
    hash: str = ""
    error: str = ""


Execute = Callable[[Address, Sequence[Action], Millis], str]
"""Do all the actions for the wallet, or none and say why."""


class Relayer:
    """Bounded: TRANSACTIONS_KEPT, the oldest finished ones go first.

    `failing` and `invalid` are how many of the next transactions are to end so.
    """

    def __init__(self, execute: Execute, terms: RelayTerms | None = None) -> None:
        self._execute = execute
        self.terms = terms or RelayTerms()
        self.failing = 0
        self.invalid = 0
        self.is_down = False
        self.deployed: set[Address] = set()
        self._nonces: dict[tuple[Address, str], int] = {}
        self._submits: dict[str, deque[Millis]] = {}
        self._transactions: dict[str, Transaction] = {}
        self._active: dict[str, Transaction] = {}
        self._number = 0

    # -- questions ----------------------------------------------------------------------------------------------------

    def nonce(self, signer: Address, kind: str) -> int:
        """What the next transaction of this signer's wallet of that kind has to carry."""
        return self._nonces.get((signer, kind), 0)

    def transaction(self, name: str) -> Transaction | None:
        return self._transactions.get(name)

    def was_mined(self, transaction_hash: str) -> bool:
        mined = (RelayState.MINED, RelayState.CONFIRMED)
        return any(t.hash == transaction_hash and t.state in mined for t in self._transactions.values())

    @property
    def next_at(self) -> Millis | None:
        """When `step` has something to do."""
        return min((self._due(transaction) for transaction in self._active.values()), default=None)

    # -- submitting ---------------------------------------------------------------------------------------------------

    def spend_quota(self, key: str, now: Millis) -> Refused | None:
        """Every submission counts, a refused one too."""
        submits = self._submits.setdefault(key, deque())
        while submits and submits[0] <= now - MINUTE_MS:
            submits.popleft()
        if len(submits) >= self.terms.quota:
            seconds = (submits[0] + MINUTE_MS - now + 999) // 1000
            return Refused(text=f"quota exceeded: 0 units remaining, resets in {seconds} seconds", status=TOO_MANY)
        submits.append(now)
        return None

    def submit(self, transaction: Transaction, nonce: int | None) -> Transaction | Refused:
        """Take a transaction whose signature has been checked; `nonce` None where the kind has none.

        The texts are those the official client looks for.
        """
        wallet = transaction.wallet
        if any(active.wallet == wallet and active.state is not RelayState.MINED for active in self._active.values()):
            return Refused(text="wallet has in-flight action")
        expected = self.nonce(transaction.signer, transaction.kind)
        if nonce is not None and nonce != expected:
            return Refused(text=f"batch nonce {nonce} does not match on-chain nonce {expected}")
        if nonce is not None:
            self._nonces[transaction.signer, transaction.kind] = expected + 1
        self._number += 1
        taken = msgspec.structs.replace(transaction, id=f"loopback-{self._number:08d}")
        self._transactions[taken.id] = self._active[taken.id] = taken
        self._forget()
        return taken

    def step(self, now: Millis) -> list[Transaction]:
        """Carry on with everything that is due by `now`, the earliest first; what has changed."""
        changed = []
        while self._active:
            transaction = min(self._active.values(), key=lambda t: (self._due(t), t.id))
            due = self._due(transaction)
            if due > now:
                break
            changed.append(self._advance(transaction, due))
        return changed

    # -- carrying out -------------------------------------------------------------------------------------------------

    def _due(self, transaction: Transaction) -> Millis:
        after = {
            RelayState.NEW: self.terms.executed_ms,
            RelayState.EXECUTED: self.terms.mined_ms,
            RelayState.MINED: self.terms.confirmed_ms,
        }
        return Millis(transaction.created_at + after[transaction.state])

    def _advance(self, transaction: Transaction, at: Millis) -> Transaction:
        match transaction.state:
            case RelayState.NEW if self.invalid:
                self.invalid -= 1
                changed = self._with(transaction, RelayState.INVALID, error="simulated by the loopback exchange")
            case RelayState.NEW:
                name = f"0x{int(transaction.id.rpartition('-')[2]):064x}"
                changed = msgspec.structs.replace(transaction, state=RelayState.EXECUTED, hash=name)
            case RelayState.EXECUTED:
                changed = self._mine(transaction, at)
            case _:
                changed = self._with(transaction, RelayState.CONFIRMED)
        self._transactions[changed.id] = changed
        if changed.state.is_final:
            del self._active[changed.id]
        else:
            self._active[changed.id] = changed
        return changed

    def _mine(self, transaction: Transaction, at: Millis) -> Transaction:
        if self.failing:
            self.failing -= 1
            return self._with(transaction, RelayState.FAILED, error="execution reverted: by order of the rehearsal")
        if transaction.kind.endswith("-CREATE"):
            self.deployed.add(transaction.wallet)
        error = self._execute(transaction.wallet, transaction.actions, at)
        return self._with(transaction, RelayState.FAILED if error else RelayState.MINED, error=error)

    @staticmethod
    def _with(transaction: Transaction, state: RelayState, error: str = "") -> Transaction:
        return msgspec.structs.replace(transaction, state=state, error=error)

    def _forget(self) -> None:
        while len(self._transactions) > TRANSACTIONS_KEPT:
            oldest = next((name for name, t in self._transactions.items() if t.state.is_final), None)
            if oldest is None:
                return
            del self._transactions[oldest]
