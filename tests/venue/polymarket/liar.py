"""A market socket on this machine that speaks the venue's protocol (polymarket.md 3.1) and can be told to lie."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from polybot.clock import SystemClock
from polybot.domain.events import MarketListed, MarketResolved
from polybot.domain.ids import TokenId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.prices import PriceSocket
from polybot.venue.polymarket.socket import SocketTerms
from polybot.venue.polymarket.stream import MarketStream
from tests.facts import START, a_market

UP, DOWN = TokenId("1075"), TokenId("2086")
BEGAN = SystemClock().monotonic()
HASTY = SocketTerms(ping_s=0.05, pong_s=0.3, connect_s=2.0, send_s=0.3, close_s=0.05)


def served(number: int = 0) -> Market:
    tokens = (TokenId(f"{UP}{number % 10}"), TokenId(f"{DOWN}{number % 10}"))
    return msgspec.structs.replace(a_market(number), tokens=tokens)


def book(token: str, at: int, bid: str = "0.50", ask: str = "0.52") -> dict[str, Any]:
    return {
        "event_type": "book", "market": "0x747d", "asset_id": token, "timestamp": str(at), "hash": "0xabc123",
        "bids": [{"price": "0.08", "size": "33343.4"}, {"price": bid, "size": "100"}],
        "asks": [{"price": "0.99", "size": "218442.27"}, {"price": ask, "size": "120"}],
    }  # fmt: skip


def change(token: str, at: int, price: str, size: str, top: tuple[str, str], side: str = "BUY") -> dict[str, Any]:
    entry = {"asset_id": token, "price": price, "size": size, "side": side, "hash": "56621a", "best_bid": top[0],
             "best_ask": top[1]}  # fmt: skip
    return {"event_type": "price_change", "market": "0x747d", "timestamp": str(at), "price_changes": [entry]}


class WindowClock:
    """The machine's time, moved to a minute into the first window."""

    def now_ms(self) -> Millis:
        return Millis(START + 60_000 + int((self.monotonic() - BEGAN) * 1000))

    def monotonic(self) -> float:
        return SystemClock().monotonic()


class LyingVenue:
    """`heard` is every text frame of a client; subscriptions are answered while `answers`, PINGs while `pongs`."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.connections: list[web.WebSocketResponse] = []
        self.answers = self.pongs = self.reads = True
        self.refuses: int | None = None
        self.snapshot: Callable[[str], dict[str, Any]] = lambda token: book(token, WindowClock().now_ms())
        self.url = ""
        self.first = 0
        """The number of the first of the three windows in the catalogue."""

    async def attend(self, request: web.Request) -> web.StreamResponse:
        if self.refuses is not None:
            return web.Response(status=self.refuses)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections.append(socket)
        if not self.reads:
            assert request.transport is not None
            request.transport.pause_reading()  # half open: nothing is read any more
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._answer(socket, message.data)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, text: str) -> None:
        self.heard.append(text)
        if text == "PING":
            if self.pongs:
                await socket.send_str("PONG")
            return
        asked = json.loads(text)
        if self.answers and asked.get("operation") != "unsubscribe":
            await socket.send_str(json.dumps([self.snapshot(token) for token in asked["assets_ids"]]))

    @property
    def subscriptions(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.heard if text != "PING"]

    @property
    def socket(self) -> web.WebSocketResponse:
        return self.connections[-1]

    async def say(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            await self.socket.send_str(json.dumps(message))

    def cut(self) -> None:
        """The connection breaks without a farewell."""
        transport = self.socket._req.transport if self.socket._req is not None else None
        assert transport is not None
        transport.abort()

    def write(self, raw: bytes) -> None:
        """Bytes past the protocol."""
        transport = self.socket._req.transport if self.socket._req is not None else None
        assert transport is not None
        transport.write(raw)

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        now = WindowClock().now_ms()
        return [MarketListed(now, now, served(n)) for n in range(self.first, self.first + 3)]


@asynccontextmanager
async def lying_venue() -> AsyncIterator[LyingVenue]:
    venue = LyingVenue()
    app = web.Application()
    app.router.add_get("/ws/market", venue.attend)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    venue.url = f"http://127.0.0.1:{port}/ws/market"
    try:
        yield venue
    finally:
        await runner.cleanup()


def feed_of(
    venue: LyingVenue, terms: SocketTerms = HASTY, *, sockets: int = 1, prices: Sequence[PriceSocket] = ()
) -> LiveFeed:
    streams = [MarketStream(venue.url, WindowClock(), terms) for _ in range(sockets)]
    return LiveFeed(venue.catalog, streams, WindowClock(), random.Random(5), prices=prices)


@asynccontextmanager
async def streaming(venue: LyingVenue, terms: SocketTerms = HASTY, *, follow: int = 1) -> AsyncIterator[LiveFeed]:
    """A feed of one socket that is connected and follows so many markets, its snapshots not yet read."""
    stream = feed_of(venue, terms)
    try:
        await stream.connect()
        await stream.catalog(Millis(0), Millis(0))
        await stream.follow({served(n).id for n in range(follow)})
        yield stream
    finally:
        await stream.close()


async def soon(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
