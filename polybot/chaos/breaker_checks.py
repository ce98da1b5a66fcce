"""Whether the owner's breakers are in force when they should be: reckoned again from what happened alone (R13, R14)."""

from collections import deque
from collections.abc import Callable

from polybot.domain.events import TradeSettled, TradingPaused, TradingResumed
from polybot.domain.ids import AgentId
from polybot.domain.units import DAY_MS, UNIT, Millis
from polybot.risk.limits import Limits

GRACE_MS = 5_000
"""A pause is a fact of its own, a moment after what asks for it; a slow disk makes it longer."""
CALLS_GRACE_MS = 10_000
"""The pause for failed calls also waits for what is being settled and recorded."""
FAILURES_MAX = 5
"""So many failed venue calls in a row pause the floor, as does a share of them above the owner's limit."""

Place = tuple[AgentId | None, str]
"""Whom a breaker pauses, None for the floor, and its name."""
DAILY: tuple[Place, ...] = ((None, "daily_loss"), (None, "daily_drawdown"))
VENUE_CALLS: Place = (None, "venue_calls")


class BreakerChecks:
    """Told of every settlement, pause and venue call; asked at every intent. Money in millionths, UTC milliseconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.calls = CallChecks(limits)
        self._streaks: dict[AgentId, int] = {}
        self._since: dict[Place, int] = {}
        """When what should pause somebody came about."""
        self._paused: set[Place] = set()
        self._day = 0
        self._day_start = self._peak = self._equity = 0

    def fund(self, moved: int) -> None:
        self._equity += moved
        self._day_start += moved
        self._peak += moved

    def settle(self, fact: TradeSettled) -> None:
        day = fact.at // DAY_MS
        if day > self._day:
            self._day, self._day_start, self._peak = day, self._equity, self._equity
        self._equity += fact.pnl
        self._peak = max(self._peak, self._equity)
        streak = self._streaks[fact.agent] = self._streaks.get(fact.agent, 0) + 1 if fact.pnl < 0 else 0
        self._note((fact.agent, "loss_streak"), fact.at, due=streak >= self._limits.loss_streak_max)
        limits = (self._limits.daily_loss_share, self._limits.daily_drawdown_share)
        for place, mark, share in zip(DAILY, (self._day_start, self._peak), limits, strict=True):
            self._note(place, fact.at, due=mark > 0 and (mark - self._equity) * UNIT >= mark * share)

    def _note(self, place: Place, at: int, *, due: bool) -> None:
        if due:
            self._since.setdefault(place, at)
        else:
            self._since.pop(place, None)

    def pause(self, fact: TradingPaused) -> None:
        self._paused.add((fact.agent, fact.breaker))

    def resume(self, fact: TradingResumed) -> None:
        self._paused.discard((fact.agent, fact.breaker))
        if fact.breaker == "loss_streak" and fact.agent is not None:
            self._streaks[fact.agent] = 0
            self._since.pop((fact.agent, fact.breaker), None)
        elif (fact.agent, fact.breaker) == VENUE_CALLS and self.calls.due_since is not None:
            self.calls.forget()

    def missing(self, agent: AgentId, decided_at: int) -> str | None:
        """The pause that should be in force at a decision and is not."""
        daily = DAILY if decided_at // DAY_MS <= self._day else ()  # yesterday's losses pause nobody
        since_by_place = {place: self._since.get(place) for place in ((agent, "loss_streak"), *daily)}
        since_by_place[VENUE_CALLS] = self.calls.due_since
        for place, since in since_by_place.items():
            grace = CALLS_GRACE_MS if place == VENUE_CALLS else GRACE_MS
            if since is not None and decided_at - since > grace and place not in self._paused:
                return f"{place[1]} of {place[0] or 'the floor'} is due since {since}, and it is not in force"
        return None


class CallChecks:
    """Told of every call to the venue: a pause is due from too many failures to the next answer.

    `due_since` is by the floor's clock, None while nothing is due.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.due_since: int | None = None
        self._number = self._counts_from = 0
        self._in_a_row = 0
        self._ended: deque[tuple[int, bool]] = deque()

    def begin(self) -> int:
        """A call leaves: its number, to be told with its end."""
        self._number += 1
        return self._number

    def end(self, number: int, floor_now: Callable[[], Millis], *, failed: bool) -> None:
        """It was answered or, as far as the floor can know, not; `floor_now` is the floor's own clock."""
        if number <= self._counts_from:
            return  # it left before the venue became what it is now
        if self.due_since is not None:
            if failed:
                return
            self.forget()  # and the answer is the first that counts again
        now = floor_now()
        self._ended.append((now, failed))
        self._in_a_row = self._in_a_row + 1 if failed else 0
        if failed and (self._in_a_row >= FAILURES_MAX or self._too_many(now)):
            self.due_since, self._counts_from = now, self._number

    def forget(self) -> None:
        """The venue is well again, or a new process knows nothing yet: what was before does not count any more."""
        self._counts_from = self._number
        self._in_a_row, self.due_since = 0, None
        self._ended.clear()

    def _too_many(self, now: Millis) -> bool:
        limits, calls = self._limits, self._ended
        while calls[0][0] <= now - limits.call_failure_window_ms:
            calls.popleft()
        if len(calls) < limits.call_failure_calls_min:
            return False
        return sum(failed for _, failed in calls) * UNIT > len(calls) * limits.call_failure_share_max
