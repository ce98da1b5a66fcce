"""What the watchdog sees, says and ends, by a hand clock; and once with a real loop that really blocks."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from loguru import logger

from polybot.floor.closing import EXIT_INTERRUPTED, Closing
from polybot.floor.watchdog import BEAT_S, EXIT_STUCK, Fatal, Remark, Vital, Watchdog


class HandLoop:
    """A loop whose only timer is fired by hand, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.callback: Callable[[], None] | None = None

    def monotonic(self) -> float:
        return self.now

    def call_later(self, _: float, callback: Callable[[], None]) -> "HandLoop":
        self.callback = callback
        return self

    def cancel(self) -> None:
        self.callback = None

    def turn(self) -> None:
        assert self.callback is not None
        self.callback()


class CountingGuard:
    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def beat(self) -> None:
        self.told.append("beat")

    def close(self) -> None:
        self.told.append("close")


class Watched:
    """A watchdog over a hand loop: what it logged, and the codes it would have ended the process with."""

    def __init__(self) -> None:
        self.loop, self.guard = HandLoop(), CountingGuard()
        self.ended: list[int] = []
        self.said: list[tuple[str, str]] = []
        self.dog = Watchdog(self.loop.monotonic, 30, guard=self.guard, end_process=self.ended.append)
        self.watch()

    def watch(self, *vitals: Vital) -> None:
        self.dog.watch_loop(self.loop, vitals)  # type: ignore[arg-type]  # it needs the one method

    def beat_for(self, seconds: float) -> None:
        for _ in range(round(seconds / BEAT_S)):
            self.loop.now += BEAT_S
            self.loop.turn()
            self.dog.look(self.loop.now, overslept_s=0)

    def block_for(self, seconds: float, step_s: float = 0.05) -> None:
        """The loop does not turn; the watchdog looks at its usual rhythm."""
        for _ in range(round(seconds / step_s)):
            self.loop.now += step_s
            self.dog.look(self.loop.now, overslept_s=0)

    def suspend_for(self, seconds: float) -> None:
        """Nothing at all runs; then the watchdog is the first that does."""
        self.loop.now += seconds
        self.dog.look(self.loop.now, overslept_s=seconds)

    def words(self, level: str) -> list[str]:
        return [text for said, text in self.said if said == level]


@pytest.fixture
def watched():
    one = Watched()
    sink = logger.add(lambda message: one.said.append((message.record["level"].name, message.record["message"])))
    yield one
    logger.remove(sink)


class TestTheLoop:
    def test_one_that_turns_is_left_in_peace(self, watched):
        watched.beat_for(2)
        assert (watched.said, watched.ended) == ([], [])
        assert watched.dog.health().beats == 100
        assert watched.dog.health().longest_stall_s < 1e-9

    def test_a_stall_is_told_once_with_the_blocking_stack_and_its_length_when_it_ends(self, watched):
        watched.beat_for(0.1)
        watched.block_for(1.0)
        watched.beat_for(0.5)
        begun, ended = watched.words("WARNING")
        assert "not turned for 0.28 s; it is at" in begun
        assert "in test_a_stall_is_told_once" in begun  # the stack of this thread, which stands for the loop's
        assert "turns again, after 1.00 s" in ended
        assert watched.ended == []

    def test_the_next_stall_is_told_again(self, watched):
        for _ in range(3):
            watched.block_for(0.5)
            watched.beat_for(0.1)
        assert len(watched.words("WARNING")) == 6
        health = watched.dog.health()
        assert (health.stalls, round(health.stalled_s, 6), round(health.longest_stall_s, 6)) == (3, 1.5, 0.5)

    def test_a_short_stall_only_counts_as_the_longest(self, watched):
        watched.block_for(0.2)
        watched.beat_for(0.1)
        health = watched.dog.health()
        assert (watched.said, health.stalls, round(health.longest_stall_s, 6)) == ([], 0, 0.2)

    def test_a_stall_that_is_still_on_shows_in_its_health(self, watched):
        watched.block_for(5)
        assert watched.dog.health().longest_stall_s == pytest.approx(5 - BEAT_S)

    def test_a_stall_nobody_could_look_at_is_told_when_it_is_over(self, watched):
        """Something outside Python held the interpreter: this thread had no turn either."""
        watched.loop.now += 0.6
        watched.loop.turn()
        watched.dog.look(watched.loop.now, overslept_s=0.55)
        (said,) = watched.words("WARNING")
        assert "after 0.58 s; what blocked it left this thread no turn to look" in said

    def test_a_stall_over_the_limit_ends_the_process_with_the_stack(self, watched):
        watched.block_for(29.9)
        assert watched.ended == []
        watched.block_for(0.5)
        assert watched.ended == [EXIT_STUCK]
        (said,) = watched.words("CRITICAL")
        assert "not turned for 30.0" in said
        assert "in test_a_stall_over_the_limit" in said
        assert "nothing journaled is lost" in said

    def test_after_the_loop_has_left_nothing_of_it_is_judged(self, watched):
        watched.dog.leave_loop()
        watched.block_for(60)
        assert (watched.said, watched.ended, watched.loop.callback) == ([], [], None)


