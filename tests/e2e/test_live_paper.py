"""Paper money on live data: the service against the loopback exchange, over the end of a window, and decided again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.service import ROOT, Service

SPEED = 12
BEFORE_THE_END_S = 240.0
"""Of market time at the start: the floor is there for the end of one window and the beginning of the next."""


@contextmanager
def loopback_exchange() -> Iterator[str]:
    """A process of its own, its clock hastened and near a window's end; its address."""
    command = [sys.executable, "-m", "polybot", "exchange", "--port", "0", "--speed", str(SPEED)]
    command += ["--into", f"{900 - BEFORE_THE_END_S:g}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    with subprocess.Popen(command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found.group()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Service, dict[str, object]]:
    """A floor that saw one window end and the next begin, stopped in order; its health in between."""
    folder = tmp_path_factory.mktemp("live") / "floor"
    with loopback_exchange() as url:
        service = Service(folder, speed=1, POLYBOT_SOURCE="polymarket", POLYBOT_EXCHANGE=url)
        service.wait_for("resolved", 2)
        status, body = service.get("/health")
        assert status == 200, body
        health = json.loads(body)
        time.sleep(60 / SPEED)
        service.interrupt()
    return folder, service, health


def test_windows_roll_and_books_flow_without_any_credentials(lived: tuple[Path, Service, dict[str, object]]) -> None:
    _, service, health = lived
    feed = health["feed"]
    assert isinstance(feed, dict)
    assert feed["connected"]
    assert feed["outage_since"] is None
    assert feed["followed"] >= 4  # now and next, BTC and ETH
    assert health["mode"] == "paper"
    assert health["account"] is None
    assert "Traceback" not in service.log


def test_health_says_how_old_each_reference_price_is_and_how_the_sockets_are(
    lived: tuple[Path, Service, dict[str, object]],
) -> None:
    _, _, health = lived
    feed = health["feed"]
    assert isinstance(feed, dict)
    assert {"BTC", "ETH"} == {price["asset"] for price in feed["prices"]}
    assert "rtds-chainlink" in {price["source"] for price in feed["prices"]}
    assert all(type(price["age_ms"]) is int for price in feed["prices"])
    assert (feed["sources"]["sockets"], feed["sources"]["sockets_up"]) == (1, 1)
    assert [socket["name"] for socket in feed["sources"]["price_sockets"]] == ["rtds"]
    assert feed["sources"]["check"]["contradicted"] == 0


def test_what_the_catalogue_assumes_is_one_warning_for_each_series(
    lived: tuple[Path, Service, dict[str, object]],
) -> None:
    _, service, _ = lived
    told = [line for line in service.lines if "ms are assumed" in str(line.get("message"))]
    assert [line["level"] for line in told] == ["WARNING", "WARNING"]  # BTC and ETH


def test_what_was_seen_is_recorded_and_decides_the_same_again(
    lived: tuple[Path, Service, dict[str, object]],
) -> None:
    folder, service, _ = lived
    slug = str(service.wait_for("resolved")[0]["message"]).split("] ")[-1].partition(":")[0]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    again = subprocess.run(
        [sys.executable, "-m", "polybot", "replay", slug],
        cwd=ROOT,
        env=clean | {"POLYBOT_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "equal: all" in again.stdout
