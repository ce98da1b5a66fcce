"""The exchange on its own, hastened clock: windows follow each other, over the wire, in the time of one breath."""

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.recorded import recorded_windows
from polybot.exchange.server import create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.tape_market import MarketTerms
from polybot.exchange.timetable import plan_series
from polybot.paths import tapes_dir
from tests.exchange.tapes import FRAME_MS, PRESENT_START, plain_windows

SPEED = 1_800.0
"""Half an hour a second."""


async def test_windows_open_and_resolve_over_the_socket_at_a_chosen_speed() -> None:
    exchange = Exchange(FastClock(SPEED, Millis(PRESENT_START + FRAME_MS - 60_000)))
    around = Surroundings(exchange, plan_series(plain_windows(), ["BTC"]), market_terms=MarketTerms(listed_ahead=3))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    tokens = [token for window in around.market.windows.values() for token in window.listing.tokens]
    frames: list[dict[str, object]] = []
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{server.ws_url}/ws/market") as socket:
        await socket.send_json({"assets_ids": tokens, "type": "market", "custom_feature_enabled": True})
        while sum(frame["event_type"] == "market_resolved" for frame in frames) < 3:
            content = msgspec.json.decode(await asyncio.wait_for(socket.receive_str(), 5))
            frames += content if isinstance(content, list) else [content]
        async with client.get(f"{server.url}/clob/time") as response:
            told_s = await response.json()
    await server.close()
    resolved = [frame for frame in frames if frame["event_type"] == "market_resolved"]
    opened = [frame for frame in frames if frame["event_type"] == "new_market"]
    times = [int(str(frame["timestamp"])) for frame in frames if frame["event_type"] not in ("book", "price_change")]
    assert [frame["winning_outcome"] for frame in resolved] in (["Up", "Down", "Up"], ["Down", "Up", "Down"])
    assert len(opened) >= 2
    assert times == sorted(times)
    assert PRESENT_START + 3 * FRAME_MS <= told_s * 1000 <= PRESENT_START + 6 * FRAME_MS


def test_the_shipped_tape_drives_btc_and_eth_in_the_present_window() -> None:
    exchange = Exchange(FastClock(start=Millis(PRESENT_START + 400_000)))
    windows = recorded_windows([tapes_dir() / "btc15m_l2.tape"])
    around = Surroundings(exchange, plan_series(windows, ["BTC", "ETH"]))
    start = around.market.plans[0].current_start(exchange.now())
    for asset in ("btc", "eth"):
        slug = f"{asset}-updown-15m-{start // 1000}"
        bid, ask = exchange.engine.board(slug).pool.top  # type: ignore[arg-type]
        assert bid is not None
        assert ask is not None
        assert bid < ask
        prices = around.desks[asset.upper()].prices(start)
        assert prices is not None
        assert prices.to_beat > 0


def test_a_hastened_clock_runs_so_much_faster_and_never_back() -> None:
    clock = FastClock(1_000.0, PRESENT_START)
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)
    assert readings[-1] > PRESENT_START


@pytest.mark.parametrize("speed", [0.0, -1.0, 10_000.0])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(BadInput):
        FastClock(speed)


def test_a_tape_that_is_missing_is_an_error_and_not_an_empty_market(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        recorded_windows([tmp_path / "no.tape"])
