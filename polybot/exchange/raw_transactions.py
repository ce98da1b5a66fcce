"""Transactions that a key signs and pays for itself, as a node takes them: RLP, EIP-155 signature, one call. Pure.

Only what the official client makes of an EOA's settlement: legacy transactions, one call each, no value. Written from
the standards; anything that is not understood to the last byte is refused.
"""

from collections.abc import Sequence

import msgspec
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from polybot.domain.errors import BadInput
from polybot.exchange.chain_calls import ChainCall
from polybot.exchange.core.model import Address
from polybot.exchange.signatures import CHAIN_ID

FIELDS = 9
"""nonce, gas price, gas, to, value, data, v, r, s."""
RAW_MAX = 100_000
SHORT_MAX = 55
"""The longest string or list whose length stands in its first byte."""
STRING, LIST = 0x80, 0xC0


class NodeError(BadInput):
    """What a node says instead of taking a transaction."""


class RawTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """`gas` is the most it may use, at `gas_price` wei each."""

    hash: str
    sender: Address
    nonce: int
    gas_price: int
    gas: int
    call: ChainCall


def read_raw(raw: bytes) -> RawTransaction:
    """Raises NodeError."""
    if len(raw) > RAW_MAX:
        raise NodeError("oversized data")
    if raw and raw[0] < LIST:
        raise NodeError("transaction type not supported")
    fields = flat_list(raw)
    if len(fields) != FIELDS or encoded(fields) != raw:
        raise NodeError(f"rlp: not the {FIELDS} fields of a legacy transaction in their shortest form")
    nonce, gas_price, gas, to, value, data, *signature = fields
    if len(to) != 20 or value:
        raise NodeError("only calls of a contract, without value, are served here")
    return RawTransaction(
        hash="0x" + keccak(raw).hex(),
        sender=_sender(fields[:-3], [_number(field) for field in signature]),
        nonce=_number(nonce),
        gas_price=_number(gas_price),
        gas=_number(gas),
        call=ChainCall("0x" + to.hex(), data),
    )


def flat_list(raw: bytes) -> list[bytes]:
    """The strings in one RLP list, which has to be all of `raw`. Raises NodeError."""
    if not raw:
        raise NodeError("rlp: empty")
    start, end = _span(raw, 0, LIST)
    if end != len(raw):
        raise NodeError("rlp: the list ends elsewhere than the transaction")
    found: list[bytes] = []
    while start < end:
        if raw[start] < STRING:
            found.append(raw[start : start + 1])
            start += 1
            continue
        first, start = _span(raw, start, STRING)
        found.append(raw[first:start])
    if start != end:
        raise NodeError("rlp: a string ends beyond its list")
    return found


def _span(raw: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where the string or list whose head is at `at` begins and ends."""
    head = raw[at] - kind
    if not 0 <= head < 0x40:
        raise NodeError("rlp: a list where a string should be, or the other way round")
    begin, size = at + 1, head
    if head > SHORT_MAX:
        begin += head - SHORT_MAX
        size = int.from_bytes(raw[at + 1 : begin], "big")
    if begin + size > len(raw):
        raise NodeError("rlp: torn")
    return begin, begin + size


def encoded(fields: Sequence[bytes]) -> bytes:
    """One RLP list of strings."""
    body = b"".join(field if len(field) == 1 and field[0] < STRING else _head(field, STRING) for field in fields)
    return _head(body, LIST)


def _head(body: bytes, kind: int) -> bytes:
    if len(body) <= SHORT_MAX:
        return bytes([kind + len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([kind + SHORT_MAX + len(size)]) + size + body


def _number(field: bytes) -> int:
    if field[:1] == b"\0":
        raise NodeError("rlp: a number with leading zeros")
    return int.from_bytes(field, "big")


def _sender(unsigned: Sequence[bytes], signature: Sequence[int]) -> Address:
    """By EIP-155: the chain's id is signed in the place of the signature."""
    v, r, s = signature
    if v not in (35 + 2 * CHAIN_ID, 36 + 2 * CHAIN_ID):
        raise NodeError(f"invalid chain id for signer: want {CHAIN_ID}")
    digest = keccak(encoded([*unsigned, bytes([CHAIN_ID]), b"", b""]))
    try:
        signed = Signature(vrs=(v - 35 - 2 * CHAIN_ID, r, s))
        return Address("0x" + signed.recover_public_key_from_msg_hash(digest).to_canonical_address().hex())
    except (BadSignature, ValidationError) as error:
        raise NodeError(f"invalid sender: {error}") from error
