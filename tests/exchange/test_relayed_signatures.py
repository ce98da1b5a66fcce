"""Gasless transactions signed by the official client: the exchange finds their signer, and no other."""

from eth_account import Account
from polymarket._internal.actions.relayer.calls import TransactionCall
from polymarket._internal.actions.relayer.signing.deposit_wallet import sign_deposit_wallet_batch
from polymarket._internal.actions.relayer.signing.proxy import build_proxy_transaction_hash, sign_proxy_message
from polymarket._internal.actions.relayer.signing.safe import sign_safe_transaction
from polymarket.types import EvmAddress, HexString

from polybot.exchange.chain_calls import COLLATERAL_ADAPTER, PROXY_FACTORY, RELAY_HUB, ChainCall
from polybot.exchange.relayed_signatures import batch_signer, proxy_signer, safe_signer
from polybot.exchange.relayer_api import RELAY

KEY = Account.from_key("0x" + "4f" * 32)
SIGNER = KEY.address.lower()
WALLET = "0x" + "5a" * 20
DATA = HexString("0x01b7037c" + "00" * 32)


def raw(signature: str) -> bytes:
    return bytes.fromhex(signature[2:])


def test_a_deposit_wallets_batch() -> None:
    call = TransactionCall(to=EvmAddress(COLLATERAL_ADAPTER), data=DATA)
    signature = sign_deposit_wallet_batch(
        KEY, wallet=EvmAddress(WALLET), calls=[call], nonce="7", deadline="1795410600", chain_id=137
    )
    ours = [ChainCall(COLLATERAL_ADAPTER, raw(DATA))]
    assert batch_signer(WALLET, ours, 7, 1795410600, raw(signature)) == SIGNER
    assert batch_signer(WALLET, ours, 8, 1795410600, raw(signature)) != SIGNER


def test_a_safes_transaction() -> None:
    signature = sign_safe_transaction(
        KEY,
        safe_address=EvmAddress(WALLET),
        to=EvmAddress(COLLATERAL_ADAPTER),
        data=DATA,
        value=0,
        operation=0,
        nonce="3",
        chain_id=137,
    )
    assert safe_signer(WALLET, COLLATERAL_ADAPTER, raw(DATA), 0, 3, raw(signature)) == SIGNER
    assert safe_signer(WALLET, COLLATERAL_ADAPTER, raw(DATA), 1, 3, raw(signature)) != SIGNER


def test_a_proxys_transaction() -> None:
    hashed = build_proxy_transaction_hash(
        from_address=EvmAddress(SIGNER),
        to=EvmAddress(PROXY_FACTORY),
        data=DATA,
        relayer_fee="0",
        gas_price="0",
        gas_limit="200000",
        nonce="5",
        relay_hub=EvmAddress(RELAY_HUB),
        relay=EvmAddress(RELAY),
    )
    signature = sign_proxy_message(KEY, hashed)
    assert proxy_signer(SIGNER, raw(DATA), 200_000, 5, RELAY, raw(signature)) == SIGNER
    assert proxy_signer(SIGNER, raw(DATA), 200_001, 5, RELAY, raw(signature)) != SIGNER
