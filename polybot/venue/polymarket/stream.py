"""The venue's market channel over a real websocket (polymarket.md 3.1): a `MarketFeed`.

What the protocol asks: one subscription message after connecting, further ones by `operation`, text PING every 10 s.
What experience asks besides: a PONG that stays away for 30 s ends the connection; a frame that cannot be read may have
been a change we miss, so every book is doubted until its next snapshot, and nothing is ever raised for a frame.

The catalogue is a callable here: Gamma's listing is read elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Set

import aiohttp
import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, SnapshotRequested
from polybot.domain.ids import MarketId, TokenId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.wire import FRAME_MAX, MarketDecoder, Pong, Tokens, Undecodable

MARKET_URL = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
Catalog = Callable[[Millis, Millis], Awaitable[list[MarketListed | MarketResolved]]]
BUSY_STATUS = frozenset((425, 429, 503))
UNREADABLE_LOGGED = 20
GONE = (aiohttp.ClientError, OSError, RuntimeError)
"""RuntimeError: aiohttp's word for sending on a connection that is closing."""


class StreamTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `pong_s` is how long the server may leave PINGs unanswered; the venue's own client allows 30."""

    ping_s: float = 10.0
    pong_s: float = 30.0
    connect_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 0.5


class MarketStream:
    """One connection at a time; `connect` makes the next. `unreadable` counts the frames that were no messages."""

    def __init__(self, url: str, catalog: Catalog, clock: Clock, terms: StreamTerms | None = None) -> None:
        self._url, self._catalog, self._clock, self.terms = url, catalog, clock, terms or StreamTerms()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._pong_at = 0.0
        self._markets: dict[MarketId, Market] = {}
        self._wanted: frozenset[MarketId] = frozenset()
        self._subscribed: dict[MarketId, tuple[TokenId, ...]] = {}
        self._is_greeted = False
        self._decoder = MarketDecoder(Tokens())
        self._ready: deque[MarketEvent] = deque()
        self.unreadable = 0

    # -- the protocol -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        await self._hang_up()
        terms = self.terms
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(terms.connect_s):
                self._socket = await self._session.ws_connect(
                    self._url,
                    max_msg_size=FRAME_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_receive=None, ws_close=terms.close_s),
                )
        except aiohttp.WSServerHandshakeError as error:
            refused = VenueBusy if error.status in BUSY_STATUS else VenueUnavailable
            raise refused(f"the market socket was refused with {error.status}") from error
        except TimeoutError as error:
            raise VenueUnavailable(f"no market socket within {terms.connect_s:g} s") from error
        except GONE as error:
            raise VenueUnavailable(f"no market socket: {error}") from error
        self._pong_at = self._clock.monotonic()
        self._pinging = asyncio.create_task(self._ping(self._socket), name="market-socket-ping")

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        entries = await self._catalog(since, until)
        for entry in entries:
            if isinstance(entry, MarketListed) and entry.market.tokens is not None:
                self._markets[entry.market.id] = entry.market
        if self._socket is not None:
            await self._subscribe(self._wanted)  # a market may be wanted before its tokens are known
        return entries

    async def follow(self, markets: Set[MarketId]) -> None:
        self._require_socket()
        self._wanted = frozenset(markets)
        left = sorted(self._subscribed.keys() - markets)
        if left:
            await self._unsubscribe(left)
        await self._subscribe(markets)
        self._markets = {name: market for name, market in self._markets.items() if self._is_recent(market)}

    async def refresh(self, market: MarketId) -> None:
        self._require_socket()
        tokens = self._subscribed.get(market)
        if tokens is not None:  # its frames are read all the while: what is lost between the two, the snapshot has
            await self._send(_Subscription(tokens, operation="unsubscribe"))
            await self._send(_Subscription(tokens, operation="subscribe", custom_feature_enabled=True))

    async def next(self) -> MarketEvent:
        while not self._ready:
            socket = self._require_socket()
            message = await socket.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                self._read(message.data)
            elif message.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                raise VenueUnavailable(_ending(socket, message))
        return self._ready.popleft()

    async def close(self) -> None:
        await self._hang_up()
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- frames -------------------------------------------------------------------------------------------------------

    def _read(self, frame: bytes | str) -> None:
        received = self._clock.now_ms()
        for event in self._decoder.decode(frame, received):
            if isinstance(event, MarketEvent):
                self._ready.append(event)
            elif isinstance(event, Pong):
                self._pong_at = self._clock.monotonic()
            elif isinstance(event, Undecodable):
                self._doubt(event, received)

    def _doubt(self, what: Undecodable, received: Millis) -> None:
        """A change may be lost with it, in any book: none counts before its next snapshot."""
        if _is_none_of_ours(what):
            return
        self.unreadable += 1
        if self.unreadable <= UNREADABLE_LOGGED:
            logger.bind(action="unreadable").warning("{}: {}", what.reason, what.excerpt)
        if self._subscribed:
            self._ready.append(SnapshotRequested(received, received, sorted(self._subscribed)))

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

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _send(self, message: "_Subscription") -> None:
        await self._send_text(msgspec.json.encode(message).decode())

    async def _send_text(self, text: str) -> None:
        """Raises VenueUnavailable where the connection is gone, or so full that nobody can be reading it."""
        socket = self._require_socket()
        try:
            async with asyncio.timeout(self.terms.send_s):
                await socket.send_str(text)
        except TimeoutError as error:
            raise VenueUnavailable(f"the market socket took nothing for {self.terms.send_s:g} s") from error
        except GONE as error:
            raise VenueUnavailable(f"the market socket is gone: {error}") from error

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        terms = self.terms
        while not socket.closed:
            await asyncio.sleep(terms.ping_s)
            unanswered_s = self._clock.monotonic() - self._pong_at
            try:
                if unanswered_s <= terms.pong_s:
                    await self._send_text("PING")
                    continue
                reason = f"no PONG for {unanswered_s:.0f} s"
            except VenueUnavailable as error:
                reason = str(error)
            logger.bind(action="hang_up").warning("the market socket is hung up: {}", reason)
            await self._close_socket(socket)  # `next` then finds it closed

    def _require_socket(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None or self._socket.closed:
            raise VenueUnavailable("the market socket is not connected")
        return self._socket

    async def _hang_up(self) -> None:
        socket, self._socket = self._socket, None
        pinging, self._pinging = self._pinging, None
        self._subscribed.clear()
        self._is_greeted = False
        self._ready.clear()
        self._decoder.tokens = Tokens()
        if pinging is not None:
            pinging.cancel()
        if socket is not None:
            await self._close_socket(socket)

    async def _close_socket(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """With a farewell where the server listens to it; one that reads nothing is left without."""
        try:
            async with asyncio.timeout(2 * self.terms.close_s):
                await socket.close()
        except (TimeoutError, *GONE):
            logger.bind(action="hang_up").debug("the market socket was closed without a farewell")


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


def _ending(socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.ERROR:
        return f"the market socket broke: {message.data}"
    return f"the market socket was closed (code {socket.close_code})"
