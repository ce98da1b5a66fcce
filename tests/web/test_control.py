"""Stopping over HTTP: with the token alone, and never from somebody else's page."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from polybot.floor.status import SwitchReport
from polybot.web.control import Control
from polybot.web.server import create_app, serve
from tests.web.fake_floor import FakeFloor

TOKEN = "a-token-that-is-long-enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class FakeSwitch:
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, str]] = []
        self.trouble = ""

    async def stop(self, *, cancel_all: bool, by: str) -> SwitchReport:
        self.asked.append(("stop", cancel_all, by))
        return SwitchReport(done="stopped", trouble=self.trouble)

    async def pause(self, *, by: str) -> SwitchReport:
        self.asked.append(("pause", False, by))
        return SwitchReport(done="paused")

    async def resume(self, *, by: str) -> SwitchReport:
        self.asked.append(("resume", False, by))
        return SwitchReport(done="resumed")


@pytest.fixture
def switch() -> FakeSwitch:
    return FakeSwitch()


@pytest.fixture
async def floor_page(switch: FakeSwitch) -> AsyncIterator[ClientSession]:
    server = await serve(create_app(FakeFloor(), control=Control(switch, TOKEN)), port=0)
    async with ClientSession(base_url=server.url) as session:
        yield session
    await server.close()


@pytest.mark.parametrize("what", ["stop", "pause", "resume"])
async def test_with_the_token_it_is_done_and_said(floor_page, switch, what):
    async with floor_page.post(f"/api/{what}", headers=BEARER) as answer:
        assert answer.status == 200
        assert (await answer.json())["trouble"] == ""
    assert switch.asked == [(what, False, "a request over HTTP from 127.0.0.1")]


async def test_a_stop_may_ask_for_cancelling_and_say_who_it_was(floor_page, switch):
    async with floor_page.post("/api/stop", headers=BEARER, json={"cancel_all": True, "by": "ann\n"}) as answer:
        assert answer.status == 200
    assert switch.asked == [("stop", True, "ann over HTTP from 127.0.0.1")]


async def test_what_could_not_be_done_is_no_success(floor_page, switch):
    switch.trouble = "one order is still open"
    async with floor_page.post("/api/stop", headers=BEARER) as answer:
        assert answer.status == 502
        assert await answer.json() == {"done": "stopped", "trouble": "one order is still open"}


@pytest.mark.parametrize(
    "given",
    ["", TOKEN, "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer t\u00f6ken"],
)
@pytest.mark.parametrize("what", ["stop", "pause", "resume"])
async def test_without_the_right_token_nothing_happens(floor_page, switch, what, given):
    async with floor_page.post(f"/api/{what}", headers={"Authorization": given}) as answer:
        assert answer.status == 401
        assert TOKEN not in await answer.text()
    assert switch.asked == []


@pytest.mark.parametrize(
    "given",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[::1"},
    ],
)
async def test_a_page_of_another_origin_is_not_obeyed_even_with_the_token(floor_page, switch, given):
    async with floor_page.post("/api/resume", headers=BEARER | given) as answer:
        assert answer.status == 403
    assert switch.asked == []


async def test_a_page_of_our_own_may(floor_page, switch):
    origin = str(floor_page._base_url.origin())
    async with floor_page.post("/api/pause", headers=BEARER | {"Origin": origin}) as answer:
        assert answer.status == 200


async def test_without_a_token_in_the_settings_it_says_what_to_set(switch):
    server = await serve(create_app(FakeFloor(), control=Control(switch, None)), port=0)
    async with ClientSession(base_url=server.url) as session, session.post("/api/stop", headers=BEARER) as answer:
        assert answer.status == 403
        assert "POLYBOT_CONTROL_TOKEN_FILE" in (await answer.json())["error"]
    await server.close()
    assert switch.asked == []


@pytest.mark.parametrize("body", [b"stop!", b"[]", b'{"cancelall": true}', b'{"cancel_all": "yes"}', b"\xff" * 2000])
async def test_a_body_that_is_not_understood_is_refused_before_anything_is_done(floor_page, switch, body):
    async with floor_page.post("/api/stop", headers=BEARER, data=body) as answer:
        assert answer.status == 400
        assert "cancel_all" in (await answer.json())["error"]
    assert switch.asked == []


async def test_a_look_stops_nothing(floor_page, switch):
    async with floor_page.get("/api/stop", headers=BEARER) as answer:
        assert answer.status == 405
    assert switch.asked == []
