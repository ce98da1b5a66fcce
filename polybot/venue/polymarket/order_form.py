"""An order as the venue's contract reads it, made from the journaled intent alone, so that its hash is known before it
is sent and can be found again after a crash (D8). Pure.

The venue has no idempotency key: the hash of what is signed is the order's id. Everything signed is therefore either
in the intent, in the market's terms or in the wallet; salt and time stamp, elsewhere chance and clock, come from the
intent as well.
"""

import hashlib

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.market_buy import TAKER_STEP, market_buy_of
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import LOT, UNIT, Shares, notional_floor

SALT_BITS = 53
"""The salt travels as a JSON number, which half the world reads as a double (polymarket.md 6.1)."""
TICK_MIN = 100
"""The finest tick: an order so small that its rounding comes to this would reach a price above its limit."""
EXPIRY_LEAD_S = 60
"""A GTD order dies so long before the time that stands in it (polymarket.md 6.1)."""
PROTOCOLS = {"v1": "2", "v2": "3"}
"""A market's version -> the EIP-712 domain version its orders are signed for (polymarket.md 1.3, 1.4)."""


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """Whose money it is and who signs for it. `signature_type`: 0 EOA, 1 proxy, 2 safe, 3 deposit wallet."""

    address: str
    signer: str
    signature_type: int

    @property
    def order_signer(self) -> str:
        """A deposit wallet signs for itself, by its owner's key (polymarket.md 6.9)."""
        return self.address if self.signature_type == DEPOSIT_WALLET else self.signer

    @property
    def pays_gas(self) -> bool:
        """The key's own address broadcasts what it does on chain; every other wallet is served by the relayer."""
        return self.signature_type == EOA


EOA, DEPOSIT_WALLET = 0, 3


class OrderForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that is signed, and what goes with it unsigned. Amounts in millionths; `timestamp` in ms, `expiration` in s.

    `shares` is the size as the venue will understand it: a FOK or FAK order's may be a little less than was meant.
    """

    wallet: Wallet
    protocol: str
    token: TokenId
    condition: ConditionId
    side: Side
    maker_amount: int
    taker_amount: int
    salt: int
    timestamp: int
    order_type: TimeInForce
    expiration: int
    post_only: bool

    @property
    def shares(self) -> Shares:
        return Shares(self.taker_amount if self.side is Side.BUY else self.maker_amount)


def form_of(intent: OrderIntent, market: Market, wallet: Wallet) -> OrderForm:
    """Raises BadInput for an order that cannot be written down for the venue: nothing was sent then."""
    if market.tokens is None:
        raise BadInput(f"{market.id} has no token ids: its orders cannot be signed")
    if market.version not in PROTOCOLS:
        raise BadInput(f"{market.id} runs on protocol {market.version!r}, which this version cannot sign for")
    if intent.post_only and not intent.time_in_force.rests:
        raise BadInput(f"{intent.id} is post-only and {intent.time_in_force}: only a resting order can be post-only")
    maker_amount, taker_amount = amounts(intent)
    return OrderForm(
        wallet=wallet,
        protocol=PROTOCOLS[market.version],
        token=market.tokens[Outcome.UP if intent.outcome is Outcome.UP else Outcome.DOWN],
        condition=market.condition_id,
        side=intent.side,
        maker_amount=maker_amount,
        taker_amount=taker_amount,
        salt=salt_of(intent, wallet),
        timestamp=intent.decided_at,
        order_type=intent.time_in_force,
        expiration=_expiration(intent),
        post_only=intent.post_only,
    )


def amounts(intent: OrderIntent) -> tuple[int, int]:
    """What is given and what is wanted for it, in millionths (polymarket.md 6.2). Raises BadInput below one step.

    Sizes are whole lots of 0.01 share and prices have 4 decimals at most, so a resting order's money is exact.
    """
    price, shares = intent.limit, intent.shares
    if shares <= 0 or shares % LOT or not 0 < price < UNIT or price % TAKER_STEP:
        raise BadInput(f"{intent.id}: {shares} at {price} millionths is no size and price that the venue can express")
    if intent.time_in_force.rests:
        money = notional_floor(price, shares)
        return (money, shares) if intent.side is Side.BUY else (shares, money)
    if intent.side is Side.SELL:
        return shares, _floor(notional_floor(price, shares), TAKER_STEP)
    return _market_buy(intent)


def _market_buy(intent: OrderIntent) -> tuple[int, int]:
    gives = market_buy_of(intent)
    money, shares = gives.money, gives.shares
    if money <= 0 or shares <= 0 or money * UNIT >= shares * (intent.limit + TICK_MIN):
        raise BadInput(f"{intent.id}: {intent.shares} millionths at {intent.limit} are too few to be priced exactly")
    return money, shares


def salt_of(intent: OrderIntent, wallet: Wallet) -> int:
    """Unlike any other order's of this wallet, and the same whenever it is asked for."""
    facts = (
        wallet.address.lower(),
        intent.id,
        intent.agent,
        intent.market,
        str(int(intent.outcome)),
        intent.side.value,
        str(intent.limit),
        str(intent.shares),
        intent.time_in_force.value,
        str(intent.decided_at),
    )
    digest = hashlib.sha256("\n".join(facts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SALT_BITS)


def _expiration(intent: OrderIntent) -> int:
    """Unix seconds as the venue wants them stated, 0 for an order that does not expire."""
    if intent.time_in_force is not TimeInForce.GTD:
        return 0
    if intent.expires_at is None:
        raise BadInput(f"{intent.id} is good till a date and has none")
    return -(-intent.expires_at // 1000) + EXPIRY_LEAD_S


def _floor(amount: int, step: int) -> int:
    return amount - amount % step
