"""What an account has, as the venue says it and as our books have it, and where the two differ. Values only. Pure."""

import enum

import msgspec

from polybot.domain.fees import FEE_STEP, WALK_LEVELS_MAX
from polybot.domain.ids import ConditionId, MarketId, OrderId, TokenId
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis, Money, Shares
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen


class Balance(msgspec.Struct, frozen=True):
    """Millionths; `allowances` by spender, in lower case."""

    balance: Money
    allowances: dict[str, int]


class PositionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Shares held on chain, as the data service lists them: some seconds late. `outcome` is 0 for Up, 1 for Down.

    `neg_risk`: of an event of many outcomes, whose shares other contracts keep: none that a floor trades.
    """

    token: TokenId
    condition: ConditionId
    shares: Shares
    outcome: int | None
    redeemable: bool
    mergeable: bool
    neg_risk: bool = False
    value: Money


class AccountReading(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of everything at the venue. `held` has every token that was asked about, 0 included."""

    at: Millis
    collateral: Balance
    held: dict[TokenId, Shares]
    orders: tuple[OrderSeen, ...]
    trades: tuple[TradeSeen, ...]


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of one token by our books: `least` without what is on its way in, `most` with it."""

    market: MarketId
    token: TokenId
    least: Shares
    most: Shares


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """Our side of the comparison, gathered at one instant, after everything the venue said had been booked.

    The wallet's pUSD should lie between `cash_least` (every provisional buy mined, no redemption paid) and `cash_most`.
    `elsewhere` is what of the wallet's money is not the floor's, None before the first comparison told it.
    `intents` are orders by their hash, ended ones of recent windows included; `open` are those that should be open.
    """

    cash_least: Money
    cash_most: Money
    elsewhere: Money | None
    holdings: tuple[Holding, ...]
    intents: dict[str, OrderIntent]
    open: frozenset[str]
    conditions: frozenset[ConditionId]
    """Of the markets this floor trades."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison was made of. `began_s`, monotonic: whatever was there before is in the reading."""

    books: Books
    reading: AccountReading
    began_s: float


ROUNDED_MAX = FEE_STEP * WALK_LEVELS_MAX
"""Whether the venue rounds the fee of each part of an order, or their sum, was not seen: a step for each part."""


class DifferenceKind(enum.StrEnum):
    CASH = "cash"
    SHARES = "shares"
    FOREIGN_ORDER = "foreign_order"
    STRAY_ORDER = "stray_order"
    FOREIGN_TRADE = "foreign_trade"
    ALLOWANCE = "allowance"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Where the venue and our books part. `subject` is a token, hash, trade or spender; amounts in millionths.

    `order` is ours where the difference is about one of our orders.
    """

    kind: DifferenceKind
    subject: str
    ours: int
    theirs: int
    text: str
    order: OrderId | None = None

    @property
    def is_rounding(self) -> bool:
        """pUSD too few to be anything but how the fees of an order's parts were rounded: no reason to stop trading."""
        return self.kind is DifferenceKind.CASH and abs(self.theirs - self.ours) <= ROUNDED_MAX
