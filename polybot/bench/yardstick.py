"""What the machine adds to a figure of socket_path.py: a reader on such a socket that does nothing but compute, for as
long as the floor's loop does. What it measures is scheduling, the network stack and the neighbours on the host.
"""

import asyncio
import time

import msgspec

from polybot.bench.soak_feed import recorded_terms
from polybot.bench.socket_path import Slice, cut, listings, steps
from polybot.bench.socket_server import served, stamp_of
from polybot.clock import SystemClock
from polybot.domain.events import MarketListed
from polybot.venue.polymarket.socket import TextSocket


async def run_yardstick(seconds: float, rate: float, computing_us: float) -> list[Slice]:
    """Read so many frames a second for so long, and compute so many microseconds over each; timed at its end."""
    clock = SystemClock()
    now, slices = clock.now_ms(), list[Slice]()
    listed = listings(clock, recorded_terms())(now, now)
    tokens = [token for one in listed if isinstance(one, MarketListed) for token in one.market.tokens or ()]
    async with served(rate) as url:
        socket = TextSocket(url, "market", clock)
        await socket.connect()
        await socket.send(msgspec.json.encode({"assets_ids": tokens, "type": "market"}).decode())
        reading = asyncio.create_task(_read(socket, round(computing_us * 1000), slices))
        try:
            await cut(seconds, slices)
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await socket.close()
    return slices


async def _read(socket: TextSocket, computing_ns: int, slices: list[Slice]) -> None:
    while True:
        frame = await socket.receive()
        over = time.thread_time_ns() + computing_ns
        while time.thread_time_ns() < over:
            pass
        if slices:
            slices[-1].to_decision[steps(stamp_of(str(frame)))] += 1
