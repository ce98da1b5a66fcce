"""Keeps one price socket alive and hands its prices on, each with its source and the source's own time.

Known of these sockets: they stop after twenty minutes and stay open, one of their topics stops while others go on, and
what is said anew after a reconnection was said before (polymarket.md 3.4). So silence ends a connection, of all or of
one that spoke before, with ever more patience; and a price that is not newer than the last is not handed on.
"""

import asyncio
import random
from collections.abc import Callable

import aiohttp
import msgspec
from loguru import logger

from polybot.circuit import growing_wait
from polybot.clock import Clock
from polybot.domain.events import ReferencePriced
from polybot.domain.units import Millis
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.price_channels import Pair, PriceChannel, Said
from polybot.venue.polymarket.socket import GONE
from polybot.venue.polymarket.stream import Tap

FRAME_MAX = 4 << 20
FUTURE_MS_MAX = 2_000
"""A price dated further ahead of our clock is not taken: nothing true would be newer."""
UNREADABLE_LOGGED = 20
DRAINING, UNWANTED = 4003, frozenset((4001, 4008))
"""Close codes (polymarket.md 4.2): come again within ten seconds; our key or our manners are not accepted."""
DRAINING_S = 10.0
DOUBLINGS_MAX = 6


class PriceTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A connection is made anew after `silence_s` without any price; after `stopped_s` without one of a source
    that spoke before, doubled each time that was in vain.
    """

    silence_s: float = 15.0
    stopped_s: float = 30.0
    connect_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 0.5
    look_s: float = 1.0
    retry_s_first: float = 0.5
    retry_s_max: float = 30.0
    refused_s: float = 300.0


class PriceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One socket at one moment. `ages_ms`: how old the last price of each pair is by its own date, the silent left out.

    `lost` frames by the server's numbering; `repeated` prices not newer than the last; `future` dates not taken.
    """

    name: str
    connected: bool
    ages_ms: dict[str, int]
    reconnects: int
    unreadable: int
    lost: int
    repeated: int
    future: int
    trouble: str


