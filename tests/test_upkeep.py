"""Background work that must go on: an end by a bug is told, shown, and made good after growing waits."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from polybot.chaos.clock import VirtualClock
from polybot.chaos.loop import VirtualLoop
from polybot.domain.events import Severity
from polybot.domain.units import Millis
from polybot.storage.journal_queue import JournalFailedError
from polybot.upkeep import STEADY_S, WAIT_S_MAX, Upkeep

NOON = Millis(1_790_596_800_000)


class Stage:
    """Virtual time, work that ends as the script wants, and everything that was told."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, NOON)
        self.notes: list[str] = []
        self.began: list[float] = []
        self.lives: list[Callable[[], Awaitable[None]]] = []

    def play(self, script: Callable[["Stage"], Awaitable[None]]) -> None:
        async def everything() -> None:
            self.upkeep = Upkeep(self.clock, random.Random(1), self.note)
            await script(self)
            await self.upkeep.end()
            assert len(asyncio.all_tasks()) == 1

        with self.loop:
            self.loop.run_until_complete(everything())

    async def note(self, severity: Severity, component: str, text: str) -> None:
        self.notes.append(f"{severity} {component}: {text}")

    async def work(self) -> None:
        """The next life of the script's; for ever when there is none."""
        self.began.append((self.clock.now_ms() - NOON) / 1000)
        await (self.lives.pop(0)() if self.lives else asyncio.Event().wait())


async def bug() -> None:
    await asyncio.sleep(0.1)
    raise ZeroDivisionError("by a bug")


def test_work_that_ends_by_a_bug_is_told_shown_and_begun_again() -> None:
    async def script(stage: Stage) -> None:
        stage.lives = [bug]
        stage.upkeep.keep("ticker", stage.work)
        await asyncio.sleep(0.2)
        fault = stage.upkeep.fault("bus", "ticker")
        assert fault is not None
        assert (fault.since, fault.text) == (NOON + 100, "ticker ended unexpectedly: ZeroDivisionError: by a bug")
        assert stage.upkeep.fault("bus") is None
        (told,) = stage.notes
        assert told.startswith(f"ERROR ticker: {fault.text}; it is begun again in ")
        await asyncio.sleep(2)
        assert len(stage.began) == 2
        assert stage.upkeep.fault("ticker") == fault, "until it has run steadily"
        await asyncio.sleep(STEADY_S)
        assert stage.upkeep.fault("ticker") is None
        assert stage.notes[1].startswith("INFO ticker: ticker runs again, ")

    Stage().play(script)


def test_work_that_ends_again_and_again_is_begun_ever_more_seldom_and_shown_since_its_first_end() -> None:
    async def script(stage: Stage) -> None:
        stage.lives = [bug] * 100
        stage.upkeep.keep("ticker", stage.work)
        await asyncio.sleep(600)
        waits = [later - earlier for earlier, later in zip(stage.began, stage.began[1:], strict=False)]
        assert waits[0] <= 1.2
        assert WAIT_S_MAX / 2 <= waits[-1] <= WAIT_S_MAX + 0.2
        assert len(stage.began) < 25
        fault = stage.upkeep.fault("ticker")
        assert fault is not None
        assert (fault.since, fault.times) == (NOON + 100, len(stage.notes))
        assert "for the 3. time in a row" in stage.notes[2]

    Stage().play(script)


def test_an_end_long_after_the_last_is_the_first_of_its_kind() -> None:
    async def later_a_bug() -> None:
        await asyncio.sleep(3_600)
        await bug()

    async def script(stage: Stage) -> None:
        stage.lives = [later_a_bug] * 3
        stage.upkeep.keep("ticker", stage.work)
        await asyncio.sleep(3 * 3_600 + 60)
        assert len(stage.began) == 4
        assert not [text for text in stage.notes if "in a row" in text]

    Stage().play(script)


def test_work_cancelled_from_within_is_begun_again_too() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def script(stage: Stage) -> None:
        stage.lives = [cancelled]
        stage.upkeep.keep("bus", stage.work)
        await asyncio.sleep(2)
        assert len(stage.began) == 2
        assert "cancelled from within" in stage.notes[0]

    Stage().play(script)


def test_work_that_returns_is_done_and_not_begun_again() -> None:
    async def done() -> None:
        return

    async def script(stage: Stage) -> None:
        stage.lives = [done]
        stage.upkeep.keep("projector", stage.work)
        await asyncio.sleep(600)
        assert (len(stage.began), stage.notes, stage.upkeep.faults) == (1, [], {})

    Stage().play(script)


def test_a_journal_that_takes_no_word_does_not_keep_the_work_from_being_begun_again() -> None:
    async def script(stage: Stage) -> None:
        async def refused(severity: Severity, component: str, text: str) -> None:
            raise JournalFailedError("the disk is full")

        stage.upkeep.note = refused
        stage.lives = [bug]
        stage.upkeep.keep("bus", stage.work)
        await asyncio.sleep(5)
        assert len(stage.began) == 2

    Stage().play(script)


def test_a_bug_in_work_done_once_is_shown_until_it_goes_well_again() -> None:
    async def fine() -> None:
        return

    async def script(stage: Stage) -> None:
        await stage.upkeep.once("saving", bug)
        assert stage.notes == ["ERROR saving: saving ended unexpectedly: ZeroDivisionError: by a bug"]
        assert stage.upkeep.fault("saving") is not None
        await stage.upkeep.once("saving", fine)
        assert stage.upkeep.fault("saving") is None

    Stage().play(script)
