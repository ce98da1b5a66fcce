"""`polybot exchange` as a process of its own."""

import asyncio
import signal
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from polybot.cli import application
from polybot.cli.exchange import begin
from polybot.domain.errors import BadInput
from polybot.exchange.guest import guest_of

WALLET = "0x" + "a1" * 20


async def test_it_starts_says_where_serves_every_host_and_stops_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polybot", "exchange", "--port", "0", "--fund", f"{WALLET}=1000"]
    command += ["--guest", str(tmp_path / "guest")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        invitation = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        async with aiohttp.ClientSession(base_url=line.split()[3]) as session:
            for path in ("/clob/ok", "/clob/markets", "/gamma/markets", "/site/api/geoblock", "/_control/clock"):
                async with session.get(path) as answer:
                    assert answer.status == 200, path
            async with session.get("/_control/books") as answer:
                books = await answer.json()
        guest = guest_of(tmp_path / "guest")
        assert books["accounts"][WALLET]["cash"] == 1_000_000_000
        assert books["accounts"][guest.wallet]["cash"] == 1_000_000_000
        assert str(guest.settings) in invitation
        assert f"POLYBOT_EXCHANGE='{line.split()[3]}'" in guest.settings.read_text()
    finally:
        process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 10) == 0


def test_a_guest_keeps_its_key_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    first, again = guest_of(tmp_path), guest_of(tmp_path)
    assert first == again
    assert (tmp_path / "private.key").read_text().strip() not in repr(first)
    for name in ("private.key", "relayer.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    (tmp_path / "private.key").write_text("nothing")
    with pytest.raises(BadInput, match="holds no private key"):
        guest_of(tmp_path)


@pytest.mark.parametrize(("option", "value"), [("--fund", "0x12=5"), ("--minutes", "7"), ("--speed", "0")])
def test_what_cannot_be_is_said_before_anything_starts(option: str, value: str) -> None:
    result = CliRunner().invoke(application(["exchange"]), ["exchange", "--port", "0", option, value])
    assert isinstance(result.exception, BadInput)


@pytest.mark.parametrize("into_s", [0.0, 840.0])
def test_its_clock_can_begin_at_any_part_of_a_window(into_s: float) -> None:
    begun = begin(900_000, into_s)
    assert begun is not None
    assert begun % 900_000 == into_s * 1000
    assert begin(900_000, None) is None
