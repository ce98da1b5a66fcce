"""What is said on the two price sockets, and how it is answered (polymarket.md 4). No I/O, no clock.

RTDS needs no key and is to be removed some day; PolyBolt needs the account's API key and has the average that settles.
"""

from typing import Protocol

import msgspec

from polybot.domain.events import ReferencePriced
from polybot.domain.units import Millis
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.wire import Undecodable
from polybot.venue.polymarket.wire_polybolt import SOURCES as BOLT_SOURCES
from polybot.venue.polymarket.wire_polybolt import SPOT, TWAP, WINDOW_S, Answered, Numbered, Refused, decode_polybolt
from polybot.venue.polymarket.wire_prices import SOURCES as RTDS_SOURCES
from polybot.venue.polymarket.wire_prices import decode_prices

RTDS_URL = "wss://ws-live-data.polymarket.com"
POLYBOLT_URL = "wss://ws-live-v2.polymarket.com/ws"
RTDS_PING_S = 5.0
RTDS_TOPICS = {
    "crypto_prices": "{asset}usdt",
    "crypto_prices_chainlink": "{asset}/usd",
    "crypto_prices_twap_sixty": "{asset}/usd",
}
"""How each topic writes a symbol."""
BINANCE = "crypto_prices"
Pair = tuple[str, str]
"""An asset and a source, `BTC` and `rtds-chainlink`."""


class Said(msgspec.Struct, kw_only=True):
    """What a frame brought: prices, texts to answer with, whether it could be read, and how many frames were lost."""

    prices: list[ReferencePriced] = []
    answers: list[str] = []
    unreadable: str = ""
    lost: int = 0
    refused: str = ""
    """Why the server will not serve us: trying again soon is of no use."""


class PriceChannel(Protocol):
    """One connection's conversation. `pairs` is what should come; `ping`, unless empty, is said every `ping_s`."""

    name: str
    url: str
    ping: str
    ping_s: float

    @property
    def pairs(self) -> frozenset[Pair]: ...

    def hello(self) -> list[str]:
        """What to say on a new connection."""
        ...

    def hear(self, frame: bytes | str, received: Millis) -> Said:
        """Never raises."""
        ...


class RtdsChannel:
    """Each Chainlink topic takes one exact symbol a subscription, Binance's a list (polymarket.md 4.1)."""

    name, ping, ping_s = "rtds", "PING", RTDS_PING_S

    def __init__(self, assets: tuple[str, ...], url: str = RTDS_URL) -> None:
        self.url, self._assets = url, assets

    @property
    def pairs(self) -> frozenset[Pair]:
        return frozenset((asset, RTDS_SOURCES[topic]) for asset in self._assets for topic in RTDS_TOPICS)

    def hello(self) -> list[str]:
        symbols = [RTDS_TOPICS[BINANCE].format(asset=asset.lower()) for asset in self._assets]
        wanted = [{"topic": BINANCE, "type": "update", "filters": ",".join(symbols)}]
        for topic, form in RTDS_TOPICS.items():
            if topic != BINANCE:
                kind = "*" if topic == "crypto_prices_chainlink" else "update"
                filters = [_compact({"symbol": form.format(asset=asset.lower())}) for asset in self._assets]
                wanted += [{"topic": topic, "type": kind, "filters": text} for text in filters]
        return [_compact({"action": "subscribe", "subscriptions": wanted})]

    def hear(self, frame: bytes | str, received: Millis) -> Said:
        said = Said()
        for event in decode_prices(frame, received):
            if isinstance(event, ReferencePriced):
                said.prices.append(event)
            elif isinstance(event, Undecodable):
                said.unreadable = f"{event.reason}: {event.excerpt}"
        return said


class PolyBoltChannel:
    """First the key, then, once it is taken, the subscriptions."""

    name, ping, ping_s = "polybolt", "", 0.0

    def __init__(self, assets: tuple[str, ...], key: Credentials, url: str = POLYBOLT_URL) -> None:
        self.url, self._assets, self._key = url, assets, key
        self._seq: dict[str, int] = {}

    @property
    def pairs(self) -> frozenset[Pair]:
        return frozenset((asset, source) for asset in self._assets for source in BOLT_SOURCES.values())

    def hello(self) -> list[str]:
        self._seq = {}
        key = {"apiKey": self._key.key, "secret": self._key.secret, "passphrase": self._key.passphrase}
        return [_compact({"op": "auth", "rid": "a1", "auth": key})]

    def hear(self, frame: bytes | str, received: Millis) -> Said:
        said = Said()
        for event in decode_polybolt(frame, received):
            match event:
                case ReferencePriced():
                    said.prices.append(event)
                case Answered(op="authed"):
                    said.answers.append(self._subscriptions())
                case Refused():
                    said.refused = f"{event.code} {event.text}".strip()
                case Numbered():
                    said.lost += self._lost(event)
                case Undecodable():
                    said.unreadable = f"{event.reason}: {event.excerpt}"
                case _:
                    pass
        return said

    def _lost(self, event: Numbered) -> int:
        was = self._seq.get(event.channel)
        self._seq[event.channel] = event.seq
        return 0 if was is None else max(0, event.seq - was - 1)

    def _subscriptions(self) -> str:
        wanted: list[dict[str, object]] = []
        for asset in self._assets:
            symbol = f"{asset.lower()}usd"
            wanted.append({"channel": TWAP, "filter": {"symbol": symbol, "window_seconds": WINDOW_S}})
            wanted.append({"channel": SPOT, "filter": {"symbol": symbol}})
        return _compact({"op": "subscribe", "rid": "s1", "subscriptions": wanted})


def _compact(message: object) -> str:
    return msgspec.json.encode(message).decode()
