"""Puts live market data together from its parts: which hosts, which series, how many sockets, which prices."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec

from polybot.clock import Clock
from polybot.domain.events import Severity
from polybot.domain.ids import MarketId
from polybot.domain.markets import MarketState
from polybot.venue.polymarket.book_check import BookCheck, CheckTerms
from polybot.venue.polymarket.catalog import Catalog, CatalogPlan
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.price_channels import (
    POLYBOLT_URL,
    RTDS_URL,
    PolyBoltChannel,
    PriceChannel,
    RtdsChannel,
)
from polybot.venue.polymarket.prices import PriceSocket, PriceTerms
from polybot.venue.polymarket.rest import Rest
from polybot.venue.polymarket.socket import SocketTerms
from polybot.venue.polymarket.stream import MARKET_URL, MarketStream, Tap

GAMMA_URL = "https://gamma-api.polymarket.com"
CLOB_URL = "https://clob.polymarket.com"
SOCKETS_MAX = 2
NOTES_S = 0.5
Note = Callable[[Severity, str, str], Awaitable[None]]
"""Tells people: how bad, which part, in words."""


class DataHosts(msgspec.Struct, frozen=True, kw_only=True):
    """Where public data comes from (polymarket.md 1.5); the loopback exchange is another set of these. "": not used."""

    gamma: str = GAMMA_URL
    clob: str = CLOB_URL
    market: str = MARKET_URL
    rtds: str = RTDS_URL
    polybolt: str = POLYBOLT_URL


class DataTerms(msgspec.Struct, frozen=True, kw_only=True):
    """`sockets` is 1 or 2. `check_s` 0: the REST books are not compared. `price_key` None: without PolyBolt."""

    hosts: DataHosts = DataHosts()
    catalog: CatalogPlan = CatalogPlan()
    sockets: int = 1
    check_s: float = 30.0
    price_key: Credentials | None = None
    stream: SocketTerms = SocketTerms()
    prices: PriceTerms = PriceTerms()


class LiveData(msgspec.Struct, frozen=True):
    """The feed, and the catalogue in it. Closed with the feed."""

    feed: LiveFeed
    catalog: Catalog

    async def tell_notes(self, note: Note) -> None:
        """For ever, beside the feed: what the catalogue finds that people should know of."""
        while True:
            for found in self.catalog.take_notes():
                await note(found.severity, "catalog", found.text)
            await asyncio.sleep(NOTES_S)


def live_data(
    terms: DataTerms,
    clock: Clock,
    chance: random.Random,
    books: Callable[[MarketId], MarketState | None],
    tap: Tap | None = None,
) -> LiveData:
    """`books` are the floor's, for the REST check; `tap` is told of every frame. Nothing is connected yet.

    Raises BadInput for a series that has no known names.
    """
    hosts = terms.hosts

    def rest(name: str, base: str) -> Rest:
        return Rest(base, tap=None if tap is None else lambda body: tap(name, clock.now_ms(), body))

    catalog = Catalog(rest("gamma", hosts.gamma), rest("clob", hosts.clob), clock, terms.catalog)
    count = max(1, min(terms.sockets, SOCKETS_MAX))
    sockets = [MarketStream(hosts.market, clock, terms.stream, tap=tap) for _ in range(count)]
    prices = [PriceSocket(channel, clock, chance, terms.prices, tap=tap) for channel in _channels(terms)]
    check = None
    if terms.check_s:
        check = BookCheck(rest("books", hosts.clob), books, clock, CheckTerms(every_s=terms.check_s))
    feed = LiveFeed(catalog, sockets, clock, chance, prices=prices, check=check, at_close=catalog.close)
    return LiveData(feed, catalog)


def _channels(terms: DataTerms) -> list[PriceChannel]:
    assets = tuple(dict.fromkeys(series.partition("-")[0].upper() for series in terms.catalog.series))
    channels: list[PriceChannel] = []
    if terms.hosts.rtds:
        channels.append(RtdsChannel(assets, terms.hosts.rtds))
    if terms.hosts.polybolt and terms.price_key is not None:
        channels.append(PolyBoltChannel(assets, terms.price_key, terms.hosts.polybolt))
    return channels
