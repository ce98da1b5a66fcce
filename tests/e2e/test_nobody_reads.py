"""The real service on a terminal that nobody reads for a while: it goes on, and says afterwards what was lost."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
STALL_EXIT_S = 1.0
LINES = 1500
LINE_BYTES = 1500
STRATEGY = """
from loguru import logger
from polybot.strategies.base import BaseStrategy

class Noisy(BaseStrategy):
    name = "noisy_one"
    told = 0

    def generate_signal(self, view):
        for number in range(Noisy.told, min(Noisy.told + 100, {lines})):
            logger.bind(action="noise").info("{{}} {{}}", number, "." * {size})
            Noisy.told = number + 1
        return view.waiting("nothing_to_do")
"""


class OnATerminal:
    """`polybot run` with a terminal of its own, which is read when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        (folder / "own").mkdir()
        (folder / "configs" / "strategies").mkdir(parents=True)
        (folder / "configs" / "strategies" / "noisy.toml").write_text('strategy = "noisy_one"\n')
        (folder / "own" / "noisy.py").write_text(STRATEGY.format(lines=LINES, size=LINE_BYTES))
        settings = {
            "POLYBOT_DATA_DIR": str(self.data),
            "POLYBOT_CONFIG_DIR": str(folder / "configs"),
            "POLYBOT_STRATEGIES_DIR": str(folder / "own"),
            "POLYBOT_STALL_EXIT_S": str(STALL_EXIT_S),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
        self.keyboard, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "polybot", "run", "--speed", "1000", "--port", "0"],
            cwd=ROOT,
            env=clean | settings,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self.shown = ""

    def read(self, seconds: float, until: str) -> None:
        """Read until this stands there, or to the end of the process's words."""
        end = time.monotonic() + seconds
        while until not in self.shown and time.monotonic() < end:
            if select.select([self.keyboard], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.keyboard, 65536).decode(errors="replace")
                except OSError:  # the other side is closed
                    return
        assert until in self.shown, self.shown[-2000:]

    def wait_for_end(self) -> str:
        """All it said to its end."""
        while True:
            try:
                if not (more := os.read(self.keyboard, 65536)):
                    break
            except OSError:
                break
            self.shown += more.decode(errors="replace")
        self.process.wait(10)
        return self.shown

    def health(self) -> dict[str, object]:
        url = (self.data / "page.url").read_text().strip()
        with urllib.request.urlopen(url + "/health", timeout=5) as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found

    def market_time(self) -> int:
        now = self.health()["market_time_ms"]
        assert isinstance(now, int)
        return now


def test_a_floor_goes_on_while_nobody_reads_its_terminal_and_says_afterwards_what_was_lost(tmp_path: Path) -> None:
    floor = OnATerminal(tmp_path)
    floor.read(30, "noise")  # it has begun to say far more than waits anywhere, and from here on nobody reads
    time.sleep(STALL_EXIT_S * 1.5)
    before = floor.market_time()
    time.sleep(0.5)
    assert floor.market_time() - before > 50_000
    floor.read(10, "log_lost")
    floor.read(10, f"{LINES - 1} ...")
    floor.process.send_signal(signal.SIGINT)
    said = floor.wait_for_end()
    assert floor.process.returncode == 0
    lost = re.search(r"log_lost +(\d+) log lines were not written: nobody read them for (\d+\.\d) s", said)
    assert lost is not None
    seen = said.count("noise")
    assert int(lost[1]) + seen == pytest.approx(LINES, abs=10)  # what else is told meanwhile may be lost as well
    assert float(lost[2]) > STALL_EXIT_S
    places = [said.index(words) for words in ("stopping in order;", "run_ended", "Stopped in order.")]
    assert places == sorted(places)
