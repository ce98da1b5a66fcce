"""Every test begins a minute into the first window, however long the run has taken before it."""

import pytest

from polybot.clock import SystemClock
from tests.venue.polymarket import liar

SINCE_COLLECTED_S = 30.0
"""What a module dated when it was collected is not of the future then."""


@pytest.fixture(autouse=True)
def window_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liar, "BEGAN", SystemClock().monotonic() - SINCE_COLLECTED_S)
