"""The page in a real browser: what it shows, that it lives, and that it says when it does not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from polybot.domain.units import Millis
from polybot.floor.status import LeadStatus, StoreState, StoreStatus
from polybot.web.server import WebServer, create_app, serve
from tests.web.fake_floor import PAUSE, FakeFloor, a_feed, a_status, a_trade, an_agent, money

playwright_api = pytest.importorskip("playwright.async_api", reason="playwright is not installed (polybot[dev])")

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt-get install chromium")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture
async def browser():
    async with playwright_api.async_playwright() as playwright:
        # The sandbox needs kernel features that containers, where these tests run, do not have.
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def live_server(floor: FakeFloor) -> AsyncIterator[WebServer]:
    """With the stream's real interval, since the page's patience is measured against it."""
    server = await serve(create_app(floor), port=0)
    ticking = asyncio.create_task(tick(floor))
    yield server
    ticking.cancel()
    await server.close()


async def tick(floor: FakeFloor) -> None:
    while True:
        await asyncio.sleep(0.25)
        floor.change(wall_time=Millis(floor.now.wall_time + 250))


@pytest.fixture
async def page(browser, live_server: WebServer):
    page = await browser.new_page(viewport=DESKTOP)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    await page.goto(live_server.url)
    await playwright_api.expect(page.locator("#equity")).not_to_have_text("–", timeout=20_000)
    yield page
    await page.close()


async def wait_for_text(page, selector: str, text: str, seconds: float = 5) -> None:
    await playwright_api.expect(page.locator(selector)).to_contain_text(text, timeout=seconds * 1000)


async def test_it_shows_the_floor_its_agents_markets_and_trades(page):
    assert await page.inner_text("#equity") == "996.79"
    assert await page.inner_text("#pnl") == "−3.21"
    assert await page.inner_text("#fit-text") == "Fit to trade"
    assert await page.inner_text("#windows") == "5 of 12"
    await wait_for_text(page, "#agents tbody tr:nth-child(1)", "PASSED: edge 0.012 below the 0.02 asked for")
    await wait_for_text(page, "#markets tbody", "BTC-15m 09:00–09:15")
    await wait_for_text(page, "#markets tbody", "contradicted")
    await wait_for_text(page, "#last-trades tbody tr:nth-child(2)", "open")
    await wait_for_text(page, "#stores", "redis down since 09:00:00 UTC, 3 rows behind (connection refused)")
    await wait_for_text(page, "#stores", "breaker on redis open, 7 failures in a row")
    await wait_for_text(page, "#stores", "leadership firm, epoch 7, a standby is ready")
    await wait_for_text(page, "#fitness", "redis is down; the floor keeps its facts in the journal")
    assert await page.locator("#curve path.line").count() == 1
    assert page.problems == []


async def test_a_stale_reference_price_is_said_at_the_top_and_every_age_at_the_foot(page, floor: FakeFloor):
    floor.change(feed=a_feed())
    await wait_for_text(page, "#stores", "2 reference prices, the oldest 0.8 s")
    floor.change(feed=a_feed(price_age_ms=45_000))
    await wait_for_text(page, "#fit-reasons", "the BTC price of rtds-chainlink is 45 s old")
    assert "warn" in (await page.get_attribute("#fitness", "class"))
    ages = await page.locator("#stores [title*=rtds]").get_attribute("title")
    assert ages == "BTC rtds-binance 0.3 s\nBTC rtds-chainlink 45 s"
    assert page.problems == []


async def test_it_follows_the_floor_by_itself(page, floor: FakeFloor):
    floor.change(
        equity=money("1234.56"),
        fit=False,
        reasons=("auditor benched",),
        agents=(),
        recent_trades=(a_trade(5, reason="second thoughts"),),
        database=StoreStatus(state=StoreState.DOWN),
    )
    await wait_for_text(page, "#equity", "1,234.56")
    await wait_for_text(page, "#fitness", "Not fit to trade. auditor benched")
    await wait_for_text(page, "#last-trades tbody", "second thoughts")
    assert await page.locator("#last-trades tbody tr").count() == 1
    assert await page.is_visible("#no-agents")
    assert page.problems == []


async def test_a_floor_that_may_not_trade_is_not_called_fit_to_trade(page, floor: FakeFloor):
    for footing, said in (("paused", "is not known"), ("asleep", "is not known"), ("deposed", "another floor leads")):
        floor.change(leadership=LeadStatus(footing=footing, epoch=7, holder="desk:1", standby=True))
        await wait_for_text(page, "#fit-text", said)
        assert (await page.inner_text("#fit-text")).startswith("Not trading: ")
    floor.change(leadership=LeadStatus(footing="alone", epoch=7, holder="desk:1", standby=False), paused=(PAUSE,))
    await wait_for_text(page, "#fit-text", "Paused: no orders are sent.")
    floor.change(paused=(msgspec.structs.replace(PAUSE, scope="momentum"),))
    await wait_for_text(page, "#fit-text", "Fit to trade, with a pause.")
    assert page.problems == []


@pytest.mark.slow
async def test_it_says_so_when_the_server_is_gone_and_when_it_is_back(page, floor: FakeFloor, live_server: WebServer):
    assert not await page.is_visible("#stale")
    await live_server.close()
    await wait_for_text(page, "#connection", "retrying")
    await wait_for_text(page, "#stale", "No news since 09:0", seconds=10)
    assert "stale" in await page.get_attribute("body", "class")
    assert await page.title() == "stale · PolyBot"
    again = await serve(create_app(floor), port=live_server.port)
    try:
        await wait_for_text(page, "#connection", "live", seconds=10)
        assert not await page.is_visible("#stale")
        assert await page.get_attribute("body", "class") == ""
    finally:
        await again.close()


@pytest.mark.slow
async def test_a_frozen_floor_behind_a_lively_server_is_stale_too(browser):
    server = await serve(create_app(FakeFloor(a_status())), port=0)
    try:
        page = await browser.new_page()
        await page.goto(server.url)
        await wait_for_text(page, "#stale", "is frozen", seconds=10)
        await page.close()
    finally:
        await server.close()


async def test_text_from_outside_is_never_markup(page, floor: FakeFloor):
    nasty = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    floor.change(source=nasty, agents=(an_agent(nasty, last_reason=nasty),))
    await wait_for_text(page, "#agents tbody", "<b>bold</b>")
    assert await page.locator("tbody img, tbody b").count() == 0
    assert "owned" not in await page.title()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_nothing_sticks_out_sideways(page, floor: FakeFloor, size):
    await page.set_viewport_size(size)
    floor.change(source="a" * 90, agents=(an_agent("a" * 60, last_reason="r" * 400),))
    await wait_for_text(page, "#agents tbody", "rrrr")
    assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


async def test_a_phones_cards_are_still_a_table_to_a_screen_reader(page):
    await page.set_viewport_size(PHONE)
    agents = page.get_by_role("table").nth(1)
    assert await agents.get_by_role("row").count() == 3
    assert await agents.get_by_role("columnheader").count() == 8
