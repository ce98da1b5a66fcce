"""The venue's user channel: what happens to our orders and trades, while it is connected (polymarket.md 3.3).

There is no replay: whatever happened while it was away has to be read anew, and the venue is told so at every connect.
"""

import asyncio
import random
from collections.abc import Callable

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.complaint import Complaint
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.socket import TextSocket
from polybot.venue.polymarket.wire import PONG, Undecodable
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen, decode_user

RETRY_S_FIRST, RETRY_S_MAX = 0.25, 30.0
"""Between two attempts to connect: doubled, with full jitter, as the venue's own client does."""
STEADY_S = 10.0
"""A connection that held so long was a good one: the next attempt is a first one again."""
UNREADABLE_LOGGED = 20


class _Auth(msgspec.Struct, frozen=True):
    apiKey: str  # noqa: N815 - the venue's field name
    secret: str
    passphrase: str


class _Greeting(msgspec.Struct, frozen=True):
    """The whole account's news: no markets are named."""

    auth: _Auth
    type: str = "user"


class UserStream:
    """`hear` is called with every order and trade, `connected` after each connect: then everything is read anew."""

    def __init__(
        self,
        socket: TextSocket,
        credentials: Credentials,
        clock: Clock,
        hear: Callable[[OrderSeen | TradeSeen], None],
        connected: Callable[[], None],
    ) -> None:
        self._socket, self._clock, self._hear, self._connected = socket, clock, hear, connected
        auth = _Auth(credentials.key, credentials.secret, credentials.passphrase)
        self._greeting = msgspec.json.encode(_Greeting(auth)).decode()
        self._complaint = Complaint("user_stream", clock)
        self.connections = 0
        self.unreadable = 0

    @property
    def is_open(self) -> bool:
        return self._socket.is_open

    async def run(self, jitter: random.Random) -> None:
        """For ever: connect, listen, connect again."""
        retry_s = RETRY_S_FIRST
        while True:
            began_s = self._clock.monotonic()
            try:
                await self._listen()
            except (VenueUnavailable, VenueBusy) as error:
                self._complaint.tell(f"the user channel is away: {error}")
            await asyncio.sleep(retry_s * jitter.random())
            held = self._clock.monotonic() - began_s >= STEADY_S
            retry_s = RETRY_S_FIRST if held else min(2 * retry_s, RETRY_S_MAX)

    async def close(self) -> None:
        await self._socket.close()

    async def _listen(self) -> None:
        """One connection, from the first word to its end. Raises VenueUnavailable, VenueBusy.

        The PONG to a PING sent after the greeting says that the greeting was read: what is read of the account from
        then on, and what is heard, leave no gap between them.
        """
        await self._socket.connect()
        await self._socket.send(self._greeting)
        await self._socket.send("PING")
        is_seated = False
        while True:
            frame = await self._socket.receive(with_pongs=True)
            if not is_seated and frame in PONG:
                is_seated = True
                self.connections += 1
                self._complaint.over("the user channel is back")
                self._connected()
            self._read(frame)

    def _read(self, frame: bytes | str) -> None:
        for event in decode_user(frame, self._clock.now_ms()):
            if isinstance(event, OrderSeen | TradeSeen):
                self._hear(event)
            elif isinstance(event, Undecodable):
                self._doubt(event)

    def _doubt(self, what: Undecodable) -> None:
        """It may have been a fill: everything is read anew, as after a connect."""
        self.unreadable += 1
        if self.unreadable <= UNREADABLE_LOGGED:
            logger.bind(action="unreadable").warning("user channel: {}: {}", what.reason, what.excerpt)
        self._connected()
