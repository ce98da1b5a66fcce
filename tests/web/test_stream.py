"""The live stream: it tells what changes, ends when the server does, and is kept within bounds."""

import asyncio
import json
import socket

import pytest
from aiohttp import ClientResponse, ClientSession

from polybot.domain.units import Millis
from polybot.floor.status import EquityPoint
from polybot.web.server import WebServer
from polybot.web.stream import StatusStream
from tests.web.fake_floor import START, FakeFloor, money


async def next_status(answer: ClientResponse):
    while True:
        line = await answer.content.readline()
        if not line:
            raise EOFError
        if line.startswith(b"data: "):
            assert await answer.content.readline() == b"\n"
            return json.loads(line[6:])


async def read_on(answer: ClientResponse) -> None:
    while True:
        await next_status(answer)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the code under test has no event for it
            await asyncio.sleep(0.01)


async def test_it_is_an_event_stream_that_nobody_keeps(ask: ClientSession):
    async with ask.get("/api/stream") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert "no-store" in answer.headers["Cache-Control"]
        assert await answer.content.readline() == b"retry: 2000\n"


async def test_a_change_of_the_floor_arrives_by_itself(ask: ClientSession, floor: FakeFloor):
    async with ask.get("/api/stream") as answer:
        assert (await next_status(answer))["equity"] == "996.785001"
        floor.change(equity=money("1012.50"))
        async with asyncio.timeout(5):
            while (await next_status(answer))["equity"] != "1012.50":
                pass


async def test_it_ends_when_the_server_closes_and_does_not_hold_it_up(ask: ClientSession, server: WebServer):
    async with ask.get("/api/stream") as answer:
        await next_status(answer)
        async with asyncio.timeout(1):
            await server.close()
            with pytest.raises(EOFError):
                await read_on(answer)


async def test_one_page_too_many_is_told_so_and_finds_room_later(ask: ClientSession, stream: StatusStream):
    async with ask.get("/api/stream"), ask.get("/api/stream"), ask.get("/api/stream") as third:
        assert third.status == 503
        assert "2 pages are open" in (await third.json())["error"]
    await until(lambda: stream.clients == 0)
    async with ask.get("/api/stream") as answer:
        assert answer.status == 200


async def test_a_page_that_is_closed_is_forgotten(ask: ClientSession, stream: StatusStream):
    answer = await ask.get("/api/stream")
    await next_status(answer)
    assert stream.clients == 1
    answer.close()
    await until(lambda: stream.clients == 0)


async def test_a_page_that_does_not_read_is_dropped(server: WebServer, stream: StatusStream, floor: FakeFloor):
    floor.change(equity_curve=(EquityPoint(at=Millis(START), equity=money("1000")),) * 20_000)
    with socket.socket() as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect((server.host, server.port))
        idle.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: stream.clients == 1)
        await until(lambda: stream.clients == 0)


async def test_all_who_look_within_half_an_interval_get_the_same_message(floor: FakeFloor):
    looks = 0
    original = floor.status

    def counted():
        nonlocal looks
        looks += 1
        return original()

    floor.status = counted  # type: ignore[method-assign]
    stream = StatusStream(floor, interval_seconds=10)
    assert stream._newest() is stream._newest()
    assert looks == 1
