"""What a feed says to its floors: market events with their numbers, so that every floor knows what it has missed."""

import msgspec

from polybot.domain.events import MarketEvent, MarketListed, MarketResolved
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis


class Spoken(msgspec.Struct, frozen=True, array_like=True):
    """`events` number `first` and following of the feed that began at `epoch`; none: a sign of life."""

    epoch: Millis
    first: int
    events: list[MarketEvent]


class SpokenRaw(msgspec.Struct, frozen=True, array_like=True):
    """The same with the events encoded already: a book takes the lists of its snapshot over."""

    epoch: Millis
    first: int
    events: list[msgspec.Raw]


class CatalogPage(msgspec.Struct, frozen=True, array_like=True):
    """Every window the feed remembers, in order of start, each followed by its result where it has one."""

    epoch: Millis
    entries: list[MarketListed | MarketResolved]


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A floor wants these markets' books anew."""

    markets: list[MarketId]


ENCODER = msgspec.msgpack.Encoder()
SPOKEN_DECODER = msgspec.msgpack.Decoder(Spoken)
CATALOG_DECODER = msgspec.msgpack.Decoder(CatalogPage)
ASKED_DECODER = msgspec.msgpack.Decoder(Asked)
