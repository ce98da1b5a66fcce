"""The real service as a user starts it: a process of its own, own servers, own folder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 40.0


class Service:
    """`polybot run` on a folder; `lines` is what it has logged so far."""

    def __init__(self, folder: Path, *, speed: float, **environment: str) -> None:
        self._log = folder.parent / f"{folder.name}.log"
        self._log.touch()
        self._seen = self._log.stat().st_size
        command = [sys.executable, "-m", "polybot", "run", "--speed", f"{speed:g}", "--port", "0"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
        settings = {"POLYBOT_DATA_DIR": str(folder), "POLYBOT_LOG_FORMAT": "json", **environment}
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=clean | settings, stdout=subprocess.PIPE, stderr=log, text=True
            )

    @property
    def lines(self) -> list[dict[str, object]]:
        with self._log.open() as log:
            log.seek(self._seen)
            return [json.loads(line) for line in log if line.startswith("{") and line.endswith("\n")]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, action: str, count: int = 1) -> list[dict[str, object]]:
        """Wait until so many lines of this action have been logged."""
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            found = [line for line in self.lines if line["action"] == action]
            if len(found) >= count:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {count} lines of {action!r} in:\n{self._log.read_text()[-4000:]}")

    @property
    def url(self) -> str:
        message = str(self.wait_for("open")[0]["message"])
        found = re.search(r"http://\S+", message)
        assert found, message
        return found.group()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def finish(self, seconds: float = 120.0) -> str:
        """Wait for the end; what it printed."""
        printed, _ = self.process.communicate(timeout=seconds)
        return printed

    def interrupt(self) -> str:
        self.process.send_signal(signal.SIGINT)
        return self.finish(30.0)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)