class TestASuspendedProcess:
    def test_it_is_not_ended_on_waking_however_long_it_slept(self, watched):
        watched.beat_for(0.1)
        watched.suspend_for(3600)
        watched.beat_for(1)
        assert watched.ended == []
        assert "nothing in this process ran for 3600.0 s" in watched.words("WARNING")[0]
        assert watched.dog.health().standstills == 1

    def test_what_hangs_after_waking_is_ended_all_the_same(self, watched):
        watched.suspend_for(3600)
        watched.block_for(31)
        assert watched.ended == [EXIT_STUCK]

    def test_its_vital_parts_get_their_whole_time_again(self, watched):
        since = watched.loop.now
        watched.watch(Vital(name="the journal", stuck_for=lambda: watched.loop.now - since, limit_s=30))
        watched.suspend_for(3600)
        watched.beat_for(29)
        assert watched.ended == []
        watched.beat_for(2)
        assert watched.ended == [EXIT_STUCK]


class TestVitalParts:
    def test_one_that_hangs_while_the_loop_turns_ends_the_process_and_is_named(self, watched):
        stuck = 0.0
        watched.watch(Vital(name="the journal", stuck_for=lambda: stuck, limit_s=30))
        watched.beat_for(31)
        stuck = 30.5
        watched.beat_for(0.1)
        assert watched.ended == [EXIT_STUCK]
        assert "the journal has not got on for 30.5 s (at most 30)" in watched.words("CRITICAL")[0]

    def test_one_within_its_limit_says_nothing(self, watched):
        watched.watch(Vital(name="the boss", stuck_for=lambda: 29.0, limit_s=30))
        watched.beat_for(40)
        assert (watched.said, watched.ended) == ([], [])

    def test_while_the_loop_stands_the_loop_is_what_is_told(self, watched):
        last_look = watched.loop.now
        watched.watch(Vital(name="the boss", stuck_for=lambda: watched.loop.now - last_look, limit_s=30))
        watched.beat_for(1)
        watched.block_for(30.5)
        assert watched.ended == [EXIT_STUCK]
        assert "the event loop has not turned" in watched.words("CRITICAL")[0]


class TestTheGuard:
    def test_it_is_told_once_a_second_that_the_loop_turns(self, watched):
        watched.beat_for(3.1)
        watched.dog.leave_loop()
        assert watched.guard.told == ["start", "beat", "beat", "beat", "close"]

    def test_it_hears_nothing_while_the_loop_stands(self, watched):
        watched.block_for(10)
        assert watched.guard.told == ["start"]


