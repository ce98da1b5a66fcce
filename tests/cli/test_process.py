"""The watched process as a process: it really blocks, hangs, sleeps and is interrupted, and ends by its own hand."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from polybot.floor.watchdog import EXIT_STUCK

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import asyncio, ctypes, sys, time
from polybot import log
from polybot.cli.process import WatchedProcess

log.set_up("pretty", "INFO")
process = WatchedProcess(stall_exit_s=1.0, stop_s_max=STOP_S_MAX)

async def main(stop):
    process.judge(())
    print("open", flush=True)
"""
EPILOGUE = """
process.run(main)
print("ended in order", flush=True)
"""


class Child:
    """A watched process whose main coroutine is `life`, once it is open."""

    def __init__(self, life: str, stop_s_max: float = 1.0) -> None:
        script = (
            PREAMBLE.replace("STOP_S_MAX", str(stop_s_max)) + textwrap.indent(textwrap.dedent(life), "    ") + EPILOGUE
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"
        self.began = time.monotonic()

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int, str, float]:
        """Its exit code, all it wrote, and how long it lived after it was open."""
        out, log = self.process.communicate(timeout=30)
        return self.process.returncode, out + log, time.monotonic() - self.began


def test_one_that_does_its_work_ends_in_order_and_at_once() -> None:
    code, said, seconds = Child("await asyncio.sleep(0.1)").end()
    assert (code, "ended in order" in said) == (0, True)
    assert seconds < 2


def test_a_loop_blocked_in_python_ends_it_with_the_blocking_line_in_the_log() -> None:
    life = """
        def think_for_ever():
            while True:
                pass
        think_for_ever()
    """
    code, said, seconds = Child(life).end()
    assert code == EXIT_STUCK
    assert "in think_for_ever" in said
    assert said.count("the event loop has not turned") == 2  # when it was noticed, and at the end
    assert seconds < 5


def test_what_holds_the_interpreter_itself_is_ended_by_the_guard_with_every_stack() -> None:
    code, said, seconds = Child("ctypes.PyDLL(None).usleep(20_000_000)").end()
    assert code == -signal.SIGABRT
    assert "the guard ends the process" in said
    assert "in main" in said
    assert seconds < 8


def test_one_that_was_suspended_for_longer_than_any_limit_goes_on() -> None:
    child = Child("await asyncio.sleep(1)\nawait asyncio.sleep(0.3)")  # the first is over when it wakes
    time.sleep(0.2)
    child.send(signal.SIGSTOP)
    time.sleep(4.5)  # the guard would have ended it after 3
    child.send(signal.SIGCONT)
    code, said, _ = child.end()
    assert (code, "ended in order" in said) == (0, True)
    assert "nothing in this process ran for 4." in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_hangs_is_ended_in_its_time_naming_what_hangs(number: int) -> None:
    life = """
        await stop.wait()
        process.closing.stage("the journal")
        await asyncio.Event().wait()
    """
    child = Child(life)
    child.send(number)
    code, said, seconds = child.end()
    assert code == EXIT_STUCK
    assert "stopping in order; that takes at most 1 s" in said
    assert "did not end in 1 s: the journal would not close" in said
    assert seconds < 4


def test_the_second_ctrl_c_says_how_long_is_left_and_the_third_ends_it_though_the_loop_is_blocked() -> None:
    life = """
        await stop.wait()
        while True:
            pass
    """
    child = Child(life)
    for _ in range(2):
        child.send(signal.SIGINT)
        time.sleep(0.2)
    child.send(signal.SIGINT)
    code, said, seconds = child.end()
    assert code == 130
    assert "at most 1 s more. Once more ends it at once" in said
    assert seconds < 1.4


def test_a_task_that_swallows_its_cancellation_does_not_keep_it_from_ending_in_order() -> None:
    life = """
        async def stubborn():
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        process.kept = asyncio.create_task(stubborn(), name="a stubborn one")
        await asyncio.sleep(0.05)
    """
    code, said, _ = Child(life, stop_s_max=5.0).end()
    assert (code, "ended in order" in said) == (0, True)
    assert "left behind: a stubborn one" in said


def test_a_thread_that_never_comes_back_is_not_waited_for_longer_than_a_stop_may_take() -> None:
    life = """
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
        await asyncio.sleep(0.05)
    """
    code, said, seconds = Child(life).end()
    assert code == EXIT_STUCK
    assert "a thread would not close" in said
    assert seconds < 4