class _Ended(Exception):
    """The connection is over; `wait_s` None: wait as usual before the next."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class PriceSocket:
    """`run` keeps it connected and never returns; `take` is told of every new price."""

    def __init__(
        self,
        channel: PriceChannel,
        clock: Clock,
        chance: random.Random,
        terms: PriceTerms | None = None,
        *,
        tap: Tap | None = None,
    ) -> None:
        self._channel, self._clock, self._chance, self.terms = channel, clock, chance, terms or PriceTerms()
        self._tap = tap
        self.latest: dict[Pair, ReferencePriced] = {}
        self._heard_at: dict[Pair, float] = {}
        self._since = 0.0
        self._in_vain = 0
        self._stopped: Pair | None = None
        self._connected = False
        self._trouble = ""
        self._reconnects = self._unreadable = self._lost = self._repeated = self._future = 0

    def health(self) -> PriceHealth:
        now = self._clock.now_ms()
        return PriceHealth(
            name=self._channel.name,
            connected=self._connected,
            ages_ms={f"{asset} {source}": now - price.at for (asset, source), price in sorted(self.latest.items())},
            reconnects=self._reconnects,
            unreadable=self._unreadable,
            lost=self._lost,
            repeated=self._repeated,
            future=self._future,
            trouble=self._trouble,
        )

    async def run(self, take: Callable[[ReferencePriced], None]) -> None:
        failures, terms = 0, self.terms
        async with aiohttp.ClientSession() as session:
            while True:
                wait_s: float | None = None
                try:
                    await self._hold(session, take)
                except (_Ended, VenueUnavailable, TimeoutError, *GONE) as error:
                    self._trouble = str(error) or type(error).__name__
                    wait_s = error.wait_s if isinstance(error, _Ended) else None
                failures = 1 if self._heard_at else failures + 1
                self._connected = False
                self._reconnects += 1
                logger.bind(action="prices").warning("{}: {}", self._channel.name, self._trouble)
                if wait_s is None:
                    wait_s = growing_wait(failures, self._chance, first=terms.retry_s_first, most=terms.retry_s_max)
                await asyncio.sleep(wait_s)

    # -- one connection -----------------------------------------------------------------------------------------------

    async def _hold(self, session: aiohttp.ClientSession, take: Callable[[ReferencePriced], None]) -> None:
        """From beginning to end. Raises why it ended."""
        terms = self.terms
        self._heard_at, self._since = {}, self._clock.monotonic()
        async with asyncio.timeout(terms.connect_s):
            timeout = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=terms.close_s)
            socket = await session.ws_connect(self._channel.url, max_msg_size=FRAME_MAX, timeout=timeout)
        talking = asyncio.create_task(self._talk(socket), name=f"{self._channel.name}-ping")
        try:
            self._connected = True
            for text in self._channel.hello():
                await self._say(socket, text)
            await self._listen(socket, take)
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            await self._leave(socket)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, take: Callable[[ReferencePriced], None]) -> None:
        receiving: asyncio.Task[aiohttp.WSMessage] | None = None
        try:
            while True:
                receiving = receiving or asyncio.create_task(socket.receive())
                await asyncio.wait([receiving], timeout=self.terms.look_s)
                if receiving.done():
                    message, receiving = receiving.result(), None
                    await self._take_message(socket, message, take)
                self._require_speech()
        finally:
            if receiving is not None:
                receiving.cancel()
                await asyncio.wait([receiving])

    async def _take_message(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        message: aiohttp.WSMessage,
        take: Callable[[ReferencePriced], None],
    ) -> None:
        if message.type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            return
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise _closed(socket.close_code, self.terms, self._chance)
        received = self._clock.now_ms()
        if self._tap is not None:
            self._tap(self._channel.name, received, message.data)
        said = self._channel.hear(message.data, received)
        self._note(said)
        for answer in said.answers:
            await self._say(socket, answer)
        for price in said.prices:
            if self._is_news(price, received):
                take(price)

    def _note(self, said: Said) -> None:
        self._lost += said.lost
        if said.unreadable:
            self._unreadable += 1
            if self._unreadable <= UNREADABLE_LOGGED:
                logger.bind(action="unreadable").warning("{}: {}", self._channel.name, said.unreadable)
        if said.refused:
            raise _Ended(f"refused: {said.refused}", self.terms.refused_s)

    def _is_news(self, price: ReferencePriced, received: Millis) -> bool:
        pair = (price.asset, price.source)
        if pair not in self._channel.pairs:
            return False
        if price.at > received + FUTURE_MS_MAX:
            self._future += 1
            return False
        was = self.latest.get(pair)
        if was is not None and price.at <= was.at:
            self._repeated += 1
            return False
        self.latest[pair] = price
        self._heard_at[pair] = self._clock.monotonic()
        if pair == self._stopped:
            self._stopped, self._in_vain = None, 0
        return True

    def _require_speech(self) -> None:
        now, terms = self._clock.monotonic(), self.terms
        silent = now - max(self._heard_at.values(), default=self._since)
        if silent >= terms.silence_s:
            raise _Ended(f"no price for {silent:.0f} s")
        patience = terms.stopped_s * 2 ** min(self._in_vain, DOUBLINGS_MAX)
        stopped = [pair for pair, at in self._heard_at.items() if now - at >= patience]
        if stopped:
            self._in_vain += 1
            asset, source = self._stopped = min(stopped)
            raise _Ended(f"{source} of {asset} stopped, while others go on")

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """The protocol's own keep-alive, where it has one."""
        try:
            while self._channel.ping:
                await asyncio.sleep(self._channel.ping_s)
                await self._say(socket, self._channel.ping)
        except VenueUnavailable as error:
            logger.bind(action="prices").debug("{}: {}", self._channel.name, error)
            await self._leave(socket)

    async def _say(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        """Raises VenueUnavailable."""
        try:
            async with asyncio.timeout(self.terms.send_s):
                await socket.send_str(text)
        except (TimeoutError, *GONE) as error:
            raise VenueUnavailable(f"the socket takes nothing: {type(error).__name__}") from error

    async def _leave(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async with asyncio.timeout(2 * self.terms.close_s):
                await socket.close()
        except (TimeoutError, *GONE):
            logger.bind(action="prices").debug("{} was closed without a farewell", self._channel.name)


def _closed(code: int | None, terms: PriceTerms, chance: random.Random) -> _Ended:
    if code == DRAINING:
        return _Ended("the server is being replaced", chance.uniform(0.0, DRAINING_S))
    return _Ended(f"closed (code {code})", terms.refused_s if code in UNWANTED else None)
