"""One text websocket of the venue: connect, send, receive, PING every 10 s (polymarket.md 3.1, 3.3).

A PONG that stays away for 30 s ends the connection. Nothing is subscribed and nothing understood here.
"""

import asyncio

import aiohttp
import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.wire import FRAME_MAX, PONG

BUSY_STATUS = frozenset((425, 429, 503))
GONE = (aiohttp.ClientError, OSError, RuntimeError)
"""RuntimeError: aiohttp's word for sending on a connection that is closing."""


class SocketTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `pong_s` is how long the server may leave PINGs unanswered; the venue's own client allows 30."""

    ping_s: float = 10.0
    pong_s: float = 30.0
    connect_s: float = 10.0
    send_s: float = 5.0
    close_s: float = 0.5


class TextSocket:
    """One connection at a time; `connect` makes the next. `name` is for logs and errors."""

    def __init__(self, url: str, name: str, clock: Clock, terms: SocketTerms | None = None) -> None:
        self._url, self._name, self._clock, self.terms = url, name, clock, terms or SocketTerms()
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._pong_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._socket is not None and not self._socket.closed

    async def connect(self) -> None:
        """Hang up and connect anew. Raises VenueUnavailable, VenueBusy."""
        await self.hang_up()
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(self.terms.connect_s):
                timeout = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=self.terms.close_s)
                self._socket = await self._session.ws_connect(self._url, max_msg_size=FRAME_MAX, timeout=timeout)
        except aiohttp.WSServerHandshakeError as error:
            refused = VenueBusy if error.status in BUSY_STATUS else VenueUnavailable
            raise refused(f"the {self._name} socket was refused with {error.status}") from error
        except TimeoutError as error:
            raise VenueUnavailable(f"no {self._name} socket within {self.terms.connect_s:g} s") from error
        except GONE as error:
            raise VenueUnavailable(f"no {self._name} socket: {error}") from error
        self._pong_at = self._clock.monotonic()
        self._pinging = asyncio.create_task(self._ping(self._socket), name=f"{self._name}-socket-ping")

    async def send(self, text: str) -> None:
        """Raises VenueUnavailable where the connection is gone, or so full that nobody can be reading it."""
        socket = self._require()
        try:
            async with asyncio.timeout(self.terms.send_s):
                await socket.send_str(text)
        except TimeoutError as error:
            raise VenueUnavailable(f"the {self._name} socket took nothing for {self.terms.send_s:g} s") from error
        except GONE as error:
            raise VenueUnavailable(f"the {self._name} socket is gone: {error}") from error

    async def receive(self, *, with_pongs: bool = False) -> bytes | str:
        """The next frame, PONGs only if asked for. Waits for ever on a silent socket; VenueUnavailable when gone."""
        while True:
            socket = self._require()
            message = await socket.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                frame: bytes | str = message.data
                is_pong = frame in PONG
                if is_pong:
                    self._pong_at = self._clock.monotonic()
                if with_pongs or not is_pong:
                    return frame
            elif message.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                broke = message.type is aiohttp.WSMsgType.ERROR
                reason = f"broke: {message.data}" if broke else f"was closed (code {socket.close_code})"
                raise VenueUnavailable(f"the {self._name} socket {reason}")

    async def hang_up(self) -> None:
        socket, self._socket = self._socket, None
        pinging, self._pinging = self._pinging, None
        if pinging is not None:
            pinging.cancel()
        if socket is not None:
            await self._close(socket)

    async def close(self) -> None:
        await self.hang_up()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while not socket.closed:
            await asyncio.sleep(self.terms.ping_s)
            unanswered_s = self._clock.monotonic() - self._pong_at
            try:
                if unanswered_s <= self.terms.pong_s:
                    await self.send("PING")
                    continue
                reason = f"no PONG for {unanswered_s:.0f} s"
            except VenueUnavailable as error:
                reason = str(error)
            logger.bind(action="hang_up").warning("the {} socket is hung up: {}", self._name, reason)
            await self._close(socket)  # `receive` then finds it closed

    def _require(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None or self._socket.closed:
            raise VenueUnavailable(f"the {self._name} socket is not connected")
        return self._socket

    async def _close(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """With a farewell where the server listens to it; one that reads nothing is left without."""
        try:
            async with asyncio.timeout(2 * self.terms.close_s):
                await socket.close()
        except (TimeoutError, *GONE):
            logger.bind(action="hang_up").debug("the {} socket was closed without a farewell", self._name)
