"""A killed process does nothing any more, wherever it stood: no cleanup reaches the world, and nothing is kept."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator

import pytest

from polybot.chaos.life import LIFE, Life, ProcessIsDead
from polybot.chaos.loop import Ended, VirtualLoop


class Door:
    """Something that outlives processes and keeps what it was told."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.told: list[str] = []
        self.tried_when_dead = 0

    def tell(self, life: Life, text: str) -> None:
        self.tried_when_dead += life.dead
        life.require_alive()
        self.told.append(text)

    async def ask(self, life: Life, text: str) -> None:
        self.tell(life, f"{text} asked")
        await asyncio.sleep(10 / 1024)
        self.tell(life, f"{text} answered")


@contextlib.contextmanager
def noted(door: Door, life: Life, text: str) -> Iterator[None]:
    try:
        yield
    finally:
        door.tell(life, f"{text} left")


@contextlib.asynccontextmanager
async def asked(door: Door, life: Life, text: str) -> AsyncIterator[None]:
    await door.ask(life, f"{text} open")
    try:
        yield
    finally:
        await door.ask(life, f"{text} close")


async def counts(door: Door, life: Life) -> AsyncIterator[int]:
    try:
        for number in range(3):
            await asyncio.sleep(5 / 1024)
            yield number
    finally:
        door.tell(life, "counted")


async def worker(door: Door, life: Life, name: str) -> None:
    """Cleans up in every way there is, waits while doing so, and takes no hint."""
    with noted(door, life, name):
        try:
            async with asked(door, life, name), asyncio.timeout(10):
                async for number in counts(door, life):
                    await asyncio.wait_for(door.ask(life, f"{name} {number}"), 1)
        except asyncio.CancelledError:
            door.tell(life, f"{name} was cancelled")
            await door.ask(life, f"{name} says good-bye")
            raise
        finally:
            asyncio.create_task(door.ask(life, f"{name} starts another")).add_done_callback(
                lambda task: task.exception()
            )
            await door.ask(life, f"{name} ends")


async def program(door: Door, life: Life) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(12 / 1024, door.tell, life, "a timer")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(31 / 1024), asyncio.TaskGroup() as group:
            group.create_task(worker(door, life, "one"))
            group.create_task(worker(door, life, "two"))
            group.create_task(asyncio.to_thread(door.tell, life, "a thread"))
    await asyncio.shield(worker(door, life, "three"))


def whole_run() -> tuple[list[str], int]:
    with VirtualLoop() as loop:
        door, life = Door(loop), loop.begin_life()
        task = loop.start(life, program(door, life))
        loop.run(until=task)
        assert task.exception() is None
        loop.kill(life)
        return door.told, loop.steps


def test_wherever_it_is_killed_nothing_follows(recwarn: pytest.WarningsRecorder) -> None:
    straight, steps = whole_run()
    assert steps > 80
    tried = 0
    for step in range(steps):
        with VirtualLoop() as loop:
            door, life = Door(loop), loop.begin_life()
            task = loop.start(life, program(door, life))
            assert loop.run(until=task, until_step=step) is Ended.STEP
            told = list(door.told)
            loop.kill(life)
            assert loop.run(until_time=100.0) is Ended.TIME
            gc.collect()
            assert door.told == told == straight[: len(told)]
            assert life.remains == []
            assert loop.unhandled == []
            tried += door.tried_when_dead
    assert tried > steps, "the program's cleanup did not even come to the door: the test shows nothing"
    assert [str(one.message) for one in recwarn] == []


def test_the_next_life_is_as_good_as_the_first() -> None:
    straight, _ = whole_run()
    with VirtualLoop() as loop:
        door = Door(loop)
        for step in range(3, 85, 2):
            life = loop.begin_life()
            loop.start(life, program(door, life))
            loop.run(until_step=loop.steps + step)
            loop.kill(life)
        door.told.clear()
        life = loop.begin_life()
        loop.run(until=loop.start(life, program(door, life)))
        loop.kill(life)
        assert door.told == straight