class TestClosing:
    def closing(self) -> tuple[HandLoop, Closing]:
        loop = HandLoop()
        return loop, Closing(loop.monotonic, 30)

    def test_before_anybody_asks_there_is_nothing_to_say(self):
        loop, closing = self.closing()
        loop.now += 1000
        assert closing.look(1000) is None

    def test_the_first_time_it_says_how_long_it_may_take_the_second_how_long_is_left(self):
        loop, closing = self.closing()
        assert closing.ask()
        assert closing.answer() == Remark(text="stopping in order; that takes at most 30 s")
        assert closing.answer() is None
        closing.stage("the journal")
        loop.now += 12
        assert closing.ask()
        said = closing.answer()
        assert isinstance(said, Remark)
        assert "now the journal: at most 18 s more" in said.text

    def test_the_watchdog_answers_where_the_loop_does_not_and_only_then(self):
        loop, closing = self.closing()
        closing.ask()
        assert closing.look(1000) is None
        loop.now += 0.3
        assert isinstance(closing.look(1000), Remark)
        assert (closing.look(1000), closing.answer()) == (None, None)
        closing.ask()
        assert isinstance(closing.look(1000), Remark)  # somebody grows impatient: whoever comes first
        assert closing.answer() is None

    def test_the_third_time_ends_at_once(self):
        _, closing = self.closing()
        assert [closing.ask() for _ in range(3)] == [True, True, False]
        assert closing.look(1000) == Fatal(text="asked to end 3 times", exit_code=EXIT_INTERRUPTED)

    def test_over_its_time_it_names_what_would_not_close(self):
        loop, closing = self.closing()
        closing.begin("the agents")
        loop.now += 30.1
        said = closing.look(1000)
        assert isinstance(said, Fatal)
        assert (said.exit_code, "in 30 s: the agents would not close" in said.text) == (EXIT_STUCK, True)

    def test_time_in_which_the_process_was_suspended_does_not_count(self):
        loop, closing = self.closing()
        closing.begin()
        loop.now += 500
        assert closing.look(5) is None

    def test_a_held_floor_goes_on_and_has_its_whole_time_when_it_is_stopped(self):
        loop, closing = self.closing()
        closing.begin()
        closing.done()
        loop.now += 500
        assert closing.look(1000) is None
        closing.ask()
        assert closing.left_s == 30

    def test_a_later_stage_does_not_buy_time(self):
        loop, closing = self.closing()
        closing.begin("the agents")
        loop.now += 20
        closing.begin("the journal")
        assert closing.left_s == 10


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_real_loop_that_blocks_is_seen_at_the_line_that_blocks_it(new_loop: Callable[[], Any]):
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]))
    dog = Watchdog(time.monotonic, 30, end_process=sys.exit)
    dog.start()

    async def life() -> None:
        dog.watch_loop(asyncio.get_running_loop())
        await asyncio.sleep(0.1)
        time.sleep(0.45)  # noqa: ASYNC251  the very thing
        await asyncio.sleep(0.15)

    loop = new_loop()
    try:
        loop.run_until_complete(life())
        health = dog.health()
        dog.leave_loop()
    finally:
        loop.close()
        dog.close()
        logger.remove(sink)
    assert "time.sleep(0.45)" in said[0]
    assert "run_until_complete(life())" not in said[0], "how the loop was begun is the same each time"
    assert "turns again, after 0.4" in said[1] or "turns again, after 0.5" in said[1]
    assert health.stalls == 1
    assert 0.4 < health.longest_stall_s < 1.0
    assert health.beats >= 5


def test_a_log_that_nobody_reads_does_not_keep_it_from_ending_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("polybot.floor.watchdog.SAY_S_MAX", 0.05)
    watched = Watched()
    sink = logger.add(lambda _: time.sleep(0.5))
    try:
        watched.dog.add(lambda _: Fatal(text="enough"))
        watched.dog.look(watched.loop.now, overslept_s=0)
        assert watched.ended == [EXIT_STUCK]
    finally:
        logger.remove(sink)


def test_what_was_said_is_flushed_before_the_process_is_ended():
    order: list[str] = []
    sink = logger.add(lambda message: order.append(message.record["level"].name))
    dog = Watchdog(
        time.monotonic, 30, flush=lambda: order.append("flushed"), end_process=lambda _: order.append("ended")
    )
    try:
        dog.add(lambda _: Fatal(text="enough"))
        dog.look(time.monotonic(), overslept_s=0)
    finally:
        logger.remove(sink)
    assert order == ["CRITICAL", "flushed", "ended"]


def test_one_that_is_suspended_while_it_looks_says_so_as_well(watched):
    looks: list[float] = []

    def suspended(_: float) -> None:
        looks.append(watched.loop.now)
        if len(looks) == 1:
            watched.loop.now += 4.5

    watched.dog.add(suspended)
    watched.dog.start()
    try:
        while len(looks) < 2:
            time.sleep(0.01)
    finally:
        watched.dog.close()
    assert "nothing in this process ran for 4." in watched.said[0][1]


def test_its_thread_ends_when_told(watched):
    watched.dog.start()
    watched.dog.close()
    assert not watched.dog._thread.is_alive()
