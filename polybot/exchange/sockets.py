"""The CLOB's two websockets: the market channel and the user channel (polymarket.md 3).

Text PING is answered with text PONG. A connection that does not read loses nothing silently: its queue is bounded, and
when it is full the connection is closed. A frozen channel stays open, answers PING, and says nothing (3.4).
"""

import asyncio
import contextlib
from collections.abc import Iterable

import msgspec
from aiohttp import WSMsgType, web

from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Outcome
from polybot.exchange import wire
from polybot.exchange.clob_account import parts_of
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.entrance import outcome_of
from polybot.exchange.core.model import OwnerKey
from polybot.exchange.core.news import (
    BookShown,
    LevelsShown,
    MarketOpened,
    MarketSettled,
    News,
    OrderChanged,
    TickMoved,
    TopMoved,
    TradeChanged,
    TradeShown,
)
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.exchange import Exchange
from polybot.exchange.keys import Credentials

QUEUE_MAX = 10_000
FRAME_MAX = 1 << 20
CLOSE_S = 0.5
BOTH = (Outcome.UP, Outcome.DOWN)


class Connection:
    """One client. `send` never waits: a writer empties the queue."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self._request = socket, request
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_MAX)

    def send(self, frame: str) -> None:
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """Cut the connection without a word, as a bad network does."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self.socket.send_str(await self._queue.get())


class Channel:
    """What both channels share: connections, PING, frames in, frames out."""

    name = ""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.connections: set[Connection] = set()
        exchange.listeners.append(self._hear)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=FRAME_MAX, timeout=CLOSE_S)
        await socket.prepare(request)
        connection = Connection(socket, request)
        self.connections.add(connection)
        writer = asyncio.create_task(connection.write(), name=f"{self.name}-socket-writer")
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                if message.data == "PING":
                    connection.send("PONG")
                elif not self.read(connection, message.data):
                    break
        finally:
            self.connections.discard(connection)
            self.forget(connection)
            writer.cancel()
            await socket.close()
        return socket

    async def close(self, _: web.Application) -> None:
        for connection in list(self.connections):
            await connection.socket.close(code=1001)

    def drop_all(self) -> int:
        """Cut every connection; how many there were."""
        dropped = list(self.connections)
        for connection in dropped:
            connection.drop()
        return len(dropped)

    def _hear(self, news: News) -> None:
        if self.connections and self.name not in self.exchange.faults.frozen:
            self.hear(news)

    def read(self, connection: Connection, text: str) -> bool:
        """Take a frame in; False ends the connection."""
        raise NotImplementedError

    def hear(self, news: News) -> None:
        raise NotImplementedError

    def forget(self, connection: Connection) -> None:
        raise NotImplementedError


# -- market channel ---------------------------------------------------------------------------------------------------


class MarketFrame(msgspec.Struct):
    assets_ids: list[TokenId] = []
    type: str = ""
    operation: str = ""
    custom_feature_enabled: bool | None = None
    initial_dump: bool = True


class MarketSocket(Channel):
    """Books, changes and trades of the tokens asked for; with the custom feature also tops, listings, resolutions."""

    name = "market"

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._subscribers: dict[TokenId, dict[Connection, None]] = {}
        self._custom: dict[Connection, None] = {}

    def read(self, connection: Connection, text: str) -> bool:
        try:
            frame = msgspec.json.decode(text, type=MarketFrame)
        except msgspec.DecodeError:
            connection.send("INVALID OPERATION")
            return True
        if frame.custom_feature_enabled is not None and frame.operation != "unsubscribe":
            self._custom.pop(connection, None)
            if frame.custom_feature_enabled:
                self._custom[connection] = None
        if frame.operation == "unsubscribe":
            for token in frame.assets_ids:
                self._subscribers.get(token, {}).pop(connection, None)
        else:
            self._subscribe(connection, frame)
        return True

    def _subscribe(self, connection: Connection, frame: MarketFrame) -> None:
        """New tokens are answered with their books in one array; those subscribed already with nothing."""
        fresh = [t for t in dict.fromkeys(frame.assets_ids) if connection not in self._subscribers.get(t, {})]
        for token in fresh:
            self._subscribers.setdefault(token, {})[connection] = None
        books = [self._book(token) for token in fresh] if frame.initial_dump else []
        shown = [book for book in books if book is not None]
        if shown and self.name not in self.exchange.faults.frozen:
            connection.send(encode(shown))

    def _book(self, token: TokenId) -> wire.Json | None:
        engine = self.exchange.engine
        board = engine.board_of_token(token)
        if board is None or board.payout_up is not None:
            return None
        return wire.book_frame(engine, board, outcome_of(board.listing, token))

    def forget(self, connection: Connection) -> None:
        self._custom.pop(connection, None)
        for subscribers in self._subscribers.values():
            subscribers.pop(connection, None)

    def hear(self, news: News) -> None:
        if isinstance(news, MarketOpened):  # not filtered by tokens (polymarket.md 3.1)
            self._send(self._custom, wire.new_market_frame(news.listing, news.at))
        elif isinstance(news, BookShown | LevelsShown | TopMoved | TradeShown | TickMoved | MarketSettled):
            board = self.exchange.engine.find_board(news.market)
            if board is None:
                return
            is_custom = isinstance(news, TopMoved | MarketSettled)
            for outcomes, frame in market_frames(self.exchange.engine, board, news):
                self._send(self._hearers(board, outcomes, is_custom=is_custom), frame)

    def _hearers(self, board: MarketBoard, outcomes: Iterable[Outcome], *, is_custom: bool) -> dict[Connection, None]:
        """Everybody who follows one of the outcomes, once, in the order of their coming."""
        hearers: dict[Connection, None] = {}
        for outcome in outcomes:
            hearers.update(self._subscribers.get(board.listing.tokens[outcome], {}))
        return {connection: None for connection in hearers if connection in self._custom} if is_custom else hearers

    def _send(self, hearers: Iterable[Connection], frame: wire.Json) -> None:
        text = encode(frame)
        for connection in hearers:
            connection.send(text)


