"""The status in a terminal: fetched over a socket, drawn with rich."""

import io
from typing import Any

import msgspec
import pytest
from aiohttp import web
from rich.console import Console

from polybot.domain.units import Millis, Money
from polybot.floor.status import AccountStatus, FeedHealth, FloorStatus, LeadStatus
from polybot.storage.candidate import StandbyStatus
from polybot.web.feed import create_feed_app
from polybot.web.server import WebServer, create_app, serve
from polybot.web.standby import create_standby_app
from polybot.web.status_text import FloorUnreachable, dollars, fetch_status, render_status
from tests.web.fake_floor import PAUSE, FakeFloor, a_feed, a_status, an_agent, money
from tests.web.test_feed import a_feed_status


def lead(footing: str) -> LeadStatus:
    return LeadStatus(footing=footing, epoch=7, holder="desk:1", standby=False)


def drawn(status: FloorStatus, width: int = 140) -> str:
    paper = io.StringIO()
    Console(file=paper, width=width, force_terminal=False).print(render_status(status))
    return paper.getvalue()


async def test_the_status_fetched_is_the_status_served(server: WebServer, floor: FakeFloor):
    assert await fetch_status(server.url) == floor.now
    assert await fetch_status(f"{server.url}/") == floor.now


async def test_no_floor_there_says_how_to_start_one(server: WebServer):
    await server.close()
    with pytest.raises(FloorUnreachable, match=r"no floor answers at http://127.*`polybot run`.*--url"):
        await fetch_status(server.url)


async def test_another_program_there_is_not_taken_for_a_floor():
    other = await serve(web.Application(), port=0)
    try:
        with pytest.raises(FloorUnreachable, match=r"HTTP 404.* is no floor of this version"):
            await fetch_status(other.url)
    finally:
        await other.close()


@pytest.mark.parametrize("address", ["not an address", "ftp://127.0.0.1", "127.0.0.1:8080"])
async def test_an_address_that_is_none_is_told_so(address: str):
    with pytest.raises(FloorUnreachable, match=r"is no address of a page: write it like http://127\.0\.0\.1:8080"):
        await fetch_status(address)


async def test_a_port_that_nobody_listens_on_is_told_without_the_sockets_own_words(server: WebServer):
    await server.close()
    with pytest.raises(FloorUnreachable) as caught:
        await fetch_status(server.url)
    assert str(caught.value).startswith(f"no floor answers at {server.url}: nothing listens there. Start one with")


async def test_a_standby_is_told_apart_from_a_floor_with_whom_it_waits_for():
    waiting = StandbyStatus(since=Millis(1), why="desk:1 leads this account")
    standby = await serve(create_standby_app(lambda: waiting), port=0)
    try:
        said = f"a standby answers at {standby.url}: desk:1 leads this account.*ask the floor that leads"
        with pytest.raises(FloorUnreachable, match=said):
            await fetch_status(standby.url)
    finally:
        await standby.close()


async def test_a_feed_is_told_apart_from_a_floor():
    feed = await serve(create_feed_app(a_feed_status), port=0)
    try:
        with pytest.raises(FloorUnreachable, match=f"a feed answers at {feed.url}, not a floor"):
            await fetch_status(feed.url)
    finally:
        await feed.close()


async def test_a_floor_that_does_not_answer_to_a_name_is_told_with_its_remedy(floor: FakeFloor):
    strict = await serve(create_app(floor, extra_hosts=["floor.example"]), "0.0.0.0", 0)
    try:
        with pytest.raises(FloorUnreachable, match=r"refuses \(HTTP 403\).*POLYBOT_WEB_HOSTS"):
            await fetch_status(strict.url.replace("127.0.0.1", "127.0.0.2"))
    finally:
        await strict.close()


