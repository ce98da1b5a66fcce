"""A market websocket for the bench: a process of its own that speaks the venue's protocol (polymarket.md 3.1).

Its frames are the soak's (soak_feed.py), and each carries the moment it was sent, in nanoseconds of this machine's
monotonic clock, in place of the hash that nobody reads. `python -m polybot.bench.socket_server RATE` writes its port to
standard output and serves until it is ended.
"""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from polybot.bench.soak_feed import ASSETS, BURST_MAX, START_SECONDS_MAX, Rounds, templates

UNSTAMPED = b"0" * 40
MARK = '"hash":"'
TURN_S = 0.001
"""libuv's timers have whole milliseconds: half of one is none, and the server would take a core by itself."""


class Asked(msgspec.Struct):
    assets_ids: list[str] = []
    operation: str = "subscribe"


def stamped(frame: bytes) -> str:
    return frame.replace(UNSTAMPED, f"{time.perf_counter_ns():040d}".encode()).decode()


def stamp_of(frame: str) -> int:
    """When it was sent; 0 for a frame without a stamp."""
    at = frame.find(MARK)
    return int(frame[at + len(MARK) : at + len(MARK) + 40]) if at >= 0 else 0


def market_of_token(token: str) -> str:
    """The way back from live.token_of: asset's number and start, then the outcome, filled up with sevens."""
    number = token.lstrip("7")[:-1]
    return f"{ASSETS[int(number[0])].lower()}-soak-{number}"


async def attend(request: web.Request, made: list[list[bytes]], rate: float) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    rounds = Rounds(made)
    sending = asyncio.create_task(send(socket, rounds, rate))
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "PING":
                await socket.send_str("PONG")
            elif message.type is WSMsgType.TEXT:
                subscribe(rounds, msgspec.json.decode(message.data, type=Asked))
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    return socket


def subscribe(rounds: Rounds, asked: Asked) -> None:
    markets = {market_of_token(token) for token in asked.assets_ids}
    if asked.operation == "unsubscribe":
        rounds.follow(rounds.followed - markets)
    else:
        for market in markets:
            rounds.renew(market)


async def send(socket: web.WebSocketResponse, rounds: Rounds, rate: float) -> None:
    """Steadily; what cannot be sent in time is not sent later in a flood."""
    began, sent = time.perf_counter(), 0
    while not socket.closed:
        due = int((time.perf_counter() - began) * rate) - sent
        for _ in range(min(due, BURST_MAX)):
            frame = rounds.next_frame()
            if frame is not None:
                await socket.send_str(stamped(frame))
        sent += max(0, due)
        await asyncio.sleep(TURN_S)


def stand_apart() -> None:
    """The venue's server is another machine: neither this one's load nor a collection of garbage holds it up."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    gc.freeze()
    gc.disable()  # it lives for a minute


@contextlib.asynccontextmanager
async def served(rate: float) -> AsyncIterator[str]:
    """The address of such a process; it is ended with the block."""
    command = [sys.executable, "-m", __name__, f"{rate:g}"]
    server = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        async with asyncio.timeout(START_SECONDS_MAX):
            port = int(await server.stdout.readline())
        yield f"http://127.0.0.1:{port}/ws/market"
    finally:
        server.kill()
        await server.wait()


async def serve(rate: float) -> None:
    app = web.Application()
    app.router.add_get("/ws/market", partial(attend, made=templates(), rate=rate))
    stand_apart()
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[union-attr]
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1])))
