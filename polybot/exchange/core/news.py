"""What the engine announces, in the past tense; the sockets turn it into the venue's frames. Pure values."""

import msgspec

from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import Millis, Money, Price, Shares
from polybot.exchange.core.model import Address, Answer, Listing, Order, OrderHash, Trade


class MarketOpened(msgspec.Struct, frozen=True):
    at: Millis
    listing: Listing


class BookShown(msgspec.Struct, frozen=True):
    """A whole book is to be sent, for each outcome named."""

    at: Millis
    market: MarketId
    outcomes: tuple[Outcome, ...]


class LevelShown(msgspec.Struct, frozen=True):
    """One level of Up's book (bids: side BUY) has a new size, 0 for none; `cause` is the order that moved it, or ""."""

    side: Side
    price: Price
    size: Shares
    cause: str = ""


class LevelsShown(msgspec.Struct, frozen=True):
    """Levels that changed together; the outcomes are those whose subscribers hear of it, each in its own prices."""

    at: Millis
    market: MarketId
    outcomes: tuple[Outcome, ...]
    changes: tuple[LevelShown, ...]
    best_bid: Price | None
    best_ask: Price | None


class TopMoved(msgspec.Struct, frozen=True):
    """Up's best prices are others than when this was last said."""

    at: Millis
    market: MarketId
    best_bid: Price | None
    best_ask: Price | None


class TradeShown(msgspec.Struct, frozen=True):
    """The public print of a trade, in its taker's token and side."""

    at: Millis
    market: MarketId
    outcome: Outcome
    side: Side
    price: Price
    shares: Shares
    transaction_hash: str


class TickMoved(msgspec.Struct, frozen=True):
    at: Millis
    market: MarketId
    old: Price
    new: Price


class MarketClosed(msgspec.Struct, frozen=True):
    """The book takes no more orders; nothing is resolved yet."""

    at: Millis
    market: MarketId


class MarketSettled(msgspec.Struct, frozen=True):
    at: Millis
    market: MarketId
    payout_up: Price


class OrderChanged(msgspec.Struct, frozen=True):
    """`kind` is the user channel's PLACEMENT, UPDATE or CANCELLATION."""

    at: Millis
    kind: str
    order: Order


class OrderAnswered(msgspec.Struct, frozen=True):
    """The final word on an order that was held for the taker delay, for whoever waits for the answer to its request."""

    at: Millis
    order_id: OrderHash
    answer: Answer


class TradeChanged(msgspec.Struct, frozen=True):
    at: Millis
    trade: Trade


class PositionsMoved(msgspec.Struct, frozen=True):
    """A split, merge or redemption, already done. `kind` is SPLIT, MERGE or REDEEM; `cash` is what the account got."""

    at: Millis
    kind: str
    account: Address
    market: MarketId
    cash: Money
    shares: tuple[Shares, Shares]
    """Up and Down, as they changed."""


News = (
    MarketOpened
    | BookShown
    | LevelsShown
    | TopMoved
    | TradeShown
    | TickMoved
    | MarketClosed
    | MarketSettled
    | OrderChanged
    | OrderAnswered
    | TradeChanged
    | PositionsMoved
)
