"""Who signed a gasless transaction (polymarket.md 7; the official client's payloads).

Deposit wallets sign by EIP-712, Safes an EIP-712 hash as a message, proxies a packed hash.
"""

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_defunct, encode_typed_data
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from polybot.domain.errors import BadInput
from polybot.exchange.chain_calls import PROXY_FACTORY, RELAY_HUB, ChainCall
from polybot.exchange.core.model import Address

CHAIN_ID = 137
ZERO_ADDRESS = "0x" + 40 * "0"
ETH_SIGN_OFFSET = 4
"""A Safe knows by v above 30 that its hash was signed as a message."""


def batch_signer(wallet: str, calls: Sequence[ChainCall], nonce: int, deadline: int, signature: bytes) -> Address:
    """Of a deposit wallet's `Batch`. Raises BadInput where the signature is none."""
    message = {
        "wallet": wallet,
        "nonce": nonce,
        "deadline": deadline,
        "calls": [{"target": call.target, "value": 0, "data": call.data} for call in calls],
    }
    domain = {"name": "DepositWallet", "version": "1", "chainId": CHAIN_ID, "verifyingContract": wallet}
    return _recover(_typed(DEPOSIT_TYPES, "Batch", domain, message), signature)


def safe_signer(wallet: str, to: str, data: bytes, operation: int, nonce: int, signature: bytes) -> Address:
    """Of a `SafeTx` without gas refunds. Raises BadInput where the signature is none."""
    message = {
        "to": to,
        "value": 0,
        "data": data,
        "operation": operation,
        "safeTxGas": 0,
        "baseGas": 0,
        "gasPrice": 0,
        "gasToken": ZERO_ADDRESS,
        "refundReceiver": ZERO_ADDRESS,
        "nonce": nonce,
    }
    typed = _typed(SAFE_TYPES, "SafeTx", {"chainId": CHAIN_ID, "verifyingContract": wallet}, message)
    digest = keccak(b"\x19" + typed.version + typed.header + typed.body)
    if len(signature) != 65 or signature[64] < 31:
        raise BadInput("invalid signature: a Safe's is 65 bytes, signed as a message (v of 31 or 32)")
    plain = signature[:64] + bytes([signature[64] - ETH_SIGN_OFFSET])
    return _recover(encode_defunct(primitive=digest), plain)


def proxy_signer(signer: str, data: bytes, gas_limit: int, nonce: int, relay: str, signature: bytes) -> Address:
    """Of a relayed proxy transaction without a fee. Raises BadInput where the signature is none."""
    words = b"".join(number.to_bytes(32, "big") for number in (0, 0, gas_limit, nonce))
    packed = b"rlx:" + _raw(signer) + _raw(PROXY_FACTORY) + data + words + _raw(RELAY_HUB) + _raw(relay)
    return _recover(encode_defunct(primitive=keccak(packed)), signature)


def _typed(
    types: dict[str, list[dict[str, str]]], primary: str, domain: dict[str, Any], message: dict[str, Any]
) -> SignableMessage:
    try:
        return encode_typed_data(
            full_message={"types": types, "primaryType": primary, "domain": domain, "message": message}
        )
    except (ValueError, TypeError) as error:
        raise BadInput(f"the transaction cannot be read as {primary}: {error}") from error


def _recover(message: SignableMessage, signature: bytes) -> Address:
    try:
        return Address(str(Account.recover_message(message, signature=signature)).lower())
    except (ValueError, TypeError, BadSignature, ValidationError) as error:
        raise BadInput(f"invalid signature: {error}") from error


def _raw(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


def _fields(text: str) -> list[dict[str, str]]:
    """ "address to,uint256 value" as EIP-712's list."""
    return [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in text.split(",")]


DEPOSIT_TYPES = {
    "EIP712Domain": _fields("string name,string version,uint256 chainId,address verifyingContract"),
    "Batch": _fields("address wallet,uint256 nonce,uint256 deadline,Call[] calls"),
    "Call": _fields("address target,uint256 value,bytes data"),
}
SAFE_TYPES = {
    "EIP712Domain": _fields("uint256 chainId,address verifyingContract"),
    "SafeTx": _fields(
        "address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,"
        "address gasToken,address refundReceiver,uint256 nonce"
    ),
}