def test_a_process_can_be_killed_by_the_door_it_came_to() -> None:
    async def comes_twice(life: Life) -> None:
        door.tell(life, "came")
        loop.kill(life)
        with contextlib.suppress(Exception):
            door.tell(life, "came again")
        told_after.append("still running")

    told_after: list[str] = []
    with VirtualLoop() as loop:
        door, life = Door(loop), loop.begin_life()
        loop.start(life, comes_twice(life))
        loop.run(until_time=1)
    assert (door.told, told_after, door.tried_when_dead) == (["came"], [], 1)


def test_the_world_is_told_of_the_death_first_and_goes_on() -> None:
    async def waits_for_ever(life: Life) -> None:
        loop.call_later(5, world.append, "what it had sent arrives", context=loop.outside)
        loop.call_later(5, world.append, "never")
        try:
            await asyncio.Event().wait()
        finally:
            world.append(f"cleanup of a {'dead' if life.dead else 'living'} process")

    world: list[str] = []
    with VirtualLoop() as loop:
        life = loop.begin_life()
        life.at_end(lambda: world.append("the disk is told"))
        loop.start(life, waits_for_ever(life))
        loop.run(until_time=1)
        loop.kill(life)
        loop.kill(life)  # no more dead than that
        loop.run(until_time=10)
    assert world == ["the disk is told", "cleanup of a dead process", "what it had sent arrives"]


def test_two_processes_live_and_die_apart() -> None:
    async def ticks(life: Life, name: str) -> None:
        while True:
            await asyncio.sleep(1)
            door.tell(life, f"{name}{loop.time():.0f}")

    with VirtualLoop() as loop:
        door, lives = Door(loop), [loop.begin_life(), loop.begin_life()]
        for life, name in zip(lives, "ab", strict=True):
            loop.start(life, ticks(life, name))
        loop.run(until_time=2.5)
        loop.kill(lives[0])
        loop.run(until_time=4.5)
        loop.kill(lives[1])
    assert door.told == ["a1", "b1", "a2", "b2", "b3", "b4"]


def test_what_a_dead_process_starts_never_runs() -> None:
    ran: list[str] = []

    async def starts(name: str) -> None:
        ran.append(name)

    async def leaves_work(life: Life) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            asyncio.get_running_loop().call_soon(ran.append, "call")
            tasks.append(asyncio.create_task(starts("task")))

    tasks: list[asyncio.Task[None]] = []
    with VirtualLoop() as loop:
        life = loop.begin_life()
        loop.start(life, leaves_work(life))
        loop.run(until_time=1)
        loop.kill(life)
        loop.run(until_time=20)
    assert ran == []
    assert len(tasks) == 1


def test_finalizers_run_as_the_dead_process_and_not_in_a_later_one() -> None:
    lives_seen: list[Life | None] = []

    class Closes:
        def __init__(self) -> None:
            self.itself = self  # only the collector finds it

        def __del__(self) -> None:
            lives_seen.append(LIFE.get())

    async def holds() -> None:
        kept = Closes()
        await asyncio.Event().wait()
        del kept

    gc.disable()
    try:
        with VirtualLoop(collect_at_death=True) as loop:
            life = loop.begin_life()
            loop.start(life, holds())
            loop.run(until_time=1)
            loop.kill(life)
    finally:
        gc.enable()
    assert lives_seen == [life]


def test_a_door_refuses_with_what_no_except_exception_catches() -> None:
    with VirtualLoop() as loop:
        life = loop.begin_life()
        loop.kill(life)
    with pytest.raises(ProcessIsDead):
        life.require_alive()
    assert not issubclass(ProcessIsDead, Exception)


def test_five_thousand_kills_leave_nothing_behind() -> None:
    def live_and_die(count: int) -> None:
        for number in range(count):
            life = loop.begin_life()
            seen.add(life)
            start: Coroutine[object, object, None] = program(door, life)
            loop.start(life, start)
            loop.run(until_step=loop.steps + 1 + number % 60)
            loop.kill(life)
            door.told.clear()

    seen: weakref.WeakSet[Life] = weakref.WeakSet()
    with VirtualLoop() as loop:
        door = Door(loop)
        live_and_die(100)
        gc.collect()
        before = len(gc.get_objects())
        live_and_die(5_000)
        gc.collect()
        assert len(gc.get_objects()) - before < 100
        assert len(seen) <= 1
        assert loop.timers == 0
        assert loop.unhandled_count == 0
