"""The virtual loop does what asyncio's own does, in the same order, without waiting; and says when it cannot go on."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable

import pytest

from polybot.chaos.clock import VirtualClock
from polybot.chaos.loop import Ended, LoopStuck, VirtualLoop
from polybot.domain.units import Millis

Log = list[str]
Program = Callable[[Log], Awaitable[object]]


async def sleeps_in_any_order(log: Log) -> None:
    async def nap(name: str, seconds: float) -> None:
        log.append(f"{name} lies down")
        await asyncio.sleep(seconds)
        log.append(f"{name} gets up")

    await asyncio.gather(nap("long", 0.03), nap("short", 0.01), nap("none", 0), nap("middle", 0.02))


async def callbacks_take_turns(log: Log) -> None:
    loop = asyncio.get_running_loop()

    def again(name: str, left: int) -> None:
        log.append(f"{name}{left}")
        if left:
            loop.call_soon(again, name, left - 1)

    for name in "abc":
        loop.call_soon(again, name, 3)
    loop.call_soon(log.append, "never").cancel()
    loop.call_later(0.02, log.append, "later")
    loop.call_later(0.01, log.append, "never").cancel()
    await asyncio.sleep(0.03)


async def timeouts_and_cancellation(log: Log) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            log.append("asked to stop")
            await asyncio.sleep(0.01)
            log.append("stops")
            raise

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await stubborn()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    log.append(await asyncio.wait_for(asyncio.sleep(0, "in time"), 1))
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel("enough")
    with contextlib.suppress(asyncio.CancelledError):
        await task
    log.append(f"cancelled {task.cancelled()}")
    expired = asyncio.timeout(-1)
    with contextlib.suppress(TimeoutError):
        async with expired:
            await asyncio.sleep(0)
            log.append("not reached")
    log.append(f"expired {expired.expired()}")


async def a_shield_keeps_the_inner_task(log: Log) -> None:
    given_up = asyncio.Event()

    async def inner() -> str:
        await given_up.wait()
        log.append("inner done")
        return "inner"

    task = asyncio.create_task(inner())
    outer = asyncio.create_task(asyncio.wait_for(asyncio.shield(task), 0.001))
    done, _ = await asyncio.wait([outer])
    log.append(type(done.pop().exception()).__name__)
    given_up.set()
    log.append(await task)


async def events_queues_and_locks(log: Log) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    lock, go = asyncio.Lock(), asyncio.Event()

    async def makes() -> None:
        for n in range(6):
            await queue.put(n)
            log.append(f"put {n}")
        go.set()

    async def takes(name: str) -> None:
        for _ in range(3):
            n = await queue.get()
            async with lock:
                log.append(f"{name} took {n}")
                await asyncio.sleep(0)

    async def waits() -> None:
        await go.wait()
        log.append("all put")

    async with asyncio.TaskGroup() as group:
        for coro in (takes("one"), takes("two"), waits(), makes()):
            group.create_task(coro)


async def a_group_ends_with_its_first_failure(log: Log) -> None:
    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    async def lasts() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            log.append("cleaned up")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(lasts())
            group.create_task(fails())
    except* ValueError as errors:
        log.append(str(errors.exceptions))
    results = await asyncio.gather(fails(), asyncio.sleep(0, "fine"), return_exceptions=True)
    log.append(str(results))


async def threads_give_their_results(log: Log) -> None:
    log.append(str(await asyncio.to_thread(pow, 2, 10)))
    try:
        await asyncio.to_thread(int, "no number")
    except ValueError as error:
        log.append(str(error))
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.call_soon_threadsafe(done.set)
    await done.wait()
    log.append("called in")


PROGRAMS: list[Program] = [
    sleeps_in_any_order,
    callbacks_take_turns,
    timeouts_and_cancellation,
    a_shield_keeps_the_inner_task,
    events_queues_and_locks,
    a_group_ends_with_its_first_failure,
    threads_give_their_results,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_runs_as_it_does_on_asyncios_own_loop(program: Program) -> None:
    theirs: Log = []
    ours: Log = []

    async def run(log: Log) -> None:
        await program(log)

    asyncio.run(run(theirs))
    with VirtualLoop() as loop:
        loop.run_until_complete(run(ours))
        assert loop.unhandled == []
    assert ours == theirs


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_stopping_at_every_step_changes_nothing(program: Program) -> None:
    straight: Log = []
    with VirtualLoop() as loop:
        loop.run_until_complete(_coroutine(program, straight))
        steps, ended_at = loop.steps, loop.time()
    halting: Log = []
    with VirtualLoop() as loop:
        task = loop.start(loop.begin_life(), _coroutine(program, halting))
        while loop.run(until=task, until_step=loop.steps + 1) is not Ended.DONE:
            pass
        assert (loop.steps, loop.time()) == (steps, ended_at)
    assert halting == straight


async def _coroutine(program: Program, log: Log) -> None:
    await program(log)


def test_a_long_busy_time_is_no_livelock() -> None:
    async def works() -> None:
        for _ in range(3_000):
            await asyncio.sleep(0.01)

    with VirtualLoop() as loop:
        task = loop.start(loop.begin_life(), works())
        assert loop.run(until=task, spin_steps_max=1_000) is Ended.DONE


def test_an_hour_passes_in_no_time_and_to_the_millisecond() -> None:
    with VirtualLoop(start_s=5.0) as loop:
        loop.run_until_complete(asyncio.sleep(3600))
        assert loop.time() == 3605.0
        assert loop.steps < 10


def test_time_stops_where_it_is_told_to_and_goes_on_from_there() -> None:
    seen: list[float] = []
    with VirtualLoop() as loop:
        for second in (1, 2, 3):
            loop.call_later(second, lambda: seen.append(loop.time()))
        assert loop.run(until_time=2.5) is Ended.TIME
        assert (seen, loop.time()) == ([1.0, 2.0], 2.5)
        assert loop.run(until_time=10) is Ended.TIME
        assert (seen, loop.time()) == ([1.0, 2.0, 3.0], 10)


def test_timers_of_one_moment_run_in_the_order_they_were_set() -> None:
    seen: list[int] = []
    with VirtualLoop() as loop:
        for number in range(50):
            loop.call_at(1.0, seen.append, number)
        loop.run(until_time=2)
    assert seen == list(range(50))


def test_cancelled_timers_do_not_gather() -> None:
    async def many() -> None:
        for _ in range(5_000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)

    with VirtualLoop() as loop:
        loop.run_until_complete(many())
        assert loop.timers < 1_000


def test_a_deadlock_is_named_with_those_who_wait() -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    with VirtualLoop() as loop:
        life = loop.begin_life()
        task = loop.start(life, waits_for_ever(), name="dispatcher")
        with pytest.raises(LoopStuck, match=r"deadlock.*dispatcher"):
            loop.run(until=task)
        loop.kill(life)


@pytest.mark.parametrize("nap_s", [0.0, 1e-6])
def test_a_livelock_is_named_though_steps_are_made(nap_s: float) -> None:
    async def polls() -> None:
        while loop.time() < 1:  # noqa: ASYNC110
            await asyncio.sleep(nap_s)

    with VirtualLoop() as loop:
        life = loop.begin_life()
        loop.start(life, polls(), name="poller")
        with pytest.raises(LoopStuck, match=r"livelock.*poller"):
            loop.run(until_time=10, spin_steps_max=10_000)
        loop.kill(life)


def test_a_function_in_a_thread_runs_here_and_takes_virtual_time() -> None:
    async def asks() -> tuple[int, float]:
        began = loop.time()
        ident = await asyncio.to_thread(threading.get_ident)
        return ident, loop.time() - began

    with VirtualLoop() as loop:
        loop.thread_seconds = lambda: 0.5
        ident, seconds = loop.run_until_complete(asks())
    assert ident == threading.get_ident()
    assert seconds == pytest.approx(0.5)


def test_what_a_bare_callback_raises_comes_out() -> None:
    with VirtualLoop() as loop:
        loop.call_soon(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            loop.run(until_time=1)


def test_tasks_are_named_by_the_loops_own_count() -> None:
    async def name() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    for _ in range(2):
        with VirtualLoop() as loop:
            assert loop.run_until_complete(name()) == "task-1"


def test_the_wall_clock_can_be_set_wrong_and_the_monotonic_one_cannot() -> None:
    with VirtualLoop() as loop:
        clock = VirtualClock(loop, Millis(1_790_000_000_000))
        loop.run(until_time=1.5)
        assert (clock.now_ms(), clock.monotonic()) == (1_790_000_001_500, 1.5)
        clock.jump(-60_000)
        assert (clock.now_ms(), clock.true_ms(), clock.monotonic()) == (1_789_999_941_500, 1_790_000_001_500, 1.5)


def test_milliseconds_are_not_lost_to_binary_fractions() -> None:
    with VirtualLoop() as loop:
        clock = VirtualClock(loop, Millis(0))
        for at in range(1, 2_000):
            loop.run(until_time=at / 1000)
            assert clock.now_ms() == at
