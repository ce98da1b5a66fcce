"""Who signed what, by EIP-712: key requests, and orders of every signature type in domain version 2 and 3.

The order's digest is its id. Types 0, 1 and 2 are a plain signature of the order; type 3 is a deposit wallet's, an
ERC-7739 `TypedDataSign` around it: inner signature, app domain separator, hash of the contents, their type, its length
(polymarket.md 1.3, 1.4, 6.9). Written from the documents and the standards, not with the client's code.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import msgspec
from eth_abi.abi import encode
from eth_abi.exceptions import EncodingError
from eth_account import Account
from eth_account.messages import SignableMessage
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from polybot.exchange.core.model import Address, OrderHash

CHAIN_ID = 137
EXCHANGE = "0xE111180000d2663C0091e4f400237545B87B996B"
NEG_RISK_EXCHANGE = "0xe2222d279d744050d28e00520010520000310F59"
EXCHANGE_V3 = "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"
SPENDERS = (EXCHANGE, NEG_RISK_EXCHANGE, EXCHANGE_V3)
POLY_1271 = 3
UNREADABLE = (ValueError, OverflowError, KeyError, EncodingError)
"""What fields raise that are not what they should be."""

ORDER_TYPE = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    "uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
WRAPPER_TYPE = (
    "TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)"
    + ORDER_TYPE
)
AUTH_TYPE = "ClobAuth(address address,string timestamp,uint256 nonce,string message)"
AUTH_MESSAGE = "This message attests that I control the given wallet"
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
AUTH_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId)"


class SignedOrder(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=False):
    """The `order` of a POST body, as sent (polymarket.md 6.1)."""

    salt: int
    maker: str
    signer: str
    token_id: str
    maker_amount: str
    taker_amount: str
    side: str
    signature: str
    signature_type: int
    timestamp: str
    expiration: str = "0"
    metadata: str = "0x" + "00" * 32
    builder: str = "0x" + "00" * 32
    taker: str | None = None
    nonce: str | int | None = None
    fee_rate_bps: str | int | None = None


@dataclass(frozen=True)
class OrderDomain:
    """Which contract an order is for: the standard one, the neg-risk one, or with `version` "3" Protocol V2's."""

    version: str
    contract: str

    @cached_property
    def separator(self) -> bytes:
        name, version = keccak(b"Polymarket CTF Exchange"), keccak(self.version.encode())
        types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
        return keccak(encode(types, [keccak(DOMAIN_TYPE.encode()), name, version, CHAIN_ID, self.contract.lower()]))


@cache
def domain_of(version: str, *, neg_risk: bool) -> OrderDomain:
    """The domain for a market of protocol `version` ("v1" or "v2")."""
    if version == "v2":
        return OrderDomain("3", EXCHANGE_V3)
    return OrderDomain("2", NEG_RISK_EXCHANGE if neg_risk else EXCHANGE)


def contents_hash(order: SignedOrder) -> bytes:
    """EIP-712's hash of the order struct. Raises one of UNREADABLE."""
    types = ["bytes32", "uint256", "address", "address", *["uint256"] * 3, "uint8", "uint8", "uint256"]
    values = [
        keccak(ORDER_TYPE.encode()),
        order.salt,
        order.maker.lower(),
        order.signer.lower(),
        int(order.token_id),
        int(order.maker_amount),
        int(order.taker_amount),
        {"BUY": 0, "SELL": 1}[order.side],
        order.signature_type,
        int(order.timestamp),
        _bytes32(order.metadata),
        _bytes32(order.builder),
    ]
    return keccak(encode([*types, "bytes32", "bytes32"], values))


def order_hash(contents: bytes, domain: OrderDomain) -> OrderHash:
    return OrderHash("0x" + keccak(b"\x19\x01" + domain.separator + contents).hex())


def recover_order(order: SignedOrder, contents: bytes, domain: OrderDomain) -> Address | None:
    """The key that signed the order for this domain; None where the signature is none, or is for something else."""
    try:
        signature = bytes.fromhex(order.signature.removeprefix("0x"))
    except ValueError:
        return None
    if order.signature_type != POLY_1271:
        return _recover(domain.separator, contents, signature)
    trailer = domain.separator + contents + ORDER_TYPE.encode() + len(ORDER_TYPE).to_bytes(2, "big")
    if signature[65:] != trailer:
        return None
    return _recover(domain.separator, _wrapped(order.signer, contents), signature[:65])


def recover_clob_auth(address: str, timestamp: str, nonce: int, signature: str) -> Address | None:
    """The key that signed a request for API credentials."""
    domain_types, domain = (
        ["bytes32"] * 3 + ["uint256"],
        [keccak(AUTH_DOMAIN_TYPE.encode()), keccak(b"ClobAuthDomain"), keccak(b"1"), CHAIN_ID],
    )
    try:
        body = encode(
            ["bytes32", "address", "bytes32", "uint256", "bytes32"],
            [keccak(AUTH_TYPE.encode()), address, keccak(timestamp.encode()), nonce, keccak(AUTH_MESSAGE.encode())],
        )
        raw = bytes.fromhex(signature.removeprefix("0x"))
    except (*UNREADABLE, TypeError):
        return None
    return _recover(keccak(encode(domain_types, domain)), keccak(body), raw)


def _wrapped(wallet: str, contents: bytes) -> bytes:
    """ERC-7739: the order signed in the name of the wallet's own domain, DepositWallet version 1."""
    types = ["bytes32", "bytes32", "bytes32", "bytes32", "uint256", "address", "bytes32"]
    name, version = keccak(b"DepositWallet"), keccak(b"1")
    values = [keccak(WRAPPER_TYPE.encode()), contents, name, version, CHAIN_ID, wallet.lower(), bytes(32)]
    return keccak(encode(types, values))


def _recover(separator: bytes, body: bytes, signature: bytes) -> Address | None:
    try:
        message = SignableMessage(version=b"\x01", header=separator, body=body)
        return Address(str(Account.recover_message(message, signature=signature)).lower())
    except (ValueError, TypeError, BadSignature, ValidationError):
        return None


def _bytes32(text: str) -> bytes:
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != 32:
        raise ValueError(f"{text!r} is not 32 bytes")
    return raw
