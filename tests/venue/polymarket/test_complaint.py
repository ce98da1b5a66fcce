"""What is tried again every second is not told every second."""

from collections.abc import Iterator

import pytest
from loguru import logger

from polybot.domain.units import Millis
from polybot.venue.polymarket.complaint import AGAIN_S, Complaint


class SetClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ms(self) -> Millis:
        return Millis(round(self.seconds * 1000))

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).strip()), format="{level} {message}")
    yield lines
    logger.remove(sink)


def test_a_trouble_is_told_when_it_begins_when_it_changes_once_a_minute_and_when_it_is_over(told):
    clock = SetClock()
    complaint = Complaint("heartbeat", clock)
    for text, then_s in [("401", 1.0), ("401", 1.0), ("no answer", 1.0), ("no answer", AGAIN_S), ("no answer", 1.0)]:
        complaint.tell(text)
        clock.seconds += then_s
    assert told == ["WARNING 401", "WARNING no answer", "WARNING no answer"]
    complaint.over("it beats again")
    complaint.over("it beats again")
    assert told[3:] == [f"INFO it beats again, after {AGAIN_S + 4:.1f} s"]
    complaint.tell("no answer")
    assert told[4:] == ["WARNING no answer"]


def test_figures_that_change_are_no_other_reason(told):
    complaint = Complaint("heartbeat", SetClock())
    for idle_s in (4.1, 5.1):
        complaint.tell(f"stood still for {idle_s} s", "stood still")
    assert told == ["WARNING stood still for 4.1 s"]
    assert complaint.reason == "stood still"
