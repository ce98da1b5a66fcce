"""One connection to the venue's market channel (polymarket.md 3.1); live_feed.py makes a `MarketFeed` of one or two.

What the protocol asks: one subscription message after connecting, further ones by `operation`. What experience asks
besides: a frame that cannot be read may have been a change we miss, so every book is doubted until its next snapshot,
and nothing is ever raised for a frame. Keeping the connection alive is socket.py's.
"""

from collections.abc import Callable, Iterable, Set

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.events import MarketEvent, SnapshotRequested
from polybot.domain.ids import MarketId, TokenId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.socket import SocketTerms, TextSocket
from polybot.venue.polymarket.wire import Ignored, MarketAnnounced, MarketDecoder, Pong, Tokens, Undecodable

MARKET_URL = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
Tap = Callable[[str, Millis, bytes | str], None]
"""Told of every frame as received: which socket, when (our clock), the frame."""
UNREADABLE_LOGGED = 20
UNIMPORTANT = frozenset((Pong, Ignored, MarketAnnounced))


class MarketStream:
    """One connection at a time; `connect` makes the next. `unreadable` counts the frames that were no messages."""

    def __init__(self, url: str, clock: Clock, terms: SocketTerms | None = None, *, tap: Tap | None = None) -> None:
        """`tap` is told of every frame, verbatim, before it is read."""
        self._socket = TextSocket(url, "market", clock, terms)
        self._clock, self._tap = clock, tap
        self._markets: dict[MarketId, Market] = {}
        self._wanted: frozenset[MarketId] = frozenset()
        self._subscribed: dict[MarketId, tuple[TokenId, ...]] = {}
        self._is_greeted = False
        self._decoder = MarketDecoder(Tokens())
        self.unreadable = 0

    # -- for the feed -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, or hang up and connect anew; nothing is subscribed then. Raises VenueUnavailable, VenueBusy."""
        self._subscribed.clear()
        self._wanted = frozenset()
        self._is_greeted = False
        self._decoder.tokens = Tokens()
        await self._socket.connect()

    async def learn(self, markets: Iterable[Market]) -> None:
        """Which tokens are whose. A market that was wanted before that is subscribed now. Raises VenueUnavailable."""
        for market in markets:
            if market.tokens is not None:
                self._markets[market.id] = market
        if self._socket.is_open:
            await self._subscribe(self._wanted)

    async def follow(self, markets: Set[MarketId]) -> None:
        self._require_open()
        self._wanted = frozenset(markets)
        left = sorted(self._subscribed.keys() - markets)
        if left:
            await self._unsubscribe(left)
        await self._subscribe(markets)
        self._markets = {name: market for name, market in self._markets.items() if self._is_recent(market)}

    async def refresh(self, market: MarketId) -> None:
        self._require_open()
        tokens = self._subscribed.get(market)
        if tokens is not None:  # its frames are read all the while: what is lost between the two, the snapshot has
            await self._send(_Subscription(tokens, operation="unsubscribe"))
            await self._send(_Subscription(tokens, operation="subscribe", custom_feature_enabled=True))

    async def read(self) -> list[MarketEvent]:
        """What the next frame says that concerns anybody; waits for one. Raises VenueUnavailable when it is gone."""
        while not (events := self._read(await self._socket.receive())):
            pass
        return events

    @property
    def is_open(self) -> bool:
        return self._socket.is_open

    async def hang_up(self) -> None:
        """End the connection, if there is one; `read` then finds it gone."""
        await self._socket.hang_up()

    async def close(self) -> None:
        await self._socket.close()

    # -- frames -------------------------------------------------------------------------------------------------------

    def _read(self, frame: bytes | str) -> list[MarketEvent]:
        received = self._clock.now_ms()
        if self._tap is not None:
            self._tap("market", received, frame)
        events: list[MarketEvent] = []
        for event in self._decoder.decode(frame, received):
            kind = type(event)
            if kind is Undecodable:
                events += self._doubt(event, received)  # type: ignore[arg-type]
            elif kind not in UNIMPORTANT:
                events.append(event)  # type: ignore[arg-type]
        return events

    def _doubt(self, what: Undecodable, received: Millis) -> list[MarketEvent]:
        """A change may be lost with it: no book it may have been about counts before its next snapshot."""
        if _is_none_of_ours(what):
            return []
        self.unreadable += 1
        if self.unreadable <= UNREADABLE_LOGGED:
            logger.bind(action="unreadable").warning("{}: {}", what.reason, what.excerpt)
        doubted = sorted(what.markets) or sorted(self._subscribed)
        return [SnapshotRequested(received, received, doubted)] if doubted else []

    # -- subscribing --------------------------------------------------------------------------------------------------

    async def _subscribe(self, markets: Iterable[MarketId]) -> None:
        fresh = [m for m in sorted(markets) if m in self._markets and m not in self._subscribed]
        if not fresh:
            return
        for market in fresh:
            self._decoder.tokens.add(self._markets[market])
            self._subscribed[market] = self._markets[market].tokens or ()
        tokens = tuple(token for market in fresh for token in self._subscribed[market])
        first, self._is_greeted = not self._is_greeted, True
        await self._send(
            _Subscription(tokens, type="market", initial_dump=True, custom_feature_enabled=True)
            if first
            else _Subscription(tokens, operation="subscribe", custom_feature_enabled=True)
        )

    async def _unsubscribe(self, markets: list[MarketId]) -> None:
        tokens: tuple[TokenId, ...] = ()
        for market in markets:
            self._decoder.tokens.remove(market)
            tokens += self._subscribed.pop(market)
        await self._send(_Subscription(tokens, operation="unsubscribe"))

    def _is_recent(self, market: Market) -> bool:
        return market.id in self._wanted or market.window_end > self._clock.now_ms()

    async def _send(self, message: "_Subscription") -> None:
        await self._socket.send(msgspec.json.encode(message).decode())

    def _require_open(self) -> None:
        if not self._socket.is_open:
            raise VenueUnavailable("the market socket is not connected")


class _Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """As documented: `type` in the first message of a connection, `operation` in every other."""

    assets_ids: tuple[TokenId, ...]
    type: str | None = None
    operation: str | None = None
    initial_dump: bool | None = None
    custom_feature_enabled: bool | None = None


def _is_none_of_ours(what: Undecodable) -> bool:
    """News of a kind we do not know, or of a market we have just left: nothing we keep can differ for it."""
    return "is not watched" in what.reason or "event_type" in what.reason
