"""How often an agent may crash before it has to sit out, and for how long (D10). Pure."""

from collections import deque

import msgspec

from polybot.domain.errors import BadInput


class CrashTerms(msgspec.Struct, frozen=True, kw_only=True):
    """`restarts_max` restarts within `period_s` are free but for a growing pause; beyond them the agent is benched
    for the next of `cooldowns_s`. Being up for `period_s` without a crash forgives everything; sitting out is no merit.
    """

    restarts_max: int = 5
    period_s: float = 300.0
    backoff_s: float = 0.5
    backoff_s_max: float = 15.0
    cooldowns_s: tuple[float, ...] = (10.0, 60.0, 300.0, 1800.0)

    def __post_init__(self) -> None:
        if self.restarts_max < 0 or self.period_s <= 0 or not self.cooldowns_s:
            raise BadInput("a crash budget needs restarts_max >= 0, period_s > 0 and at least one cool-down")


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    delay_s: float


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    delay_s: float


class CrashBudget:
    """The memory of one agent's crashes. Time is seconds of any clock that never goes back."""

    def __init__(self, terms: CrashTerms) -> None:
        self.terms = terms
        self.crashes = 0
        self._recent: deque[float] = deque()
        self._tier = 0
        self._up_since: float | None = None

    def note(self, now: float, jitter: float) -> Restart | Bench:
        """Count a crash and say what to do; `jitter` in 0..1 spreads the waits between half and whole."""
        terms = self.terms
        if self._up_since is not None and now - self._up_since > terms.period_s:
            self._recent.clear()
            self._tier = 0
        answer = self._judge(now, 0.5 + jitter / 2)
        self._up_since = now + answer.delay_s
        return answer

    def _judge(self, now: float, spread: float) -> Restart | Bench:
        terms = self.terms
        self.crashes += 1
        self._recent.append(now)
        while self._recent[0] <= now - terms.period_s:
            self._recent.popleft()
        if len(self._recent) > terms.restarts_max:
            cooldown = terms.cooldowns_s[min(self._tier, len(terms.cooldowns_s) - 1)]
            self._tier += 1
            self._recent.clear()
            return Bench(delay_s=cooldown * spread)
        delay = min(terms.backoff_s * 2 ** (len(self._recent) - 1), terms.backoff_s_max)
        return Restart(delay_s=delay * spread)
