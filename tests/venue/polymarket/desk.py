"""An order desk on this machine that says what a test tells it to: REST and user channel on real sockets."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import certifi
from aiohttp import WSMsgType, web

from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.keys import Credentials, Hosts, Keys
from polybot.venue.polymarket.live import open_account
from polybot.venue.polymarket.venue import PolymarketVenue
from tests.venue.polymarket.liar import WindowClock
from tests.venue.polymarket.orders import CONDITION, PRIVATE_KEY, SIGNER, TOKENS, market

CREDENTIALS = Credentials(key="the-key", secret="c2VjcmV0", passphrase="the-phrase")


@dataclass
class Answer:
    """What is said to a request: a status and a body, or nothing at all."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False


class Desk:
    """`sent` is every order body received, alone or in one of the `batches`; `answer` is what is said to one by itself,
    `batch_answer` to a batch."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.batch_answer: Callable[[list[dict[str, Any]]], Answer] = lambda bodies: Answer(400, {"error": "no script"})
        self.cancelled: list[str] = []
        self.beats: list[str] = []
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: Answer(400, {"error": "nothing was scripted"})
        self.cancel_answer: Callable[[str], Answer] = lambda name: Answer(200, {"canceled": [name], "not_canceled": {}})
        self.beat_answer: Callable[[str], Answer] = lambda name: Answer(200, {"heartbeat_id": f"{name}+"})
        self.orders: dict[str, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []
        self.balances: dict[str, int] = {"": 100_000_000}
        self.chain: dict[str, int] = {}
        """What the venue finds when it is asked to look at the chain again, where that is not its balance."""
        self.refreshed: list[tuple[str, str]] = []
        self.unreadable: set[str] = set()
        self.allowances = {"0xe1": str(2**255)}
        self.outage: Answer | None = None
        self.greetings: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.refuses: int | None = None
        self.geoblock: Any = {"blocked": False, "ip": "203.0.113.42", "country": "IE", "region": "L"}
        self.derived = {"apiKey": "the-key", "secret": "c2VjcmV0", "passphrase": "the-phrase"}
        self.url = ""

    # -- what the venue has -------------------------------------------------------------------------------------------

    def order(self, order_hash: str, status: str = "LIVE", matched: str = "0", **more: Any) -> dict[str, Any]:
        return {
            "id": order_hash, "status": status, "market": CONDITION, "asset_id": TOKENS[0], "owner": "the-key",
            "maker_address": SIGNER.address, "side": "BUY", "price": "0.51", "original_size": "10",
            "size_matched": matched, "outcome": "Up", "order_type": "GTC", "associate_trades": [],
            "created_at": WindowClock().now_ms() // 1000, "expiration": "0",
        } | more  # fmt: skip

    def trade(self, taker: str, status: str = "CONFIRMED", size: str = "10", **more: Any) -> dict[str, Any]:
        at = str(WindowClock().now_ms() // 1000)
        maker = {
            "order_id": "0x" + "bb" * 32, "asset_id": TOKENS[0], "maker_address": SIGNER.address, "owner": "other",
            "side": "SELL", "price": "0.51", "matched_amount": size, "outcome": "Up", "fee_rate_bps": "0",
        }  # fmt: skip
        return {
            "id": "t1", "market": CONDITION, "asset_id": TOKENS[0], "owner": "the-key", "maker_address": SIGNER.address,
            "taker_order_id": taker, "side": "BUY", "trader_side": "TAKER", "price": "0.51", "size": size,
            "outcome": "Up", "status": f"TRADE_STATUS_{status}", "fee_rate_bps": "0", "bucket_index": 0,
            "transaction_hash": "", "maker_orders": [maker], "match_time": at, "last_update": at,
        } | more  # fmt: skip

    async def say(self, message: Any) -> None:
        """To every user socket that is open."""
        text = message if isinstance(message, str) else json.dumps(message)
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(text)

    # -- requests -----------------------------------------------------------------------------------------------------

    async def post_order(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.sent.append(body)
        return self._say(request, self.answer(body))

    async def post_orders(self, request: web.Request) -> web.StreamResponse:
        bodies = await request.json()
        self.batches.append(bodies)
        self.sent += bodies
        return self._say(request, self.batch_answer(bodies))

    async def delete_order(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["orderID"]
        self.cancelled.append(name)
        return self._say(request, self.cancel_answer(name))

    async def heartbeat(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["heartbeat_id"]
        self.beats.append(name)
        return self._say(request, self.beat_answer(name))

    async def get_order(self, request: web.Request) -> web.StreamResponse:
        found = self.orders.get(request.match_info["id"])
        if request.match_info["id"] in self.unreadable:
            return self._say(request, Answer(500, {"error": "away"}))
        return self._say(request, self.outage or (Answer(200, found) if found else Answer(404, {"error": "not found"})))

    async def get_orders(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("id")
        found = [one for one in self.orders.values() if one["status"] == "LIVE" and wanted in (None, one["id"])]
        return self._say(request, self.outage or Answer(200, {"data": found, "next_cursor": "LTE="}))

    async def get_trades(self, request: web.Request) -> web.StreamResponse:
        after = int(request.query.get("after", 0))
        found = [one for one in self.trades if int(one["match_time"]) >= after]
        return self._say(request, self.outage or Answer(200, {"data": found, "next_cursor": "LTE="}))

    async def get_balance(self, request: web.Request) -> web.StreamResponse:
        held = self.balances.get(request.query.get("token_id", ""), 0)
        return self._say(request, self.outage or Answer(200, {"balance": str(held), "allowances": self.allowances}))

    async def update_balance(self, request: web.Request) -> web.StreamResponse:
        token = request.query.get("token_id", "")
        self.refreshed.append((request.query["asset_type"], token))
        self.balances[token] = self.chain.get(token, self.balances.get(token, 0))
        return self._say(request, self.outage or Answer(200, {}))

    async def get_geoblock(self, request: web.Request) -> web.StreamResponse:
        return self._say(request, Answer(200, self.geoblock))

    async def key(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["POLY_ADDRESS"] == SIGNER.address
        return web.json_response(self.derived)

    async def user(self, request: web.Request) -> web.StreamResponse:
        if self.refuses is not None:
            return web.Response(status=self.refuses)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "PING":
                await socket.send_str("PONG")
            elif message.type is WSMsgType.TEXT:
                self.greetings.append(json.loads(message.data))
                self.sockets.append(socket)
        return socket

    def _say(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.hangs_up:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(answer.body, str):
            return web.Response(status=answer.status, text=answer.body, headers=answer.headers)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/auth/api-key", self.key),
            web.post("/order", self.post_order),
            web.post("/orders", self.post_orders),
            web.delete("/order", self.delete_order),
            web.get("/data/order/{id}", self.get_order),
            web.get("/data/orders", self.get_orders),
            web.get("/data/trades", self.get_trades),
            web.get("/balance-allowance", self.get_balance),
            web.get("/balance-allowance/update", self.update_balance),
            web.post("/v1/heartbeats", self.heartbeat),
            web.get("/api/geoblock", self.get_geoblock),
            web.get("/ws/user", self.user),
        ]


def taken(status: str = "live", **more: Any) -> Answer:
    """An order that was accepted under the hash that it has."""
    return Answer(200, an_entry(more.pop("order_id"), status, **more))


def an_entry(order_id: str = "", status: str = "", text: str = "", **more: Any) -> dict[str, Any]:
    """What is said to an order, alone or in a batch; with `text` a refusal."""
    return {
        "success": not text, "errorMsg": text, "orderID": order_id, "status": status, "makingAmount": "",
        "takingAmount": "", "tradeIDs": [], "transactionsHashes": [],
    } | more  # fmt: skip


@asynccontextmanager
async def a_desk() -> AsyncIterator[Desk]:
    desk = Desk()
    app = web.Application()
    app.add_routes(desk.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    desk.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield desk
    finally:
        await runner.cleanup()


def hosts(desk: Desk) -> Hosts:
    url = desk.url
    socket = url.replace("http", "ws") + "/ws/user"
    return Hosts(
        name="desk",
        clob=url,
        user_socket=socket,
        gamma=url,
        data=url,
        relayer=url,
        rpc=url,
        geoblock=url + "/api/geoblock",
    )


@contextmanager
def few_certificates() -> Iterator[None]:
    """The client makes 14 TLS contexts, each of which reads every authority there is: one will do on this machine."""
    with NamedTemporaryFile("w", suffix=".pem") as file:
        text = Path(certifi.where()).read_text(encoding="utf-8")
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        file.write(text[text.index(begin) : text.index(end) + len(end)] + "\n")
        file.flush()
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = file.name
        try:
            yield
        finally:
            os.environ.pop("SSL_CERT_FILE") if before is None else os.environ.update(SSL_CERT_FILE=before)


@asynccontextmanager
async def an_account(desk: Desk) -> AsyncIterator[AccountClient]:
    with few_certificates():
        client = await open_account(Keys(private_key=PRIVATE_KEY, wallet=SIGNER.address), hosts(desk), WindowClock())
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def a_venue() -> AsyncIterator[tuple[Desk, PolymarketVenue]]:
    terms = market()
    async with a_desk() as desk, an_account(desk) as client:
        yield desk, PolymarketVenue(client, lambda name: terms if name == terms.id else None, WindowClock())
