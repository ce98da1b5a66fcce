"""The current price socket's (PolyBolt) bytes: reference prices, and its answers to what it is asked (4.2)."""

from decimal import Decimal

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import ReferencePriced
from polybot.domain.units import Millis
from polybot.venue.polymarket.wire import UNREADABLE, Ignored, Undecodable, excerpt
from polybot.venue.polymarket.wire_prices import POINTS_MAX, asset_of
from polybot.venue.polymarket.wire_units import TEXT_MAX, millis, reference_units

SPOT, TWAP = "price.crypto", "price.crypto.twap"
WINDOW_S = 60
"""The only length of average there is."""
SOURCES = {SPOT: "polybolt-pyth", TWAP: f"polybolt-chainlink-twap{WINDOW_S}"}


class Answered(msgspec.Struct, frozen=True):
    """`authed` or `subscribed`; what else it may be is of no interest."""

    op: str


class Refused(msgspec.Struct, frozen=True):
    """An error, by its code: `auth_invalid`, `rate_limited` and so on."""

    code: str
    text: str


class Numbered(msgspec.Struct, frozen=True):
    """A frame's place in its channel on this connection: the next is one higher, or some were lost."""

    channel: str
    seq: int
    dropped: int


PolyBoltEvent = ReferencePriced | Answered | Refused | Numbered | Ignored | Undecodable


class BoltPoint(msgspec.Struct, gc=False):
    timestamp: int
    value: Decimal
    full_accuracy_value: str = ""


class BoltPayload(msgspec.Struct, gc=False):
    symbol: str = ""
    timestamp: int | None = None
    value: Decimal | None = None
    full_accuracy_value: str = ""
    data: list[BoltPoint] = []


class BoltMessage(msgspec.Struct, gc=False):
    op: str = ""
    channel: str = ""
    seq: int | None = None
    dropped: int = 0
    code: str = ""
    error: str = ""
    message: str = ""
    payload: BoltPayload | None = None


DECODER = msgspec.json.Decoder(BoltMessage)


def decode_polybolt(frame: bytes | str, received: Millis) -> list[PolyBoltEvent]:
    """What a frame says, prices oldest first; never raises."""
    try:
        return _events(DECODER.decode(frame), received)
    except UNREADABLE as error:
        return [Undecodable(str(error), excerpt(frame))]


def _events(message: BoltMessage, received: Millis) -> list[PolyBoltEvent]:
    if message.op == "error" or message.error or message.code:
        code = message.code or message.error or "unnamed"
        return [Refused(code[:TEXT_MAX], message.message[:200])]
    if message.payload is None:
        return [Answered(message.op)] if message.op else [Ignored("without a payload")]
    source = SOURCES.get(message.channel)
    if source is None:
        raise BadInput(f"channel {message.channel[:TEXT_MAX]!r} is not a price channel")
    events: list[PolyBoltEvent] = []
    if message.seq is not None:
        events.append(Numbered(message.channel, message.seq, message.dropped))
    return events + _prices(message.payload, source, received)


def _prices(payload: BoltPayload, source: str, received: Millis) -> list[PolyBoltEvent]:
    asset = asset_of(payload.symbol)
    if len(payload.data) > POINTS_MAX:
        raise BadInput(f"{len(payload.data)} prices in one frame, at most {POINTS_MAX}")
    points = list(payload.data)
    if payload.timestamp is not None and payload.value is not None:
        points.append(BoltPoint(payload.timestamp, payload.value, payload.full_accuracy_value))
    return [
        ReferencePriced(millis(point.timestamp), received, asset, source, reference_units(_exact(point)))
        for point in points
    ]


def _exact(point: BoltPoint) -> Decimal:
    """The full-accuracy text is plain decimals here, not an integer of 1e-18."""
    text = point.full_accuracy_value
    usable = len(text) <= 2 * TEXT_MAX and text.isascii() and text.replace(".", "", 1).isdecimal()
    return Decimal(text) if usable else point.value