def test_a_trader_finds_equity_agents_reasons_and_trades():
    text = drawn(a_status())
    assert "FIT TO TRADE" in text
    assert "$996.79" in text
    assert "-$3.21" in text
    assert "momentum" in text
    assert "PASSED: edge 0.012 below the 0.02 asked for" in text
    assert "moved +0.14 %" in text
    assert "5 of 12 windows settled" in text
    assert "redis down since 2026-09-28T09:00:00.000Z, 3 rows behind (connection refused)" in text
    assert "breaker on redis open, 7 failures in a row" in " ".join(text.split())
    assert "breaker on database" not in text


def test_what_stops_the_floor_stands_out():
    text = drawn(a_status(fit=False, reasons=("auditor benched", "journal full"), paused=(PAUSE,)))
    assert "NOT FIT TO TRADE: auditor benched; journal full" in text
    assert "PAUSED floor by daily_loss: lost 10.2 % today, limit 10 % (until a person resumes)" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"paused": (PAUSE,)}, "PAUSED: no orders are sent"),
        ({"leadership": lead("paused")}, "NOT TRADING: whether this floor still leads its account is not known"),
        ({"leadership": lead("asleep")}, "NOT TRADING: whether this floor still leads its account is not known"),
        ({"leadership": lead("deposed")}, "NOT TRADING: another floor leads this account"),
    ],
)
def test_a_floor_that_sends_nothing_is_not_called_fit_to_trade(changes: dict[str, Any], said: str):
    text = drawn(a_status(**changes))
    assert said in text
    assert "FIT TO TRADE" not in text


def test_a_floor_that_trades_alone_or_with_one_agent_paused_is_fit_to_trade():
    assert "FIT TO TRADE" in drawn(a_status(leadership=lead("alone")))
    assert "FIT TO TRADE" in drawn(a_status(paused=(msgspec.structs.replace(PAUSE, scope="momentum"),)))


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (a_feed(), "reference prices 2, the oldest 0.8 s"),
        (a_feed(price_age_ms=45_000), "stale reference prices: BTC rtds-chainlink 45.0 s"),
        (a_feed(prices=()), "no reference price yet"),
    ],
)
def test_live_data_says_how_old_its_reference_prices_are(feed: FeedHealth, said: str):
    assert said in " ".join(drawn(a_status(feed=feed)).split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "wallet $1,500.00"),
        ({"unpaid": Money(6_000_000)}, "wallet $1,500.00, $6.00 to be redeemed"),
        ({"unpaid": Money(-6_000_000)}, "wallet $1,500.00, $6.00 of it merged ahead of settlement"),
        ({"troubles": ("the user channel is away",)}, "account: the user channel is away"),
    ],
)
def test_a_live_floor_tells_of_its_wallet_and_of_what_speaks_against_it(changes: dict[str, Any], said: str):
    none = Money(0)
    account = AccountStatus(
        wallet=Money(1_500_000_000), elsewhere=none, unpaid=none, dust=none, channel_open=True, heartbeat_armed=True,
        reading_age_s=1.0, troubles=(),
    )  # fmt: skip
    assert said in drawn(a_status(account=msgspec.structs.replace(account, **changes)))


def test_a_pause_that_ends_by_itself_waits_for_nobody():
    text = drawn(a_status(paused=(msgspec.structs.replace(PAUSE, breaker="account"),)))
    assert "(until that is over)" in text


def test_text_from_outside_neither_colours_nor_moves_the_terminal():
    text = drawn(a_status(agents=(an_agent(last_reason="[bold]x[/bold] \x1b[2J", name="[red]m"),)))
    assert "[bold]x[/bold]" in text
    assert "[red]m" in text
    assert "\x1b" not in text


def test_an_empty_floor_and_a_narrow_terminal_are_drawn_too():
    assert "PAUSED" not in drawn(a_status(agents=(), markets=(), recent_trades=(), market_time=None), width=40)
    assert "BTC-15m 09:00–09:15" in drawn(a_status(), width=80)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("-0.004", "$0.00"), ("0.005", "$0.01"), ("-3.214999", "-$3.21"), ("12345.678", "$12,345.68")],
)
def test_dollars_are_rounded_to_the_cent_for_reading(amount, text):
    assert dollars(money(amount)) == text
