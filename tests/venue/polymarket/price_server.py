"""Both price sockets on this machine, by hand from polymarket.md 4; they say what they are told to say."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web

KEY = {"apiKey": "k", "secret": "s3cret", "passphrase": "p"}


def rtds(value: float, at: int, topic: str = "crypto_prices_chainlink", symbol: str = "btc/usd") -> dict[str, Any]:
    return {
        "topic": topic,
        "type": "update",
        "timestamp": at,
        "payload": {"symbol": symbol, "timestamp": at, "value": value},
    }


def bolt(value: str, at: int, seq: int, channel: str = "price.crypto.twap", symbol: str = "btcusd") -> dict[str, Any]:
    payload = {"symbol": symbol, "value": float(value), "full_accuracy_value": value, "timestamp": at}
    return {"v": 1, "channel": channel, "seq": seq, "ts": at, "payload": payload}


class PriceServer:
    """`heard` is every text; `closes_with` is the code that ends each connection once it is greeted."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.connections: list[web.WebSocketResponse] = []
        self.closes_with: int | None = None
        self.url = ""

    async def attend(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.heard.append(message.data)
                await self._answer(socket, message.data)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, text: str) -> None:
        if text == "PING":
            return
        asked = json.loads(text)
        if self.closes_with is not None:
            await socket.close(code=self.closes_with)
        elif asked.get("op") == "auth":
            known = asked["auth"] == KEY
            answer = (
                {"op": "authed", "rid": "a1"} if known else {"op": "error", "code": "auth_invalid", "message": "no"}
            )
            await socket.send_str(json.dumps(answer))
        elif asked.get("op") == "subscribe":
            for wanted in asked["subscriptions"]:
                await socket.send_str(json.dumps({"op": "subscribed", "channel": wanted["channel"], "rid": "s1"}))

    async def say(self, *messages: dict[str, Any] | str) -> None:
        """To whom is there; one that is just leaving hears nothing."""
        for message in messages:
            with suppress(ConnectionError):
                await self.connections[-1].send_str(message if isinstance(message, str) else json.dumps(message))


@asynccontextmanager
async def price_server() -> AsyncIterator[PriceServer]:
    server = PriceServer()
    app = web.Application()
    app.router.add_get("/ws", server.attend)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/ws"  # type: ignore[attr-defined]
    try:
        yield server
    finally:
        await runner.cleanup()
