"""Transactions of keys that pay for themselves: signed by the usual library, read here, mined by nonce, paid for."""

import contextlib
import random
from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polymarket._internal.actions.relayer import calls as client_calls

from polybot.domain.units import UNIT, Millis, Money
from polybot.exchange.chain import Chain
from polybot.exchange.chain_calls import COLLATERAL_ADAPTER, Merge, Split
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Address, Rules
from polybot.exchange.mempool import GAS_PRICE, GAS_USED, GIVEN, Mempool
from polybot.exchange.raw_transactions import NodeError, RawTransaction, flat_list, read_raw
from tests.exchange.test_chain_calls import ADAPTER, COLLATERAL
from tests.exchange.trading import KEY_OF_ALICE, SIGNER, START, a_listing

SENDER = Address(SIGNER.lower())
MINED_MS = 1_500
MERGE = client_calls.ctf_merge_positions_call(
    target=ADAPTER, collateral=COLLATERAL, condition_id=a_listing().market.condition_id, amount=UNIT
).data


def signed(**changes: Any) -> bytes:
    return bytes(signing(**changes).raw_transaction)


def hash_of(**changes: Any) -> str:
    return "0x" + bytes(signing(**changes).hash).hex()


def signing(**changes: Any) -> Any:
    terms = {
        "to": to_checksum_address(ADAPTER),
        "value": 0,
        "data": MERGE,
        "gas": GAS_USED,
        "gasPrice": GAS_PRICE,
        "nonce": 0,
        "chainId": 137,
    } | changes
    terms = {name: value for name, value in terms.items() if value is not None}
    return Account.sign_transaction(terms, KEY_OF_ALICE)


def test_what_the_common_library_signs_is_read_to_the_last_field() -> None:
    read = read_raw(signed(nonce=300, gas=210_000))
    assert (read.sender, read.nonce, read.gas, read.gas_price) == (SENDER, 300, 210_000, GAS_PRICE)
    assert (read.call.target, read.call.data.hex()) == (COLLATERAL_ADAPTER, MERGE[2:])
    assert read.hash == hash_of(nonce=300, gas=210_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chainId": 1}, "invalid chain id"),
        ({"value": 1}, "without value"),
        ({"gasPrice": None, "maxFeePerGas": GAS_PRICE, "maxPriorityFeePerGas": 1}, "type not supported"),
    ],
    ids=["another chain", "money", "a newer kind"],
)
def test_what_is_not_served_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NodeError, match=words):
        read_raw(signed(**changes))


def test_a_changed_transaction_is_somebody_elses_or_nobodys() -> None:
    raw = bytearray(signed())
    raw[raw.index(bytes.fromhex(COLLATERAL_ADAPTER[2:])) + 30] ^= 1
    with contextlib.suppress(NodeError):
        assert read_raw(bytes(raw)).sender != SENDER


GOOD = signed()


@given(st.binary(max_size=120))
@example(b"")
@example(b"\xc0")
@example(b"\xf8\xff")
@example(b"\xc2\xc1\x01")
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_list_of_strings_or_refused(raw: bytes) -> None:
    for reading in (read_raw, flat_list):
        try:
            reading(raw)
        except NodeError:
            continue


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_a_damaged_transaction_is_read_or_refused(place: int, byte: int) -> None:
    raw = bytearray(GOOD)
    raw[place % len(raw)] = byte
    try:
        read_raw(bytes(raw))
    except NodeError:
        return


class Bench:
    """A market, a sender with 100 pUSD and POL, and a node."""

    def __init__(self) -> None:
        self.engine = Engine(Rules(), random.Random(1))
        self.market = a_listing().market
        self.engine.list_market(a_listing(), START)
        self.engine.deposit(SENDER, Money(100 * UNIT))
        self.chain = Chain(self.engine)
        self.mempool = Mempool(self.chain.execute, lambda: MINED_MS)

    def take(self, nonce: int, **changes: Any) -> RawTransaction:
        transaction = read_raw(signed(nonce=nonce, **changes))
        self.mempool.take(transaction, START)
        return transaction

    def error_of(self, transaction: RawTransaction) -> str:
        receipt = self.mempool.receipt(transaction.hash)
        assert receipt is not None
        return receipt.error


def test_nonces_are_taken_in_order_and_once() -> None:
    bench = Bench()
    bench.take(0)
    with pytest.raises(NodeError, match="nonce too low: next nonce 1"):
        bench.take(0, gas=GAS_USED + 1)
    with pytest.raises(NodeError, match="nonce too high"):
        bench.take(2)
    bench.take(1)
    assert bench.mempool.nonce(SENDER) == 2


def test_a_transaction_is_mined_after_its_time_and_what_is_reverted_is_paid_for_too() -> None:
    bench = Bench()
    first = bench.take(0)
    bench.mempool.step(Millis(START + MINED_MS - 1))
    assert bench.mempool.receipt(first.hash) is None
    bench.mempool.step(Millis(START + MINED_MS))
    assert "reverted" in bench.error_of(first), "there is no set to merge"
    assert bench.mempool.pol(SENDER) == GIVEN - GAS_USED * GAS_PRICE


def test_what_cannot_be_paid_for_is_not_taken() -> None:
    bench = Bench()
    bench.mempool.set_pol(SENDER, GAS_USED * GAS_PRICE - 1)
    with pytest.raises(NodeError, match="insufficient funds for gas"):
        bench.take(0)
    assert bench.mempool.nonce(SENDER) == 0
    with pytest.raises(NodeError, match="underpriced"):
        bench.take(0, gasPrice=1)


def test_too_little_gas_and_a_rehearsals_wish_revert_what_could_be_done() -> None:
    bench = Bench()
    bench.engine.split(SENDER, bench.market.id, Money(10 * UNIT), START)
    unlucky, short, good = bench.take(0), bench.take(1, gas=GAS_USED - 1), bench.take(2)
    bench.mempool.failing = 1
    bench.mempool.step(Millis(START + MINED_MS))
    assert "by order of the rehearsal" in bench.error_of(unlucky)
    assert bench.error_of(short) == "out of gas"
    assert bench.error_of(good) == ""


def test_trying_out_changes_nothing_and_tells_what_would_be_reverted() -> None:
    bench = Bench()
    condition = bench.market.condition_id
    assert bench.chain.try_out(SENDER, [Split(condition, 10 * UNIT)], START) == ""
    assert bench.chain.cash(SENDER) == 100 * UNIT
    assert bench.chain.shares(SENDER, a_listing().tokens[0]) == 0
    assert "reverted" in bench.chain.try_out(SENDER, [Merge(condition, UNIT)], START)
    assert bench.engine.bank.held() == bench.engine.bank.deposited
