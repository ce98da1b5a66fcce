"""`polybot exchange` as a process of its own, its output in a file beside the floor's."""

import asyncio
import re
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

from polybot.chaos.real_parts import ChaosError
from polybot.clock import SystemClock
from polybot.exchange.core.model import Address

START_S_MAX = 30.0
STOP_S_MAX = 10.0
ADDRESS = re.compile(r"loopback exchange at (\S+) ")


class ExchangeProcess:
    """Start it, read `url`, stop it."""

    def __init__(self, log: Path) -> None:
        self._log, self._clock = log, SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    async def start(
        self,
        *,
        speed: float,
        seed: int,
        ghost_rate: float,
        fund: dict[Address, Decimal],
        into_s: float | None = None,
        port: int = 0,
    ) -> None:
        """Raises ChaosError where it does not come up."""
        words = ["--port", str(port), "--speed", f"{speed:g}", "--seed", str(seed), "--ghost-rate", f"{ghost_rate:g}"]
        for wallet, amount in fund.items():
            words += ["--fund", f"{wallet}={amount}"]
        if into_s is not None:
            words += ["--into", f"{into_s:g}"]
        self._process = self._launch(words)
        deadline = self._clock.monotonic() + START_S_MAX
        while not (found := ADDRESS.search(self._log.read_text(errors="replace"))):
            if self._process.poll() is not None or self._clock.monotonic() > deadline:
                raise ChaosError(f"the exchange did not start: see {self._log}")
            await asyncio.sleep(0.05)
        self.url = found.group(1)

    def _launch(self, words: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "polybot", "exchange", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Raises ChaosError."""
        if self._process is None or self._process.poll() is not None:
            raise ChaosError(f"the exchange ended by itself: see {self._log}")

    async def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(self._process.wait, STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
