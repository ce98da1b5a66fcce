"""Orders are signed as the official client signs them, under a hash that is known before they are sent."""

import threading

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from polymarket._internal.actions.orders.typed_data import build_order_typed_data
from polymarket.environments import PRODUCTION

from polybot.clock import SystemClock
from polybot.domain.errors import BadInput
from polybot.venue.polymarket.client_signing import SIGNING_MS_MAX, Signed
from polybot.venue.polymarket.order_form import OrderForm, form_of
from tests.venue.polymarket.orders import SIGNER, WALLETS, a_signer, an_intent, market, v2_market

KINDS = list(WALLETS)
FIELDS = (
    "uint256 salt address maker address signer uint256 tokenId uint256 makerAmount uint256 takerAmount uint8 side "
    "uint8 signatureType uint256 timestamp bytes32 metadata bytes32 builder"
).split()
EXCHANGES = {"2": "0xE111180000d2663C0091e4f400237545B87B996B", "3": "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"}


def digest_by_the_book(form) -> str:
    """The order's EIP-712 digest from polymarket.md 1.3 and 1.4 alone, by another implementation than the client's."""
    types = [{"name": name, "type": kind} for kind, name in zip(FIELDS[::2], FIELDS[1::2], strict=True)]
    message = {
        "salt": form.salt,
        "maker": form.wallet.address,
        "signer": form.wallet.order_signer,
        "tokenId": int(form.token),
        "makerAmount": form.maker_amount,
        "takerAmount": form.taker_amount,
        "side": 0 if form.side == "BUY" else 1,
        "signatureType": form.wallet.signature_type,
        "timestamp": form.timestamp,
        "metadata": b"\0" * 32,
        "builder": b"\0" * 32,
    }
    domain = {
        "name": "Polymarket CTF Exchange",
        "version": form.protocol,
        "chainId": 137,
        "verifyingContract": EXCHANGES[form.protocol],
    }
    signable = encode_typed_data(domain, {"Order": types}, message)
    return "0x" + keccak(b"\x19\x01" + signable.header + signable.body).hex()


@pytest.mark.parametrize("terms", [market(), v2_market()], ids=lambda terms: terms.version)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_hash_is_the_digest_in_the_exchanges_domain_for_every_wallet_and_version(kind, terms):
    signer = a_signer(kind)
    form = form_of(an_intent(), terms, signer.wallet)
    (signed,) = await signer.sign([form])
    assert signed.hash == digest_by_the_book(form)
    assert signed.hash == signer.hash_of(form), "and is known without signing"


@pytest.mark.parametrize("kind", ["EOA", "POLY_PROXY", "GNOSIS_SAFE"])
async def test_the_owners_key_signs_the_hash_itself(kind):
    signer = a_signer(kind)
    (signed,) = await signer.sign([form_of(an_intent(), market(), signer.wallet)])
    recovered = Account._recover_hash(bytes.fromhex(signed.hash[2:]), signature=signed.order.signature)
    assert recovered == SIGNER.address
    assert signed.order.signer == SIGNER.address
    assert signed.order.maker == WALLETS[kind]


async def test_a_deposit_wallets_signature_carries_the_domain_the_contents_and_their_type():
    signer = a_signer("DEPOSIT_WALLET")
    form = form_of(an_intent(), market(), signer.wallet)
    (signed,) = await signer.sign([form])
    raw = bytes.fromhex(signed.order.signature[2:])
    inner, domain, contents = raw[:65], raw[65:97], raw[97:129]
    assert keccak(b"\x19\x01" + domain + contents).hex() == signed.hash[2:]
    assert raw[-2:] == len(raw[129:-2]).to_bytes(2, "big")
    assert raw[129:-2].startswith(b"Order(uint256 salt,")
    full = encode_typed_data(full_message=build_order_typed_data(signer._unsigned(form)))
    assert Account.recover_message(full, signature=inner) == SIGNER.address
    assert signed.order.signer == signed.order.maker == WALLETS["DEPOSIT_WALLET"]


async def test_a_session_keys_signature_is_wrapped_and_its_hash_the_same():
    owner, session = a_signer("DEPOSIT_WALLET"), a_signer("DEPOSIT_WALLET", "SESSION_KEY")
    form = form_of(an_intent(), market(), owner.wallet)
    (by_owner,), (by_session,) = await owner.sign([form]), await session.sign([form])
    assert by_session.hash == by_owner.hash
    assert by_session.order.signature.endswith("6492" * 16)


async def test_every_wallet_and_every_order_has_its_own_hash():
    forms = [
        form_of(an_intent(number), terms, a_signer(kind).wallet)
        for kind in KINDS
        for number in (1, 2)
        for terms in (market(), v2_market())
    ]
    signer = a_signer()
    assert len({signer.hash_of(form) for form in forms}) == len(forms)


async def test_a_token_of_the_other_protocol_is_not_signed_for():
    signer = a_signer()
    mixed = msgspec.structs.replace(v2_market(), version="v1")
    with pytest.raises(BadInput, match="protocol version 2"):
        await signer.sign([form_of(an_intent(), mixed, signer.wallet)])


async def test_a_slow_signature_is_made_off_the_loop():
    signer = a_signer()
    used: list[int] = []
    sign_here = signer._sign

    def noted(form: OrderForm) -> Signed:
        used.append(threading.get_ident())
        return sign_here(form)

    signer._sign = noted  # type: ignore[method-assign]
    form = form_of(an_intent(), market(), signer.wallet)
    signer.ms = SIGNING_MS_MAX + 1
    (away,) = await signer.sign([form])
    signer.ms = 0.0
    (here,) = await signer.sign([form])
    assert away.order == here.order
    assert used[0] != used[1] == threading.get_ident()


def test_signing_is_measured():
    signer = a_signer("DEPOSIT_WALLET")
    signer.measure(SystemClock())
    assert 0 < signer.ms < 100


def test_the_contracts_are_those_of_the_reference():
    assert PRODUCTION._config.standard_exchange == EXCHANGES["2"]
    assert PRODUCTION._config.exchange_v3 == EXCHANGES["3"]
