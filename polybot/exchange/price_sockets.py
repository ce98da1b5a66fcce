"""RTDS and PolyBolt over real websockets (polymarket.md 4): who is subscribed to what, and what each is sent.

A subscriber has a bounded queue. What finds it full is lost, as with the venue; PolyBolt says how much.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import WSMsgType, web

from polybot.domain.units import Millis
from polybot.exchange import price_frames as frames
from polybot.exchange.exchange import Exchange
from polybot.exchange.price_desk import PriceDesk, PricePoint

QUEUE_MAX = 1_000
FRAME_MAX = 65_536
SUBSCRIPTIONS_MAX = 64
AUTH_FRAMES_MAX = 8
SUBSCRIBE_FRAMES_A_SECOND = 20
PING_S = 25.0
SLOW, AUTH_FAILED, POLICY, DRAINING = 4002, 4001, 4008, 4003


class RtdsTopic(msgspec.Struct):
    topic: str
    type: str = ""
    filters: str = ""


class RtdsRequest(msgspec.Struct):
    action: str
    subscriptions: list[RtdsTopic] = []


class SymbolFilter(msgspec.Struct):
    symbol: str = ""


class BoltKeys(msgspec.Struct, rename="camel"):
    api_key: str = ""
    secret: str = ""
    passphrase: str = ""


class BoltFilter(msgspec.Struct):
    symbol: str
    window_seconds: int | None = None


class BoltTopic(msgspec.Struct):
    channel: str
    filter: BoltFilter


class BoltRequest(msgspec.Struct):
    op: str
    rid: str = ""
    auth: BoltKeys | None = None
    subscriptions: list[BoltTopic] = []


class Subscriber:
    """One connection: what it wants, (topic or channel, asset), and what is still to be sent."""

    def __init__(self, socket: web.WebSocketResponse, number: int) -> None:
        self.socket, self.name = socket, f"loopback-{number}="
        self.wants: set[tuple[str, str]] = set()
        self.sequences: dict[str, int] = {}
        self.dropped = 0
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MAX)

    def send(self, frame: bytes) -> bool:
        """Whether there was room."""
        if self._queue.full():
            self.dropped += 1
            return False
        self._queue.put_nowait(frame)
        return True

    def next_sequence(self, channel: str) -> int:
        self.sequences[channel] = self.sequences.get(channel, 0) + 1
        return self.sequences[channel]

    async def write(self) -> None:
        """Until the connection is gone."""
        while True:
            frame = await self._queue.get()
            try:
                await self.socket.send_str(frame.decode())
            except (ConnectionError, RuntimeError):
                return


class PriceSockets:
    """All connections of both kinds. While a kind is in `faults.frozen` its sockets are open, and nothing comes."""

    def __init__(self, desks: Mapping[str, PriceDesk], exchange: Exchange) -> None:
        self._desks, self._exchange = desks, exchange
        self._rtds: set[Subscriber] = set()
        self._bolt: set[Subscriber] = set()
        self._number = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/rtds", self._serve_rtds), web.get("/polybolt/ws", self._serve_bolt)]

    def publish(self, asset: str, points: Iterable[PricePoint], now: Millis) -> None:
        """Tell every subscriber of the asset."""
        frozen = self._exchange.faults.frozen
        for point in points:
            if "rtds" not in frozen:
                self._publish_rtds(asset, point, now)
            if "polybolt" not in frozen:
                self._publish_bolt(asset, point)

    async def hang_up(self, code: int = DRAINING) -> None:
        """Every price socket closes: by a rehearsal's switch, or because the exchange ends."""
        for subscriber in (*self._rtds, *self._bolt):
            await subscriber.socket.close(code=code)

    # -- RTDS ---------------------------------------------------------------------------------------------------------

    def _publish_rtds(self, asset: str, point: PricePoint, now: Millis) -> None:
        for subscriber in self._rtds:
            for topic, wanted in subscriber.wants:
                if wanted == asset:
                    subscriber.send(frames.rtds_update(topic, asset, point, now, subscriber.name))

    async def _serve_rtds(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=FRAME_MAX)
        await socket.prepare(request)
        subscriber = self._subscriber(socket, self._rtds)
        writing = asyncio.create_task(subscriber.write(), name="rtds-writer")
        try:
            subscriber.send(b"")  # the venue's first frame is empty (recorded)
            async for message in socket:
                if message.type is WSMsgType.TEXT and message.data != "PING":
                    self._read_rtds(subscriber, message.data)
        finally:
            self._rtds.discard(subscriber)
            writing.cancel()
        return socket

    def _read_rtds(self, subscriber: Subscriber, text: str) -> None:
        """What is not understood is passed over, as the venue does."""
        try:
            request = msgspec.json.decode(text, type=RtdsRequest)
        except msgspec.DecodeError:
            return
        for wanted in request.subscriptions:
            for asset in self._rtds_assets(wanted):
                self._change_rtds(subscriber, request.action, wanted.topic, asset)

    def _change_rtds(self, subscriber: Subscriber, action: str, topic: str, asset: str) -> None:
        if action == "unsubscribe":
            subscriber.wants.discard((topic, asset))
        elif action == "subscribe":
            subscriber.wants.add((topic, asset))
            if topic not in frames.RTDS_TWAPS:  # averages come without a snapshot (polymarket.md 4.1)
                recent = self._desks[asset].recent
                subscriber.send(frames.rtds_snapshot(topic, asset, recent, self._exchange.now()))

    def _rtds_assets(self, wanted: RtdsTopic) -> list[str]:
        """Filters are a list of symbols for Binance, one compact JSON object for Chainlink, or nothing: all."""
        if wanted.topic not in frames.RTDS_TOPICS:
            return []
        text = wanted.filters
        if not text:
            return list(self._desks)
        try:
            symbols = [msgspec.json.decode(text, type=SymbolFilter).symbol] if text[0] == "{" else text.split(",")
        except msgspec.DecodeError:
            return []
        return [asset for asset in self._desks if frames.rtds_symbol(wanted.topic, asset) in symbols]

    # -- PolyBolt -----------------------------------------------------------------------------------------------------

    def _publish_bolt(self, asset: str, point: PricePoint) -> None:
        for subscriber in self._bolt:
            for channel, wanted in subscriber.wants:
                if wanted == asset:
                    dropped, sequence = subscriber.dropped, subscriber.next_sequence(channel)
                    if subscriber.send(frames.bolt_update(channel, asset, point, sequence, dropped)):
                        subscriber.dropped -= dropped

    async def _serve_bolt(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=FRAME_MAX, heartbeat=PING_S)
        await socket.prepare(request)
        subscriber = self._subscriber(socket, None)
        session = BoltSession(subscriber, self._desks, self._exchange)
        writing = asyncio.create_task(subscriber.write(), name="polybolt-writer")
        try:
            async for message in socket:
                code = session.read(message.data) if message.type is WSMsgType.TEXT else POLICY
                if session.is_known:
                    self._bolt.add(subscriber)
                if code:
                    await socket.close(code=code)
        finally:
            self._bolt.discard(subscriber)
            writing.cancel()
        return socket

    def _subscriber(self, socket: web.WebSocketResponse, among: set[Subscriber] | None) -> Subscriber:
        self._number += 1
        subscriber = Subscriber(socket, self._number)
        if among is not None:
            among.add(subscriber)
        return subscriber


