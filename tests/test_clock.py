"""The floor's clock: whatever is done to the machine's, it never goes back, and it does not run away."""

from hypothesis import given
from hypothesis import strategies as st

from polybot.clock import BELIEVED_AFTER_S, JUMP_MS, SteadyClock
from polybot.domain.units import Millis

START = 1_790_586_000_000
MINUTE = 60.0


class Machine:
    """A wall clock that people set, and a monotonic one that nobody can."""

    def __init__(self) -> None:
        self.wall, self.mono = float(START), 100.0

    def pass_s(self, seconds: float, *, drift: float = 0.0) -> None:
        self.mono += seconds
        self.wall += seconds * 1000 * (1 + drift)

    def clock(self, *, not_before: int = 0) -> SteadyClock:
        return SteadyClock(lambda: int(self.wall), lambda: self.mono, not_before=not_before)


def watch(machine: Machine, clock: SteadyClock, seconds: float, *, drift: float = 0.0) -> list[Millis]:
    """Every quarter of a second, as the floor's ticks do."""
    seen = []
    for _ in range(int(seconds * 4)):
        machine.pass_s(0.25, drift=drift)
        seen.append(clock.now_ms())
    return seen


def test_it_begins_with_the_wall_clock_and_goes_as_time_passes() -> None:
    machine = Machine()
    clock = machine.clock()
    assert clock.now_ms() == START
    machine.pass_s(10)
    assert clock.now_ms() == START + 10_000


def test_it_follows_a_clock_that_drifts() -> None:
    machine = Machine()
    clock = machine.clock()
    seen = watch(machine, clock, 10 * MINUTE, drift=0.001)
    assert abs(seen[-1] - machine.wall) < 50
    assert clock.take_notes() == []


def test_a_jump_ahead_is_followed_in_one_step_once_it_has_stood() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 600_000
    seen = watch(machine, clock, BELIEVED_AFTER_S)
    assert seen[-1] < START + 60_000
    watch(machine, clock, 1)
    assert abs(clock.now_ms() - machine.wall) <= 1
    assert clock.take_notes() == ["the machine's clock jumped ahead by 600.0 s; the floor's clock has followed"]
    assert clock.take_notes() == []


def test_a_jump_ahead_that_is_taken_back_at_once_is_not_followed() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 3_600_000
    watch(machine, clock, 2)
    machine.wall -= 3_600_000
    seen = watch(machine, clock, 10)
    assert abs(seen[-1] - machine.wall) <= 1


def test_after_a_jump_back_it_goes_on_and_is_slowed_until_they_agree() -> None:
    machine = Machine()
    clock = machine.clock()
    watch(machine, clock, MINUTE)
    machine.wall -= 10_000
    seen = watch(machine, clock, MINUTE)
    assert 56_700 < seen[-1] - seen[0] < 57_000  # time passes, 5 % slower: a stale book still grows old
    watch(machine, clock, 4 * MINUTE)
    assert abs(clock.now_ms() - machine.wall) < JUMP_MS / 2
    behind, agreed = clock.take_notes()
    assert "10.0 s behind" in behind or "9.9 s behind" in behind
    assert "caught up" in agreed


def test_a_new_run_does_not_begin_before_the_end_of_the_last() -> None:
    machine = Machine()
    clock = machine.clock(not_before=START + 30_000)
    assert clock.now_ms() >= START + 30_000
    assert "30.0 s behind" in clock.take_notes()[0]


def test_notes_that_nobody_takes_do_not_pile_up() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(100):
        machine.wall += 60_000
        watch(machine, clock, 10)
    assert len(clock.take_notes()) <= 20


@given(st.lists(st.tuples(st.floats(0, 120), st.integers(-7_200_000, 7_200_000)), max_size=30))
def test_whatever_the_wall_clock_does_time_never_goes_back_nor_stands_still(story: list[tuple[float, int]]) -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now_ms()
    for seconds, jump in story:
        machine.wall += jump
        machine.pass_s(seconds)
        now = clock.now_ms()
        assert now >= before + int(seconds * 950) - 1
        before = now
