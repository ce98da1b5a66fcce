"""What is written down about stores that go and come: once each, with since when, how long, and how much was missed."""

from polybot.domain.units import Millis
from polybot.floor.status import StoreState, StoreStatus
from polybot.store_watch import StoreWatch, span_text

NOON = Millis(1_790_596_800_000)  # 2026-09-28T12:00:00Z
OK = StoreStatus(state=StoreState.OK)


def down(lag_rows: int = 0) -> StoreStatus:
    return StoreStatus(state=StoreState.DOWN, since=NOON, detail="connection refused", lag_rows=lag_rows)


def said(watch: StoreWatch, seconds: float, status: StoreStatus) -> list[str]:
    return [f"{note.severity} {note.text}" for note in watch.look(Millis(NOON + round(seconds * 1000)), status)]


def test_an_hour_without_the_database_is_told_in_three_events() -> None:
    watch = StoreWatch("database", keeps_checkpoints=True)
    told = [(second, text) for second in range(3_600) for text in said(watch, second, down(lag_rows=10 * second))]
    lost = "WARNING database has been away for 1 min 0 s (since 12:00:00 UTC)"
    assert told == [
        (0, "WARNING database is away since 12:00:00 UTC, the floor goes on without it: connection refused"),
        (60, f"{lost}: checkpoints go to files only; 600 facts wait in the journal"),
    ]
    catching_up = StoreStatus(state=StoreState.DEGRADED, since=NOON, lag_rows=20_000, detail="catching up")
    assert said(watch, 3_600, catching_up) == []
    assert said(watch, 3_660, StoreStatus(state=StoreState.OK, caught_up_rows=36_500)) == [
        "INFO database is back after 1 h 1 min (away since 12:00:00 UTC); 36,500 facts were caught up, it has them all"
    ]
    assert said(watch, 3_661, OK) == []


def test_a_second_without_it_is_told_too_and_says_nothing_of_files() -> None:
    watch = StoreWatch("database", keeps_checkpoints=True)
    assert len(said(watch, 0.2, down())) == 1
    assert said(watch, 1.2, StoreStatus(state=StoreState.OK, caught_up_rows=3)) == [
        "INFO database is back after 1.2 s (away since 12:00:00 UTC); 3 facts were caught up, it has them all"
    ]


def test_a_second_outage_is_told_like_the_first() -> None:
    watch = StoreWatch("database", keeps_checkpoints=True)
    first = [said(watch, second, down()) for second in range(70)]
    assert said(watch, 70, OK)
    again = StoreStatus(state=StoreState.DOWN, since=Millis(NOON + 100_000))
    second = [said(watch, 100 + second, again) for second in range(70)]
    assert [len(texts) for texts in first] == [len(texts) for texts in second]


def test_an_outage_that_interrupts_the_catching_up_is_one_with_the_first() -> None:
    watch = StoreWatch("database", keeps_checkpoints=True)
    said(watch, 0, down())
    degraded = StoreStatus(state=StoreState.DEGRADED, since=NOON)
    assert [said(watch, 5, degraded), said(watch, 6, down()), said(watch, 7, degraded)] == [[], [], []]
    assert len(said(watch, 8, OK)) == 1


def test_redis_keeps_no_checkpoints_and_its_loss_says_nothing_of_them() -> None:
    watch = StoreWatch("redis")
    assert [len(said(watch, second, down())) for second in (0, 60, 3_600)] == [1, 0, 0]
    assert said(watch, 3_601, OK) == ["INFO redis is back after 1 h 0 min (away since 12:00:00 UTC)"]


def test_a_store_that_does_not_keep_up_is_told_after_ten_seconds_and_when_it_does_again() -> None:
    watch = StoreWatch("journal")
    slow = StoreStatus(state=StoreState.DEGRADED, since=NOON, detail="the disk is slow")
    assert [said(watch, second, slow) for second in (1, 9.9)] == [[], []]
    assert said(watch, 10, slow) == ["WARNING journal does not keep up since 12:00:00 UTC: the disk is slow"]
    assert said(watch, 11, slow) == []
    assert said(watch, 75, OK) == ["INFO journal keeps up again after 1 min 15 s"]
    said(watch, 80, StoreStatus(state=StoreState.DEGRADED, since=Millis(NOON + 79_000)))
    assert said(watch, 82, OK) == []


def test_spans_are_told_in_the_units_that_say_something() -> None:
    told = [span_text(ms) for ms in (-5, 400, 9_949, 10_000, 59_999, 303_000, 3_600_000, 90_061_000)]
    assert told == ["0.0 s", "0.4 s", "9.9 s", "10 s", "59 s", "5 min 3 s", "1 h 0 min", "25 h 1 min"]
