"""Which wallets belong to a key: the venue's contracts put them at addresses that follow from it (CREATE2).

A key signs for itself (type 0), its Magic proxy (1), its Safe (2) or its deposit wallet (3, of either generation). The
creation codes are the deployed factories' own; the official client derives the same addresses (its `environments.py`
names the factories). Other wallets can be registered by whoever runs the exchange.
"""

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from polybot.exchange.core.model import Address

EOA, POLY_PROXY, GNOSIS_SAFE, DEPOSIT_WALLET = range(4)

PROXY_FACTORY = "aB45c5A4B0c941a2F231C04C3f49182e1A254052"
PROXY_LOGIC = "44e999d5c2F66Ef0861317f9A4805AC2e90aEB4f"
SAFE_FACTORY = "aacFeEa03eb1561C4e67d661e40682Bd20E3541b"
SAFE_CODE_HASH = "2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf"
DEPOSIT_FACTORY = "00000000000Fb5C9ADea0298D729A0CB3823Cc07"
DEPOSIT_LOGIC = "58CA52ebe0DadfdF531Cde7062e76746de4Db1eB"
DEPOSIT_BEACON = "7A18EDfe055488A3128f01F563e5B479D92ffc3a"

CLONE_HEAD, CLONE_MIDDLE = (
    "3d3d606380380380913d393d73",
    "5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73",
)
CLONE_TAIL = "5af43d82803e903d91602b57fd5bf352e831dd" + f"{32:064x}" + f"{0:064x}"
ERC1967_TAIL = (
    "60095155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
BEACON_TAIL = (
    "60195155f3363d3d373d3d363d602036600436635c60da1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)
ERC1967_HEAD, BEACON_HEAD = 0x61003D3D8160233D3973, 0x6100523D8160233D3973
SIZE_SHIFT = 56
"""Where the length of the constructor's arguments stands in the creation code's first ten bytes."""


def proxy_of(key: Address) -> Address:
    code = CLONE_HEAD + PROXY_FACTORY + CLONE_MIDDLE + PROXY_LOGIC + CLONE_TAIL
    return _create2(PROXY_FACTORY, keccak(_raw(key)), keccak(_raw(code)))


def safe_of(key: Address) -> Address:
    return _create2(SAFE_FACTORY, keccak(encode(["address"], [key])), _raw(SAFE_CODE_HASH))


def deposit_wallets_of(key: Address) -> tuple[Address, Address]:
    """The newest generation's (a beacon proxy), and the one before (ERC-1967)."""
    arguments = encode(["address", "bytes32"], ["0x" + DEPOSIT_FACTORY.lower(), _raw(key).rjust(32, b"\0")])
    size = len(arguments) << SIZE_SHIFT
    beacon = (BEACON_HEAD + size).to_bytes(10, "big") + _raw(DEPOSIT_BEACON) + _raw(BEACON_TAIL) + arguments
    older = (ERC1967_HEAD + size).to_bytes(10, "big") + _raw(DEPOSIT_LOGIC) + _raw(ERC1967_TAIL) + arguments
    salt = keccak(arguments)
    return _create2(DEPOSIT_FACTORY, salt, keccak(beacon)), _create2(DEPOSIT_FACTORY, salt, keccak(older))


class Wallets:
    """Who may sign for which wallet."""

    def __init__(self) -> None:
        self._registered: dict[Address, Address] = {}

    def register(self, wallet: Address, key: Address) -> None:
        self._registered[wallet] = key

    def registered_of(self, key: Address) -> list[Address]:
        return [wallet for wallet, owner in self._registered.items() if owner == key]

    def owns(self, key: Address, wallet: Address, signature_type: int) -> bool:
        if self._registered.get(wallet) == key:
            return True
        if signature_type == EOA:
            return wallet == key
        if signature_type == POLY_PROXY:
            return wallet == proxy_of(key)
        if signature_type == GNOSIS_SAFE:
            return wallet == safe_of(key)
        return signature_type == DEPOSIT_WALLET and wallet in deposit_wallets_of(key)


def wallet_of(key: Address, signature_type: int) -> Address:
    """Where a key's money is with this signature type: the newest wallet of that kind."""
    if signature_type == POLY_PROXY:
        return proxy_of(key)
    if signature_type == GNOSIS_SAFE:
        return safe_of(key)
    return deposit_wallets_of(key)[0] if signature_type == DEPOSIT_WALLET else key


def _create2(factory: str, salt: bytes, code_hash: bytes) -> Address:
    return Address("0x" + keccak(b"\xff" + _raw(factory) + salt + code_hash)[12:].hex())


def _raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
