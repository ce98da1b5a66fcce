"""What every host of the exchange does with a request: fetch the exchange, answer in JSON, go wrong when told to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from polybot.exchange.core.faults import Fault
from polybot.exchange.core.model import Refused
from polybot.exchange.exchange import Exchange

EXCHANGE = web.AppKey("exchange", Exchange)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """A handler's way to answer with an error: raised anywhere in it, sent by the middleware."""

    def __init__(self, status: int, text: str, *, headers: Mapping[str, str] | None = None, **more: object) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.more = status, text, headers, more

    @classmethod
    def of(cls, refused: Refused) -> "Refusal":
        return cls(refused.status, refused.text)

    def response(self) -> web.Response:
        return answer({"error": self.text, **self.more}, status=self.status, headers=self.headers)


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


TOO_MANY = Refusal(429, "Too Many Requests", headers={"Retry-After": "10"})


def endpoint(host: str, method: str, path: str) -> str:
    """How limits.py names it: the CLOB's "GET /book", anybody else's "gamma GET /events"."""
    return f"{method} {path}" if host == "clob" else f"{host} {method} {path}"


def fault_middleware(exchange: Exchange, host: str) -> Any:
    """Refusals become answers, limits hold, and requests go wrong as told. `host` names the sub-application."""

    @web.middleware
    async def go_wrong(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = venue_path(request, host)
        if exchange.limits.too_many(endpoint(host, request.method, path), exchange.wall()):
            return TOO_MANY.response()
        fault = exchange.faults.take(host, request.method, path)
        if fault is not None and fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        is_lost = fault is not None and bool(fault.status or fault.cut)
        if fault is not None and is_lost and not fault.after:
            return _go_wrong(request, fault)
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = refusal.response()
        return _go_wrong(request, fault) if fault is not None and is_lost else response

    return go_wrong


def venue_path(request: web.Request, host: str) -> str:
    """The path as the venue knows it: without the prefix that stands for the host."""
    return request.path.removeprefix(f"/{host}")


def _go_wrong(request: web.Request, fault: Fault) -> web.StreamResponse:
    if fault.cut:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
    return answer({"error": fault.text or "internal error"}, status=fault.status)


async def read_body(request: web.Request, shape: Any, wrong: str = "Invalid order payload") -> Any:
    """The body as `shape`; a Refusal with 400 and `wrong` where it is something else."""
    try:
        return msgspec.json.decode(await request.read(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, wrong) from error
