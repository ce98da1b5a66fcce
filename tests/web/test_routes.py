"""Each address, asked over a real socket."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from polybot.floor.status import FloorStatus
from polybot.web import routes
from polybot.web.json_form import from_json
from tests.web.fake_floor import PAUSE, FakeFloor, a_feed, a_status


async def read(ask: ClientSession, path: str, status: int = 200):
    async with ask.get(path) as answer:
        assert answer.status == status
        assert answer.content_type == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        return await answer.json()


async def test_health_is_200_while_fit_and_names_agents_books_and_stores(ask: ClientSession):
    health = await read(ask, "/health")
    assert health["fit"] is True
    assert health["agents"][0] == {
        "id": "momentum",
        "role": "trader",
        "state": "running",
        "last_beat_age_s": 0.4,
        "restarts": 1,
    }
    assert [(book["outcome"], book["state"], book["age_ms"]) for book in health["books"]] == [
        ("up", "verified", 240),
        ("down", "contradicted", None),
    ]
    assert (health["database"]["state"], health["redis"]["state"], health["journal"]["state"]) == ("ok", "down", "ok")
    assert [(circuit["name"], circuit["state"]) for circuit in health["circuits"]] == [
        ("database", "closed"),
        ("redis", "open"),
    ]
    assert health["loop"]["longest_stall_s"] == 0.031
    assert health["leadership"] == {"footing": "firm", "epoch": 7, "holder": "desk:1", "standby": True}


async def test_health_is_503_with_the_reasons_when_not_fit(ask: ClientSession, floor: FakeFloor):
    floor.change(fit=False, reasons=("auditor benched",), paused=(PAUSE,))
    health = await read(ask, "/health", 503)
    assert health["reasons"] == ["auditor benched"]
    assert health["paused"][0]["breaker"] == "daily_loss"


async def test_health_of_live_data_has_the_age_of_each_price_the_sockets_and_the_check(
    ask: ClientSession, floor: FakeFloor
):
    floor.change(feed=a_feed(price_age_ms=45_000))
    feed = (await read(ask, "/health"))["feed"]
    assert feed["prices"] == [
        {"asset": "BTC", "source": "rtds-binance", "age_ms": 300, "stale": False},
        {"asset": "BTC", "source": "rtds-chainlink", "age_ms": 45_000, "stale": True},
    ]
    assert (feed["sources"]["sockets"], feed["sources"]["sockets_up"]) == (2, 1)
    assert feed["sources"]["price_sockets"][0]["name"] == "rtds"
    assert feed["sources"]["check"]["contradicted"] == 1


@pytest.mark.parametrize("changes", [{}, {"feed": a_feed()}], ids=["on a tape", "on live data"])
async def test_the_status_is_the_whole_floor(ask: ClientSession, floor: FakeFloor, changes: dict[str, Any]):
    floor.change(**changes)
    async with ask.get("/api/status") as answer:
        assert from_json(await answer.read(), FloorStatus) == a_status(**changes)


async def test_agents_and_markets_have_addresses_of_their_own(ask: ClientSession):
    assert [agent["id"] for agent in (await read(ask, "/api/agents"))["agents"]] == ["momentum", "auditor"]
    assert (await read(ask, "/api/markets"))["markets"][0]["up"]["ask"] == "0.52"


@pytest.mark.parametrize("name", ["trades", "windows", "events", "metrics"])
async def test_the_past_comes_in_lines_at_most_as_many_as_asked_for(ask: ClientSession, floor: FakeFloor, name):
    assert name in await read(ask, f"/api/{name}")
    assert name in await read(ask, f"/api/{name}?limit=2")
    assert [limit for _, limit in floor.asked] == [50, 2]


async def test_metrics_history_is_of_the_floor_or_of_one_agent(ask: ClientSession, floor: FakeFloor):
    await read(ask, "/api/metrics")
    await read(ask, "/api/metrics?agent=momentum&limit=9")
    assert floor.asked == [("metrics of None", 50), ("metrics of momentum", 9)]


@pytest.mark.parametrize("limit", ["0", "-1", "501", "ten", "1.5", "", "٣", "9" * 5000])
async def test_a_limit_that_is_none_is_400_and_says_what_would_do(ask: ClientSession, floor: FakeFloor, limit):
    problem = await read(ask, f"/api/trades?limit={limit}", 400)
    assert "from 1 to 500" in problem["error"]
    assert "/api/trades?limit=50" in problem["error"]
    assert not floor.asked


async def test_a_misspelt_parameter_is_refused_not_ignored(ask: ClientSession):
    problem = await read(ask, "/api/trades?limt=5", 400)
    assert problem["error"] == "unknown parameter 'limt': /api/trades takes only limit"
    assert "no parameters" in (await read(ask, "/api/status?x=1", 400))["error"]
    assert "more than once" in (await read(ask, "/api/trades?limit=1&limit=2", 400))["error"]


@pytest.mark.parametrize("name", ["trades", "windows", "events", "metrics"])
async def test_the_past_is_503_while_the_database_is_away_and_the_present_is_not(ask: ClientSession, floor, name):
    floor.away = "the database does not answer; the floor goes on and will catch up"
    assert (await read(ask, f"/api/{name}", 503))["error"] == floor.away
    await read(ask, "/api/status")


async def test_a_database_that_hangs_is_given_up(ask: ClientSession, floor: FakeFloor, monkeypatch):
    monkeypatch.setattr(routes, "STORE_SECONDS_MAX", 0.05)
    floor.hangs = True
    assert "did not answer within" in (await read(ask, "/api/trades", 503))["error"]


async def test_an_unknown_address_is_404_and_names_the_known_ones(ask: ClientSession):
    assert "/api/status" in (await read(ask, "/api/stats", 404))["error"]
    await read(ask, "/../routes.py", 404)
    await read(ask, "/__init__.py", 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_done_only_looked_at(ask: ClientSession, method):
    async with ask.request(method, "/api/status") as answer:
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"]
        assert "use GET" in (await answer.json())["error"]


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/status", "/api/trades"])
async def test_head_is_answered_without_a_body(ask: ClientSession, path):
    async with ask.head(path) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml")],
)
async def test_the_page_is_served_with_its_types(ask: ClientSession, path, content_type):
    async with ask.get(path) as answer:
        assert (answer.status, answer.content_type, answer.charset) == (200, content_type, "utf-8")


@pytest.mark.parametrize("path", ["/", "/api/status", "/nowhere", "/api/stream"])
async def test_every_answer_forbids_what_the_page_does_not_need(ask: ClientSession, path):
    async with ask.get(path) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_the_page_asks_for_nothing_outside_and_sets_no_markup():
    for file in routes.PAGE.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file
        assert "innerHTML" not in text, file
        assert "style=" not in text, f"{file}: the content security policy ignores style attributes"


async def test_text_from_outside_stays_text_in_json(ask: ClientSession, floor: FakeFloor):
    floor.change(reasons=("</script><script>alert(1)</script>",))
    async with ask.get("/api/status") as answer:
        assert json.loads(await answer.read())["reasons"] == ["</script><script>alert(1)</script>"]