MarketNews = BookShown | LevelsShown | TopMoved | TradeShown | TickMoved | MarketSettled


def market_frames(engine: Engine, board: MarketBoard, news: MarketNews) -> list[tuple[tuple[Outcome, ...], wire.Json]]:
    """The frames one piece of news makes, each with the outcomes whose subscribers get it."""
    match news:
        case BookShown():
            return [((outcome,), wire.book_frame(engine, board, outcome)) for outcome in news.outcomes]
        case LevelsShown():
            return [(news.outcomes, wire.price_change_frame(board, news))]
        case TradeShown():
            return [((news.outcome,), wire.last_trade_frame(board, news))]
        case TickMoved():
            return [((outcome,), wire.tick_frame(board, news, outcome)) for outcome in BOTH]
        case TopMoved():
            return [((outcome,), wire.best_bid_ask_frame(board, news, outcome)) for outcome in BOTH]
        case MarketSettled():
            return [(BOTH, wire.resolved_frame(board, news))]


# -- user channel -----------------------------------------------------------------------------------------------------


class UserAuth(msgspec.Struct):
    api_key: str = msgspec.field(name="apiKey")
    secret: str
    passphrase: str


class UserFrame(msgspec.Struct):
    type: str = ""
    auth: UserAuth | None = None
    operation: str = ""
    markets: list[ConditionId] | None = None


class UserSeat(msgspec.Struct):
    """Whose connection it is, and which markets it follows: None for the whole account."""

    key: Credentials
    markets: set[str] | None


class UserSocket(Channel):
    """A key's own orders and trades. The first frame must carry the credentials, or the connection is ended."""

    name = "user"

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._seats: dict[Connection, UserSeat] = {}

    def read(self, connection: Connection, text: str) -> bool:
        try:
            frame = msgspec.json.decode(text, type=UserFrame)
        except msgspec.DecodeError:
            return connection in self._seats
        seat = self._seats.get(connection)
        if seat is None:
            return self._seat(connection, frame)
        markets = set(frame.markets or [])
        if frame.operation == "subscribe" and seat.markets is not None:
            seat.markets |= markets
        elif frame.operation == "unsubscribe" and seat.markets is not None:
            seat.markets -= markets
        return True

    def _seat(self, connection: Connection, frame: UserFrame) -> bool:
        auth = frame.auth
        key = None if auth is None else self.exchange.keys.check_plain(auth.api_key, auth.secret, auth.passphrase)
        if key is None:
            return False
        markets = None if frame.markets is None else set(frame.markets)
        self._seats[connection] = UserSeat(key, set(markets) if markets is not None else None)
        return True

    def forget(self, connection: Connection) -> None:
        self._seats.pop(connection, None)

    def hear(self, news: News) -> None:
        if not isinstance(news, OrderChanged | TradeChanged):
            return
        subject = news.order if isinstance(news, OrderChanged) else news.trade
        board = self.exchange.engine.find_board(subject.market)
        if board is None:
            return
        for connection, seat in self._seats.items():
            if _follows(seat, board.listing.market.condition_id):
                for frame in user_frames(news, seat.key.api_key, board.listing.outcomes):
                    connection.send(encode(frame))


def user_frames(news: OrderChanged | TradeChanged, owner: OwnerKey, outcomes: tuple[str, str]) -> list[wire.Json]:
    """What a key hears of a piece of news: nothing, its own order, or its part of a trade (both, if it met itself)."""
    if isinstance(news, OrderChanged):
        is_ours = news.order.owner == owner
        return [wire.order_frame(news.order, news.kind, news.at, outcomes)] if is_ours else []
    return [
        wire.trade_frame(news.trade, who, news.at, outcomes, is_taker=is_taker)
        for who, is_taker in parts_of(news.trade, {owner})
    ]


def _follows(seat: UserSeat, condition: ConditionId) -> bool:
    return seat.markets is None or condition in seat.markets


def encode(value: wire.Json | list[wire.Json]) -> str:
    return msgspec.json.encode(value).decode()
