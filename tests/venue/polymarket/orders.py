"""Orders of one window at the real venue, and wallets that sign them: keys that are known to everybody."""

from types import SimpleNamespace
from typing import Any

import msgspec
from eth_account import Account
from polymarket._internal.wallet import (
    derive_beacon_deposit_wallet_address,
    derive_proxy_wallet_address,
    derive_safe_wallet_address,
)
from polymarket.environments import PRODUCTION

from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import Millis
from polybot.risk import gate
from polybot.venue.polymarket.client_signing import OrderSigner
from polybot.venue.polymarket.order_form import Wallet
from polybot.venue.polymarket.order_replies import SentOrder
from tests.venue import builders
from tests.venue.builders import START, a_market, price, shares

PRIVATE_KEY = "0x" + "11" * 32
SIGNER = Account.from_key(PRIVATE_KEY)
CONDITION = ConditionId("0x" + "c0" * 32)
TOKENS = (TokenId("7" * 77), TokenId("8" * 77))
V2_TOKENS = (TokenId(str(1 << 200)), TokenId(str((1 << 200) + 1)))
NOW = Millis(START + 60_000)
_CONFIG = PRODUCTION._config.wallet_derivation
WALLETS = {
    "EOA": SIGNER.address,
    "POLY_PROXY": derive_proxy_wallet_address(SIGNER.address, _CONFIG),
    "GNOSIS_SAFE": derive_safe_wallet_address(SIGNER.address, _CONFIG),
    "DEPOSIT_WALLET": derive_beacon_deposit_wallet_address(SIGNER.address, _CONFIG),
}
WALLET = Wallet(address=WALLETS["EOA"], signer=SIGNER.address, signature_type=0)


def market(**changes: Any) -> Market:
    return a_market(condition_id=CONDITION, tokens=TOKENS, **changes)


def v2_market() -> Market:
    return a_market(condition_id=CONDITION, tokens=V2_TOKENS, version="v2")


def an_intent(
    number: int = 1,
    *,
    limit: str = "0.51",
    size: str = "10",
    tif: TimeInForce = TimeInForce.GTC,
    side: Side = Side.BUY,
    outcome: Outcome = Outcome.UP,
    best_ask: str | None = None,
    **changes: Any,
) -> OrderIntent:
    made = builders.an_intent(
        number, limit=price(limit), size=shares(size), at=NOW, outcome=outcome, side=side, tif=tif
    )
    proof = msgspec.structs.replace(made.proof, best_ask=None if best_ask is None else price(best_ask))
    return msgspec.structs.replace(made, **({"proof": proof} | changes))


def approved(intent: OrderIntent) -> gate.Approved:
    return gate.Approved(intent=intent)


def a_signer(kind: str = "EOA", signer_type: str = "OWNER") -> OrderSigner:
    context = SimpleNamespace(
        signer=SIGNER,
        signer_type=signer_type,
        wallet=WALLETS[kind],
        wallet_type=kind,
        environment_config=PRODUCTION._config,
    )
    return OrderSigner(context)  # type: ignore[arg-type]


def sent(intent: OrderIntent, order_hash: str = "0xours", size: str | None = None) -> SentOrder:
    terms = market()
    return SentOrder(
        intent=intent,
        hash=order_hash,
        token=TOKENS[int(intent.outcome)],
        condition=CONDITION,
        shares=intent.shares if size is None else shares(size),
        fees=terms.fees,
    )
