"""The exchange's own values: what is listed, what is ordered, what was matched. Pure; amounts in integer millionths.

Every record is frozen: a change makes a new one, so that what was announced stays what it was.
"""

import enum
from typing import NewType

import msgspec

from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Price, Shares

Address = NewType("Address", str)
"""A wallet or key on chain, "0x" and 40 hexadecimal digits, always lower case here."""
OwnerKey = NewType("OwnerKey", str)
"""An API key's id: the venue's `owner` of an order."""
OrderHash = NewType("OrderHash", str)
"""The EIP-712 digest of an order, "0x" and 64 digits: the venue's order id, known before the order is sent (D8)."""
TradeId = NewType("TradeId", str)

STREET = Address("0x" + "5e" * 20)
"""The recorded crowd's account: it may owe without limit, so that money is conserved against a tape, too."""
NO_ONE = OwnerKey("")
BYTES32_ZERO = "0x" + "00" * 32


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A market and what the venue says about it besides. `market.tokens` must be set; `market.tick` is the first tick.

    `number` is Gamma's numeric id. With `market.version` "v2" the tokens are position ids and orders are signed for
    domain version 3 (polymarket.md 1.4). The book takes orders from `ready_at` on, a while after a market is made, and
    until `closes_at`, the window's end by default.
    """

    market: Market
    number: int
    question: str = ""
    neg_risk: bool = False
    outcomes: tuple[str, str] = ("Up", "Down")
    ready_at: Millis = Millis(0)
    closes_at: Millis | None = None

    @property
    def ends_at(self) -> Millis:
        return self.market.window_end if self.closes_at is None else self.closes_at

    @property
    def tokens(self) -> tuple[TokenId, TokenId]:
        assert self.market.tokens is not None, "Engine.list_market refuses a market without tokens"
        return self.market.tokens


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine does that the venue's documents leave open, or that a rehearsal varies. Times in milliseconds.

    A trade is MINED `mine_ms` after its match and CONFIRMED `confirm_ms` later. With chance `ghost_rate` it becomes
    RETRYING instead and `retry_ms` later FAILED; with chance `retry_rate` it is RETRYING first and mined all the same.
    `ghosts_favour_losers`: only a trade that has moved in the client's favour is a ghost, twice as often (winner bias).
    `market_buy_spends`: a FOK or FAK BUY spends its pUSD, so a better price buys more shares (polymarket.md 6.1);
    off, it buys its shares and spends less.
    """

    mine_ms: int = 2_000
    confirm_ms: int = 3_000
    retry_ms: int = 2_000
    ghost_rate: float = 0.0
    retry_rate: float = 0.0
    ghosts_favour_losers: bool = False
    market_buy_spends: bool = True


# -- orders -----------------------------------------------------------------------------------------------------------


class OrderStatus(enum.StrEnum):
    LIVE = "LIVE"
    MATCHED = "MATCHED"
    DELAYED = "DELAYED"
    UNMATCHED = "UNMATCHED"
    CANCELED = "CANCELED"
    CANCELED_MARKET_RESOLVED = "CANCELED_MARKET_RESOLVED"
    CANCELED_NOT_ENOUGH_BALANCE = "CANCELED_NOT_ENOUGH_BALANCE"
    CANCELED_EXPIRED_ORDER = "CANCELED_EXPIRED_ORDER"
    INVALID = "INVALID"

    @property
    def is_open(self) -> bool:
        return self in (OrderStatus.LIVE, OrderStatus.DELAYED)


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as signed, its signature and owner already checked. `expiration` in unix seconds, 0 for none.

    `maker_amount` is given and `taker_amount` wanted: pUSD for shares on a BUY, shares for pUSD on a SELL.
    """

    id: OrderHash
    owner: OwnerKey
    account: Address
    token: TokenId
    side: Side
    maker_amount: int
    taker_amount: int
    order_type: TimeInForce
    post_only: bool = False
    expiration: int = 0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order the engine took. `size` in shares; `spend` is what a market BUY may still spend, None for all others.

    `status_text` is what a stream says instead of the status, where the venue sends free text (polymarket.md 3.3).
    """

    id: OrderHash
    owner: OwnerKey
    account: Address
    market: MarketId
    condition_id: ConditionId
    token: TokenId
    outcome: Outcome
    side: Side
    price: Price
    size: Shares
    order_type: TimeInForce
    post_only: bool
    expiration: int
    created_at: Millis
    status: OrderStatus = OrderStatus.LIVE
    status_text: str = ""
    matched: Shares = Shares(0)
    paid: Money = Money(0)
    spend: Money | None = None
    trades: tuple[TradeId, ...] = ()

    @property
    def left(self) -> Shares:
        return Shares(self.size - self.matched)

    @property
    def is_bid(self) -> bool:
        """Whether it stands among the bids of Up's book: Up and Down are two views of one pool (polymarket.md 2.1)."""
        return (self.side is Side.BUY) == (self.outcome is Outcome.UP)

    @property
    def up_price(self) -> Price:
        return self.price if self.outcome is Outcome.UP else Price(UNIT - self.price)


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's no: its HTTP status and its words (polymarket.md 6.5)."""

    text: str
    status: int = 400


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer to an order says. `making` and `taking` are what was matched so far, by the order's direction."""

    order: Order
    status: str
    making: int = 0
    taking: int = 0
    trades: tuple[TradeId, ...] = ()


Answer = Accepted | Refused


# -- trades -----------------------------------------------------------------------------------------------------------


class TradeStatus(enum.StrEnum):
    MATCHED = "MATCHED"
    MINED = "MINED"
    CONFIRMED = "CONFIRMED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        return self in (TradeStatus.CONFIRMED, TradeStatus.FAILED)


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """What one account gives and gets in a trade once it is mined; negative is given. `cash` is before `fee`."""

    account: Address
    token: TokenId
    cash: Money
    shares: Shares
    fee: Money = Money(0)


class MakerFill(msgspec.Struct, frozen=True, kw_only=True):
    """One maker's part of a trade, in the maker's own token, side and price."""

    order_id: OrderHash
    owner: OwnerKey
    account: Address
    token: TokenId
    outcome: Outcome
    side: Side
    price: Price
    shares: Shares


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One taker order against one price level. `price`, `shares`, `token` and `side` are the taker's.

    `minted` is how much collateral the trade locks (two buyers) or frees (two sellers, negative).
    """

    id: TradeId
    market: MarketId
    condition_id: ConditionId
    token: TokenId
    outcome: Outcome
    side: Side
    price: Price
    shares: Shares
    fee: Money
    taker_order: OrderHash
    taker_owner: OwnerKey
    taker_account: Address
    makers: tuple[MakerFill, ...]
    legs: tuple[Leg, ...]
    minted: Money
    matched_at: Millis
    updated_at: Millis
    bucket: int = 0
    status: TradeStatus = TradeStatus.MATCHED
    transaction_hash: str = ""
