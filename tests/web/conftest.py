"""A served fake floor and a client to ask it, over real sockets on loopback."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from polybot.web.server import WebServer, create_app, serve
from polybot.web.stream import StatusStream
from tests.web.fake_floor import FakeFloor


@pytest.fixture
def floor() -> FakeFloor:
    return FakeFloor()


@pytest.fixture
def stream(floor: FakeFloor) -> StatusStream:
    return StatusStream(floor, clients_max=2, interval_seconds=0.05, write_seconds_max=0.3)


@pytest.fixture
async def server(floor: FakeFloor, stream: StatusStream) -> AsyncIterator[WebServer]:
    server = await serve(create_app(floor, extra_hosts=["polybot.example"], stream=stream), port=0)
    yield server
    await server.close()


@pytest.fixture
async def ask(server: WebServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=server.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session
