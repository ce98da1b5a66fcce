"""A standby over HTTP: healthy, plainly no floor, and it names whom it waits for."""

from aiohttp import ClientSession

from polybot.domain.units import Millis
from polybot.storage.candidate import StandbyStatus
from polybot.web.server import serve
from polybot.web.standby import create_standby_app

STATUS = StandbyStatus(since=Millis(1_000), why="first leads", leader="host:7:ab", epoch=3, led_since=Millis(500))


async def test_a_standby_is_healthy_and_says_what_it_is_and_whom_it_waits_for():
    server = await serve(create_standby_app(lambda: STATUS), port=0)
    try:
        async with ClientSession(server.url) as ask:
            async with ask.get("/health") as answer:
                health = await answer.json()
                assert answer.status == 200
            assert (health["state"], health["fit"]) == ("standby", False)
            assert (health["leader"], health["epoch"], health["since"]) == (
                "host:7:ab",
                3,
                "1970-01-01T00:00:01.000Z",
            )
            async with ask.get("/metrics") as answer:
                assert "polybot_standby 1.0" in await answer.text()
            async with ask.get("/") as answer:
                assert "first leads" in await answer.text()
    finally:
        await server.close()


async def test_a_standby_has_nothing_to_tell_of_the_run():
    server = await serve(create_standby_app(lambda: STATUS), port=0)
    try:
        async with ClientSession(server.url) as ask, ask.get("/api/status") as answer:
            assert answer.status == 503
            said = await answer.json()
            assert "ask the floor that leads" in said["error"]
            assert (said["state"], said["why"]) == ("standby", "first leads")
    finally:
        await server.close()


async def test_a_strange_host_name_is_refused_by_a_standby_too():
    server = await serve(create_standby_app(lambda: STATUS), port=0)
    try:
        headers = {"Host": "evil.example"}
        async with ClientSession(server.url) as ask, ask.get("/health", headers=headers) as answer:
            assert answer.status == 403
    finally:
        await server.close()
