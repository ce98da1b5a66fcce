"""The user channel's bytes as values, and our orders and trades as they are read by REST (polymarket.md 3.3, 6.3).

Nothing here raises for a frame: what cannot be understood comes out as `Undecodable`.
"""

import enum
import re

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Side
from polybot.domain.units import Millis, Price, Shares
from polybot.venue.polymarket.wire import FRAME_MAX, PONG, UNREADABLE, Pong, Undecodable, excerpt
from polybot.venue.polymarket.wire_units import condition_of, price_units, size_units

SECONDS_DIGITS = 10
NAME = re.compile(r"[!-~]{1,128}")
WORDS_MAX = 1_000
STATUS_PREFIXES = ("TRADE_STATUS_", "ORDER_STATUS_")


class TradePhase(enum.StrEnum):
    """MATCHED, MINED and RETRYING are on the way; only CONFIRMED and FAILED are final."""

    MATCHED = "MATCHED"
    MINED = "MINED"
    RETRYING = "RETRYING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        return self in (TradePhase.CONFIRMED, TradePhase.FAILED)


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One of our orders as the venue has it. `status` in the venue's words, in upper case.

    It may be free text, and new ones may come: an order has ended only where its status says so, for one that was taken
    for ended while it is open would be filled behind our backs.
    """

    hash: str
    condition: ConditionId
    token: TokenId
    side: Side
    price: Price | None
    shares: Shares
    matched: Shares
    status: str
    at: Millis

    @property
    def is_open(self) -> bool:
        return not self.status.startswith(ENDS)


OPEN_STATUSES = frozenset(("LIVE", "DELAYED"))
ENDS = ("MATCHED", "CANCEL", "UNMATCHED", "INVALID", "EXPIRED", "REJECTED", "FAILED", "KILLED", "FILLED")
"""How the status of an order that is over begins: the documented ones, and words that can mean nothing else."""


class MakerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A maker's part of a trade: token, side and price are the maker's own, not the taker's."""

    order: str
    token: TokenId
    side: Side
    price: Price
    shares: Shares


class TradeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One trade: the taker's whole part of it, and every maker's. `price` is None where the venue's is no price.

    `updated_at` is when it came into the phase it is in.
    """

    id: str
    phase: TradePhase
    condition: ConditionId
    taker_order: str
    token: TokenId
    side: Side
    price: Price | None
    shares: Shares
    makers: tuple[MakerEntry, ...]
    matched_at: Millis
    updated_at: Millis


UserEvent = OrderSeen | TradeSeen | Pong | Undecodable

# -- messages as served -----------------------------------------------------------------------------------------------


class OrderMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="order"):
    id: str
    market: str
    asset_id: str
    side: str
    price: str
    original_size: str
    size_matched: str | None = None
    type: str = ""
    status: str | None = None
    timestamp: str | int = ""
    created_at: str | int = ""


class MakerMessage(msgspec.Struct, gc=False):
    order_id: str
    asset_id: str
    side: str
    price: str
    matched_amount: str


class TradeMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="trade"):
    id: str
    market: str
    asset_id: str
    taker_order_id: str
    side: str
    size: str
    price: str
    status: str
    maker_orders: list[MakerMessage] | None = None
    timestamp: str | int = ""
    match_time: str | int = ""
    matchtime: str | int = ""
    last_update: str | int = ""


Message = OrderMessage | TradeMessage
_FRAMES = msgspec.json.Decoder(Message | list[Message])
_MESSAGES = msgspec.json.Decoder(Message)
_PIECES = msgspec.json.Decoder(list[msgspec.Raw])


def decode_user(frame: bytes | str, received: Millis) -> list[UserEvent]:
    """What a frame says, in its order; one message or an array of them, of which a bad one costs no other."""
    if frame in PONG:
        return [Pong()]
    if len(frame) > FRAME_MAX:
        return [Undecodable(f"the frame is longer than {FRAME_MAX}", excerpt(frame))]
    try:
        content = _FRAMES.decode(frame)
        return [_event(message, received) for message in (content if isinstance(content, list) else [content])]
    except UNREADABLE as error:
        return _salvage(frame, received, str(error))


def _salvage(frame: bytes | str, received: Millis, reason: str) -> list[UserEvent]:
    try:
        pieces = _PIECES.decode(frame)
    except UNREADABLE:
        return [Undecodable(reason, excerpt(frame))]
    return [_piece(bytes(piece), received) for piece in pieces]


def _piece(piece: bytes, received: Millis) -> UserEvent:
    try:
        return _event(_MESSAGES.decode(piece), received)
    except UNREADABLE as error:
        return Undecodable(str(error), excerpt(piece))


def _event(message: Message, received: Millis) -> OrderSeen | TradeSeen:
    return _order(message, received) if isinstance(message, OrderMessage) else _trade(message, received)


def _order(message: OrderMessage, received: Millis) -> OrderSeen:
    status = plain_status(message.status or "")
    if message.type == "CANCELLATION" and not status.startswith(ENDS):
        status = "CANCELED"
    return OrderSeen(
        hash=name_of(message.id.lower()),
        condition=condition_of(message.market),
        token=TokenId(message.asset_id),
        side=side_of(message.side),
        price=price_or_none(message.price),
        shares=size_units(message.original_size),
        matched=size_units(message.size_matched or "0"),
        status=status or "LIVE",
        at=time_of(message.timestamp or message.created_at, received),
    )


def _trade(message: TradeMessage, received: Millis) -> TradeSeen:
    makers = tuple(
        MakerEntry(
            order=maker.order_id.lower(),
            token=TokenId(maker.asset_id),
            side=side_of(maker.side),
            price=price_units(maker.price),
            shares=size_units(maker.matched_amount),
        )
        for maker in message.maker_orders or ()
    )
    return TradeSeen(
        id=name_of(message.id),
        phase=phase_of(message.status),
        condition=condition_of(message.market),
        taker_order=message.taker_order_id.lower(),
        token=TokenId(message.asset_id),
        side=side_of(message.side),
        price=price_or_none(message.price),
        shares=size_units(message.size),
        makers=makers,
        matched_at=time_of(message.match_time or message.matchtime or message.timestamp, received),
        updated_at=time_of(message.timestamp or message.last_update, received),
    )


# -- fields -----------------------------------------------------------------------------------------------------------


def name_of(text: str) -> str:
    """An order's or trade's name, which goes into the journal. Raises BadInput for what nobody could find there."""
    if not NAME.fullmatch(text):
        raise BadInput(f"{readable(text)[:40]!r} is no order's or trade's name")
    return text


def readable(text: str) -> str:
    """The venue's words, which are journaled and shown: what UTF-8 cannot hold replaced, and cut where they go on."""
    return text[:WORDS_MAX].encode(errors="replace").decode()


def phase_of(status: str) -> TradePhase:
    """Raises BadInput for a status nobody has heard of."""
    plain = plain_status(status)
    if plain == "MATCHED_NOT_BROADCASTED":
        return TradePhase.MATCHED
    try:
        return TradePhase(plain)
    except ValueError as error:
        raise BadInput(f"trade status {status[:40]!r} is unknown") from error


def plain_status(status: str) -> str:
    """REST writes `TRADE_STATUS_CONFIRMED` where the stream writes `CONFIRMED`."""
    status = status.upper()
    for prefix in STATUS_PREFIXES:
        status = status.removeprefix(prefix)
    return status


def side_of(text: str) -> Side:
    try:
        return Side(text.upper())
    except ValueError as error:
        raise BadInput(f"side {text[:20]!r} is neither BUY nor SELL") from error


def price_or_none(text: str) -> Price | None:
    """A taker's price over several makers may be an average with any number of decimals, and a market order's is left
    out at times: then it is none."""
    try:
        return price_units(text)
    except BadInput:
        return None


def time_of(value: str | int, received: Millis) -> Millis:
    """Seconds or milliseconds as text or number; the time of receipt where there is none.

    Never later than that, for what is told has happened: these times go into the journal, and a floor's clock never
    goes back behind the latest that stands there. One of the year 2286 would be the floor's last.
    """
    text = str(value)
    if not (text.isascii() and text.isdecimal()) or len(text) not in (SECONDS_DIGITS, SECONDS_DIGITS + 3):
        return received
    return Millis(min(int(text) * (1000 if len(text) == SECONDS_DIGITS else 1), received))
