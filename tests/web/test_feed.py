"""A feed process over HTTP: fit while floors can hear it, figures of its own, and nothing of a run."""

from typing import Any

import pytest
from aiohttp import ClientSession

from polybot.domain.units import Millis
from polybot.floor.status import LineStatus
from polybot.web.feed import FeedStatus, create_feed_app
from polybot.web.server import serve
from tests.web.fake_floor import START, a_circuit, a_feed
from tests.web.test_metrics import figure, scrape


def a_feed_status(*reasons: str, **line: Any) -> FeedStatus:
    speaking = {"speaking": True, "waits": False, "said": 5_000, "lost": 3, "asked": 7, "trouble": None}
    return FeedStatus(
        version="1.0",
        source="polymarket",
        started_at=START,
        wall_time=Millis(START + 60_000),
        reasons=reasons,
        feed=a_feed(),
        line=LineStatus(**speaking | line),
        circuits=(a_circuit("feed"),),
    )


WAITS = {"speaking": False, "waits": True, "trouble": "another feed speaks"}


@pytest.mark.parametrize(
    ("status", "code", "fit"),
    [
        (a_feed_status(), 200, True),
        (a_feed_status(**WAITS), 200, True),  # Docker would count a waiting one as sick
        (a_feed_status("floors cannot hear it: Redis is away", speaking=False), 503, False),
    ],
    ids=["speaks", "waits for another", "unheard"],
)
async def test_health_says_whether_floors_can_hear_it(status: FeedStatus, code: int, fit: bool):
    server = await serve(create_feed_app(lambda: status), port=0)
    try:
        async with ClientSession(server.url) as ask, ask.get("/health") as answer:
            health = await answer.json()
            assert (answer.status, health["state"], health["fit"]) == (code, "feed", fit)
            assert health["reasons"] == list(status.reasons)
            assert health["feed"]["prices"][0]["source"] == "rtds-binance"
            assert (health["line"]["said"], health["circuits"][0]["name"]) == (5_000, "feed")
    finally:
        await server.close()


async def test_metrics_are_the_lines_and_those_of_live_data_as_a_floor_has_them():
    server = await serve(create_feed_app(a_feed_status), port=0)
    try:
        async with ClientSession(server.url) as ask:
            figures = await scrape(ask)
    finally:
        await server.close()
    assert figure(figures, "polybot_fit") == 1
    assert figure(figures, "polybot_feed_line_up") == 1
    assert figure(figures, "polybot_feed_line_events_lost_total") == 3
    assert figure(figures, "polybot_reference_price_age_seconds", asset="BTC", source="rtds-binance") == 0.3
    assert figure(figures, "polybot_circuit_state", circuit="feed", state="closed") == 1


async def test_a_feed_has_nothing_to_tell_of_a_run_and_answers_to_no_strange_name():
    server = await serve(create_feed_app(a_feed_status), port=0)
    try:
        async with ClientSession(server.url) as ask:
            async with ask.get("/api/status") as answer:
                assert answer.status == 503
                assert "ask a floor that it feeds" in (await answer.json())["error"]
            async with ask.get("/health", headers={"Host": "evil.example"}) as answer:
                assert answer.status == 403
    finally:
        await server.close()
