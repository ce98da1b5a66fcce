"""Whether a signed order is what it says: readable, of the right version, of a wallet of this key, signed by it.

Pure but for the signature itself. The refusals are the venue's (polymarket.md 6.5, 6.9).
"""

from polybot.domain.ids import TokenId
from polybot.domain.market import Side
from polybot.domain.order import TimeInForce
from polybot.exchange.core.entrance import PAYLOAD
from polybot.exchange.core.faults import Faults
from polybot.exchange.core.model import NO_ONE, Address, Listing, NewOrder, Refused
from polybot.exchange.signatures import (
    POLY_1271,
    UNREADABLE,
    OrderDomain,
    SignedOrder,
    contents_hash,
    domain_of,
    order_hash,
    recover_order,
)
from polybot.exchange.wallets import Wallets

OLD_VERSION = Refused(text="invalid order version, please use the latest clob-client")
VERSION_MISMATCH = Refused(text="order_version_mismatch")
WRONG_SIGNER = Refused(text="the order signer address has to be the address of the API KEY")
WRONG_MAKER = Refused(text="maker address not allowed, please use the deposit wallet flow")
BAD_SIGNATURE = Refused(text="invalid signature")
SALT_MAX = 1 << 53


def check_order(
    signed: SignedOrder, listing: Listing, key: Address, wallets: Wallets, faults: Faults
) -> NewOrder | Refused:
    """The order for the engine, its owner and kind still to be filled in by whoever read them beside it."""
    if signed.taker is not None or signed.nonce is not None or signed.fee_rate_bps is not None:
        return OLD_VERSION
    domain = domain_of(listing.market.version, neg_risk=listing.neg_risk)
    try:
        contents = contents_hash(signed)
        amounts = int(signed.maker_amount), int(signed.taker_amount)
        expiration = int(signed.expiration)
    except UNREADABLE:
        return PAYLOAD
    if not 0 <= signed.salt < SALT_MAX or signed.signature_type not in range(4):
        return PAYLOAD
    refused = _refused_wallet(signed, key, wallets, faults) or _refused_signature(signed, contents, domain, key)
    if refused is not None:
        return refused
    account = Address(signed.maker.lower())
    if {account, key} & faults.banned:
        return Refused(text=f"'{signed.maker}' address banned")
    if {account, key} & faults.closed_only and signed.side == "BUY":
        return Refused(text=f"'{signed.maker}' address in closed only mode")
    return NewOrder(
        id=order_hash(contents, domain),
        owner=NO_ONE,
        account=account,
        token=TokenId(signed.token_id),
        side=Side(signed.side),
        maker_amount=amounts[0],
        taker_amount=amounts[1],
        order_type=TimeInForce.GTC,
        expiration=expiration,
    )


def _refused_wallet(signed: SignedOrder, key: Address, wallets: Wallets, faults: Faults) -> Refused | None:
    """Types 0 to 2 are signed by the key, which owns the maker; type 3 by the deposit wallet, which is the maker."""
    maker, signer = Address(signed.maker.lower()), Address(signed.signer.lower())
    if faults.deposit_wallets_only and signed.signature_type != POLY_1271:
        return WRONG_MAKER
    if signer != (maker if signed.signature_type == POLY_1271 else key):
        return WRONG_SIGNER
    return None if wallets.owns(key, maker, signed.signature_type) else WRONG_SIGNER


def _refused_signature(signed: SignedOrder, contents: bytes, domain: OrderDomain, key: Address) -> Refused | None:
    if recover_order(signed, contents, domain) == key:
        return None
    other = domain_of("v1" if domain.version == "3" else "v2", neg_risk=False)
    return VERSION_MISMATCH if recover_order(signed, contents, other) == key else BAD_SIGNATURE
