"""Orders signed by the official client's own code, with a salt and a time stamp that are ours (D8).

What is signed depends on the wallet; the order's hash does not: it is the digest in the exchange's own domain, and the
venue's id of the order.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from eth_utils.crypto import keccak
from polymarket._internal.actions.orders import typed_data
from polymarket._internal.actions.orders.orders import create_signed_order
from polymarket._internal.actions.orders.types import BYTES32_ZERO, UnsignedOrder
from polymarket._internal.context import AsyncSecureClientContext
from polymarket._internal.protocol import is_v2_position_id
from polymarket._internal.wallet import signature_type_for, wrap_deposit_wallet_signature
from polymarket.models.clob.orders import SignedOrder

from polybot.clock import Clock
from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Side
from polybot.domain.order import TimeInForce
from polybot.venue.polymarket.order_form import OrderForm, Wallet

SIGNING_MS_MAX = 2.0
"""Signing that takes longer is done in a thread."""
SIGNING_TRIALS = 5
_NOBODY = Wallet(address="", signer="", signature_type=0)
_TRIAL = OrderForm(
    wallet=_NOBODY,
    protocol="3",
    token=TokenId("1"),
    condition=ConditionId(""),
    side=Side.BUY,
    maker_amount=1,
    taker_amount=1,
    salt=1,
    timestamp=1,
    order_type=TimeInForce.GTC,
    expiration=0,
    post_only=False,
)
"""Signed at the start to see how long that takes, and never sent."""


class Signed(msgspec.Struct, frozen=True):
    hash: str
    order: SignedOrder


class OrderSigner:
    """`ms` is how long one signature takes; one that takes long is made in a thread, so that the loop goes on."""

    def __init__(self, context: AsyncSecureClientContext) -> None:
        self._context, self._config = context, context.environment_config
        self._domains: dict[tuple[str, str], bytes] = {}
        self.ms = 0.0
        self.wallet = Wallet(
            address=str(context.wallet),
            signer=str(context.signer.address),
            signature_type=signature_type_for(context.wallet_type),
        )

    def hash_of(self, form: OrderForm) -> str:
        """The order's id at the venue: the EIP-712 digest in the exchange's own domain, whatever the wallet signs."""
        return self._hash(self._unsigned(form))

    async def sign(self, forms: Sequence[OrderForm]) -> list[Signed]:
        """Raises BadInput where a token is not of the market's protocol version, as `hash_of` does."""
        if self.ms <= SIGNING_MS_MAX:
            return [self._sign(form) for form in forms]
        return await asyncio.to_thread(lambda: [self._sign(form) for form in forms])

    def measure(self, clock: Clock) -> None:
        """The quickest of a few trials, in milliseconds: what the machine can do, not what it was busy with."""
        unsigned = self._unsigned(msgspec.structs.replace(_TRIAL, wallet=self.wallet))
        trials = []
        for _ in range(SIGNING_TRIALS):
            began = clock.monotonic()
            self._signature(unsigned)
            trials.append(clock.monotonic() - began)
        self.ms = 1000 * min(trials)

    def _sign(self, form: OrderForm) -> Signed:
        unsigned = self._unsigned(form)
        signed = create_signed_order(unsigned, cast(Any, self._signature(unsigned)), post_only=form.post_only)
        return Signed(self._hash(unsigned), signed)

    def _signature(self, unsigned: UnsignedOrder) -> str:
        context = self._context
        full_message = typed_data.build_order_typed_data(unsigned)
        raw = context.signer.sign_typed_data(full_message=full_message).signature.hex()
        signature = typed_data.build_order_signature(unsigned, cast(Any, "0x" + raw.removeprefix("0x")))
        return str(
            wrap_deposit_wallet_signature(
                signer=context.signer.address, signer_type=context.signer_type, signature=signature
            )
        )

    def _unsigned(self, form: OrderForm) -> UnsignedOrder:
        if is_v2_position_id(form.token) != (form.protocol == "3"):
            raise BadInput(f"token {form.token} is not one of protocol version {form.protocol}")
        config = self._config
        exchange = config.exchange_v3 if form.protocol == "3" else config.standard_exchange
        return UnsignedOrder(
            chain_id=config.chain_id,
            builder=BYTES32_ZERO,
            exchange_address=cast(Any, exchange),
            expiration=form.expiration,
            maker=cast(Any, form.wallet.address),
            maker_amount=form.maker_amount,
            metadata=BYTES32_ZERO,
            order_type=form.order_type.value,
            salt=form.salt,
            side=form.side.value,
            signature_type=form.wallet.signature_type,
            signer=cast(Any, form.wallet.order_signer),
            taker_amount=form.taker_amount,
            timestamp=form.timestamp,
            token_id=cast(Any, form.token),
            protocol_version="3" if form.protocol == "3" else "2",
        )

    def _hash(self, unsigned: UnsignedOrder) -> str:
        place = (str(unsigned.exchange_address), unsigned.protocol_version)
        if place not in self._domains:
            separator = typed_data._app_domain_separator(unsigned, protocol_version=unsigned.protocol_version)
            self._domains[place] = bytes.fromhex(separator.removeprefix("0x"))
        return "0x" + keccak(b"\x19\x01" + self._domains[place] + typed_data._order_contents_hash(unsigned)).hex()
