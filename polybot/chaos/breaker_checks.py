"""Whether the owner's breakers are in force when they should be: reckoned again from settlements alone (R13, R14)."""

from polybot.domain.events import TradeSettled, TradingPaused, TradingResumed
from polybot.domain.ids import AgentId
from polybot.domain.units import DAY_MS, UNIT
from polybot.risk.limits import Limits

GRACE_MS = 5_000
"""A pause is a fact of its own, a moment after the settlement that asks for it; a slow disk makes it longer."""


class BreakerChecks:
    """Told of every settlement and pause; asked at every intent. Money in millionths, times UTC milliseconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._streaks: dict[AgentId, int] = {}
        self._since: dict[AgentId | None, int] = {}
        """When what should pause an agent, or the floor (None), came about."""
        self._paused: set[tuple[AgentId | None, str]] = set()
        self._day = 0
        self._day_start = self._equity = 0

    def fund(self, moved: int) -> None:
        self._equity += moved
        self._day_start += moved

    def settle(self, fact: TradeSettled) -> None:
        day = fact.at // DAY_MS
        if day > self._day:
            self._day, self._day_start = day, self._equity
            self._since.pop(None, None)
        self._equity += fact.pnl
        streak = self._streaks[fact.agent] = self._streaks.get(fact.agent, 0) + 1 if fact.pnl < 0 else 0
        if streak >= self._limits.loss_streak_max:
            self._since.setdefault(fact.agent, fact.at)
        else:
            self._since.pop(fact.agent, None)
        lost = self._day_start - self._equity
        if self._day_start and lost * UNIT >= self._day_start * self._limits.daily_loss_share:
            self._since.setdefault(None, fact.at)
        else:
            self._since.pop(None, None)

    def pause(self, fact: TradingPaused) -> None:
        self._paused.add((fact.agent, fact.breaker))

    def resume(self, fact: TradingResumed) -> None:
        self._paused.discard((fact.agent, fact.breaker))
        if fact.breaker == "loss_streak" and fact.agent is not None:
            self._streaks[fact.agent] = 0
            self._since.pop(fact.agent, None)

    def missing(self, agent: AgentId, decided_at: int) -> str | None:
        """The pause that should be in force at a decision and is not."""
        for who, breaker in ((agent, "loss_streak"), (None, "daily_loss")):
            since = self._since.get(who)
            over = who is None and decided_at // DAY_MS > self._day
            if since is not None and not over and decided_at - since > GRACE_MS and (who, breaker) not in self._paused:
                return f"{breaker} of {who or 'the floor'} is due since {since}, and it is not in force"
        return None
