"""What a watched process says where nobody reads: the loop turns on, the end is bounded, the order is kept."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from loguru import logger

from polybot.cli.terminal import PLAIN_EVERY_S, BottomLine, Progress
from polybot.floor.watchdog import EXIT_STUCK

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import asyncio, sys, time
from loguru import logger
from polybot import log
from polybot.cli.process import WatchedProcess
from polybot.cli.terminal import BottomLine, log_outlet, nobody_waits

outlet = log_outlet("pretty")
line = BottomLine(outlet)
log.set_up("pretty", "INFO", line.above)
process = WatchedProcess(1.0, 5.0, outlet.flush)

async def noise():
    for number in range(3000):
        logger.info("{} {}", number, "." * 1000)
        line.show(f"at {number}")
        if number % 50 == 0:
            await asyncio.sleep(0)

async def main(stop):
    process.judge(())
    logger.info("open")
"""
EPILOGUE = """
with nobody_waits(line, outlet):
    process.run(main)
    print("farewell")
"""
REPORT = """
print("report")
"""


class Child:
    """A watched process whose main coroutine is `life`, with all it says going to `said_to`.

    Without a `report`, which is printed plainly, nothing of it has to be read.
    """

    def __init__(self, life: str, said_to: int, *, report: bool = False) -> None:
        script = PREAMBLE + textwrap.indent(textwrap.dedent(life), "    ") + EPILOGUE + report * REPORT
        command = [sys.executable, "-c", script]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=said_to, stderr=said_to, stdin=subprocess.DEVNULL)
        os.close(said_to)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)


def read_all(reading: int) -> str:
    said = b""
    try:
        while more := os.read(reading, 65536):
            said += more
    except OSError:  # the terminal's other side is closed
        pass
    os.close(reading)
    return said.decode(errors="replace")


def test_what_is_logged_printed_and_shown_comes_in_order() -> None:
    life = """
        await asyncio.sleep(0.1)  # while something is being written the line is left out
        line.show("a bottom line")
        print("printed")
        print("to stderr", file=sys.stderr)
        logger.info("logged")
        line.end()
    """
    reading, terminal = pty.openpty()
    child = Child(life, terminal, report=True)
    said = read_all(reading)
    assert child.end() == 0
    places = [said.index(words) for words in ("open", "printed", "to stderr", "logged", "farewell", "report")]
    assert places == sorted(places)
    assert said.count("\x1b[2K") > 1
    assert said.split("\x1b[2K")[-1].startswith("farewell")  # the bottom line was taken away before


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_loop_that_says_more_than_anybody_reads_turns_on_and_the_loss_is_told(
    is_terminal: bool, tmp_path: Path
) -> None:
    """Its second look is longer after the first than a loop may stand still."""
    looks = [tmp_path / "first", tmp_path / "second"]
    life = f"""
        await noise()
        print("x" * 200_000)
        open({str(looks[0])!r}, "w")
        await asyncio.sleep(1.5)
        open({str(looks[1])!r}, "w")
        await stop.wait()
    """
    reading, writing = pty.openpty() if is_terminal else os.pipe()
    child = Child(life, writing)
    end = time.monotonic() + 15
    while not looks[1].exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert looks[1].exists()
    child.send(signal.SIGTERM)
    said = read_all(reading)
    assert child.end() == 0
    assert "log lines were not written: nobody read them for " in said
    assert said.index("log_lost") < said.index("2999 ...") < said.index("stopping in order") < said.index("farewell")
    assert ("at 2999" in said) is False  # while lines wait nothing is shown below them


def test_what_hangs_is_ended_in_time_though_nobody_reads_why() -> None:
    reading, writing = pty.openpty()
    child = Child("await noise()\nbegan = time.monotonic()\nwhile True: pass", writing)
    began = time.monotonic()
    assert child.end() == EXIT_STUCK
    assert time.monotonic() - began < 20
    os.close(reading)


def test_a_reader_that_is_gone_ends_nothing() -> None:
    reading, writing = os.pipe()
    child = Child("await noise()\nawait stop.wait()\nawait noise()", writing)
    assert b"open" in os.read(reading, 65536)
    os.close(reading)
    time.sleep(0.3)
    child.send(signal.SIGTERM)
    assert child.end() == 0


def test_a_stop_in_order_waits_a_second_for_who_does_not_read_and_not_longer() -> None:
    reading, writing = os.pipe()
    child = Child("await noise()\nawait stop.wait()", writing)
    assert b"open" in os.read(reading, 100)
    time.sleep(0.5)
    child.send(signal.SIGTERM)
    began = time.monotonic()
    assert child.end() == 0
    assert 0.5 < time.monotonic() - began < 8
    os.close(reading)


def test_without_a_terminal_progress_is_a_line_in_the_log_now_and_then():
    seconds, line = [0.0], BottomLine()
    line.plain = True
    progress = Progress(line, lambda: seconds[0])
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message).strip()), format="{message}")
    for number in range(5):
        seconds[0] = number * PLAIN_EVERY_S / 2
        progress.show(f"{number} events")
    logger.remove(sink)
    assert said == ["2 events", "4 events"]