class BoltSession:
    """What one PolyBolt connection has said. `read` returns a close code, or 0 to go on."""

    def __init__(self, subscriber: Subscriber, desks: Mapping[str, PriceDesk], exchange: Exchange) -> None:
        self._subscriber, self._desks, self._exchange = subscriber, desks, exchange
        self.is_known = False
        self._auth_frames = 0
        self._second, self._in_second = 0, 0

    def read(self, text: str) -> int:
        try:
            request = msgspec.json.decode(text, type=BoltRequest)
        except msgspec.DecodeError:
            return self._error("", "bad_op")
        match request.op:
            case "auth":
                return self._authorize(request)
            case "ping":
                return self._reply({"op": "pong", "rid": request.rid})
            case "subscribe" | "unsubscribe" if not self.is_known:
                return self._error(request.rid, "auth_required")
            case "subscribe" | "unsubscribe" if self._is_hurried():
                return self._error(request.rid, "rate_limited")
            case "subscribe" | "unsubscribe":
                for topic in request.subscriptions:
                    self._change(request, topic)
                return 0
            case _:
                return self._error(request.rid, "bad_op")

    def _authorize(self, request: BoltRequest) -> int:
        self._auth_frames += 1
        if self._auth_frames > AUTH_FRAMES_MAX:
            self._error(request.rid, "auth_attempts")
            return POLICY
        keys = request.auth or BoltKeys()
        if self._exchange.keys.check_plain(keys.api_key, keys.secret, keys.passphrase) is None:
            return self._error(request.rid, "auth_invalid")
        self.is_known = True
        return self._reply({"op": "authed", "rid": request.rid})

    def _is_hurried(self) -> bool:
        second = int(self._exchange.clock.monotonic())
        self._second, self._in_second = second, self._in_second + 1 if second == self._second else 1
        return self._in_second > SUBSCRIBE_FRAMES_A_SECOND

    def _change(self, request: BoltRequest, topic: BoltTopic) -> None:
        channel, subscriber = topic.channel, self._subscriber
        asset = next((a for a in self._desks if frames.bolt_symbol(a) == topic.filter.symbol), None)
        if channel not in frames.BOLT_CHANNELS:
            self._error(request.rid, "bad_channel", channel)
        elif asset is None or (channel == frames.BOLT_TWAP and topic.filter.window_seconds != 60):
            self._error(request.rid, "bad_filter", channel)
        elif request.op == "unsubscribe":
            subscriber.wants.discard((channel, asset))
            self._reply({"op": "unsubscribed", "channel": channel, "rid": request.rid})
        elif len(subscriber.wants | {(channel, asset)}) > SUBSCRIPTIONS_MAX:
            self._error(request.rid, "sub_limit", channel)
        else:
            subscriber.wants.add((channel, asset))
            self._reply({"op": "subscribed", "channel": channel, "rid": request.rid})
            sequence, now = subscriber.next_sequence(channel), self._exchange.now()
            subscriber.send(frames.bolt_snapshot(channel, asset, self._desks[asset].recent, sequence, now))

    def _reply(self, message: dict[str, str]) -> int:
        self._subscriber.send(msgspec.json.encode(message))
        return 0

    def _error(self, rid: str, code: str, channel: str = "") -> int:
        where = {"channel": channel} if channel else {}
        return self._reply({"op": "error", "rid": rid, "code": code, **where})
