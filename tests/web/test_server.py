"""Listening, and who is listened to."""

import asyncio

import pytest
from aiohttp import ClientSession

from polybot.web.server import CannotListen, WebServer, create_app, serve
from tests.web.fake_floor import FakeFloor


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "LOCALHOST", "polybot.example", "Polybot.Example:80"],
)
async def test_a_host_name_of_this_machine_is_answered(ask: ClientSession, name):
    async with ask.get("/health", headers={"Host": name}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:x"]
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/api/stream", "/nowhere"])
async def test_a_strange_host_name_is_refused_everywhere(ask: ClientSession, name, path):
    async with ask.get(path, headers={"Host": name}) as answer:
        assert answer.status == 403
        assert "POLYBOT_WEB_HOSTS" in (await answer.json())["error"]


async def test_loopback_is_guarded_even_when_listening_on_every_address(floor: FakeFloor):
    server = await serve(create_app(floor), host="0.0.0.0", port=0)
    try:
        async with ClientSession() as session:
            url = f"{server.url}/health"
            async with session.get(url, headers={"Host": "evil.example"}) as answer:
                assert answer.status == 403
            async with session.get(url) as answer:
                assert answer.status == 200
    finally:
        await server.close()


async def test_a_taken_port_is_named_with_the_setting_to_change(server: WebServer, floor: FakeFloor):
    with pytest.raises(CannotListen, match=f"port {server.port} on 127.0.0.1 is taken.*POLYBOT_WEB_PORT"):
        await serve(create_app(floor), port=server.port)


async def test_an_address_of_another_machine_names_the_host_setting(floor: FakeFloor):
    with pytest.raises(CannotListen, match="POLYBOT_WEB_HOST"):
        await serve(create_app(floor), host="192.0.2.1", port=0)


async def test_a_number_that_is_no_port_names_the_port_setting(floor: FakeFloor):
    with pytest.raises(CannotListen, match=r"70000 is no port.*POLYBOT_WEB_PORT"):
        await serve(create_app(floor), port=70_000)


async def test_closing_twice_does_no_harm_and_frees_the_port(floor: FakeFloor):
    first = await serve(create_app(floor), port=0)
    await first.close()
    await first.close()
    second = await serve(create_app(floor), port=first.port)
    await second.close()


async def test_a_request_in_flight_does_not_hold_up_the_end(floor: FakeFloor):
    floor.hangs = True
    server = await serve(create_app(floor), port=0)
    async with ClientSession() as session:
        asking = asyncio.create_task(session.get(f"{server.url}/api/trades"))
        while not floor.asked:  # noqa: ASYNC110 - the fake has no event for it
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await server.close()
        await asyncio.gather(asking, return_exceptions=True)
        if not asking.exception():
            asking.result().close()
