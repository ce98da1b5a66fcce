"""The breakers of R14, as conditions on numbers: when they open, and until when."""

import msgspec

from polybot.domain.events import TradingPaused
from polybot.domain.ids import AgentId
from polybot.domain.units import DAY_MS, UNIT, Millis, Money, format_units
from polybot.risk.limits import Limits


class DayBook(msgspec.Struct, kw_only=True):
    """Settled equity over one UTC day: where it began, its highest point, where it is."""

    day: int = 0
    start: Money = Money(0)
    peak: Money = Money(0)
    equity: Money = Money(0)

    def covers(self, at: Millis) -> bool:
        """Whether `at` is in this day (or before it): a note of unchanged equity would change nothing."""
        return at // DAY_MS <= self.day

    def note(self, at: Millis, equity: Money) -> None:
        """Take the new settled equity; the first note of a day makes the equity before it the day's beginning."""
        day = at // DAY_MS
        if day > self.day:
            self.day, self.start, self.peak = day, self.equity, self.equity
        self.equity = equity
        self.peak = max(self.peak, equity)

    def deposit(self, at: Millis, amount: Money) -> None:
        """Money put in or taken out is neither profit nor loss: every mark moves with it."""
        self.note(at, self.equity)
        self.start, self.peak = Money(self.start + amount), Money(self.peak + amount)
        self.equity = Money(self.equity + amount)


def next_midnight(at: Millis) -> Millis:
    return Millis((at // DAY_MS + 1) * DAY_MS)


def daily_breakers(book: DayBook, at: Millis, limits: Limits) -> list[TradingPaused]:
    """The floor-wide pauses that the day's settled equity asks for: 10 % lost, or 15 % below the day's peak."""
    checks = (
        ("daily_loss", book.start, limits.daily_loss_share, "lost since midnight UTC"),
        ("daily_drawdown", book.peak, limits.daily_drawdown_share, "below the day's highest equity"),
    )
    opened: list[TradingPaused] = []
    if at // DAY_MS != book.day:
        return opened  # nothing has settled yet on this day: yesterday's losses are yesterday's
    for breaker, mark, share, words in checks:
        lost = mark - book.equity
        if mark > 0 and lost * UNIT >= mark * share:
            text = f"${format_units(lost)} {words}, {lost / mark:.1%}; the limit is {share / UNIT:.0%}"
            opened.append(
                TradingPaused(
                    at=at,
                    agent=None,
                    breaker=breaker,
                    value=lost / mark,
                    limit=share / UNIT,
                    text=text,
                    until=next_midnight(at),
                )
            )
    return opened


def loss_streak_breaker(agent: AgentId, streak: int, at: Millis, limits: Limits) -> TradingPaused | None:
    """The agent's pause after so many settled losses in a row."""
    if streak < limits.loss_streak_max:
        return None
    until = Millis(at + limits.loss_streak_pause_ms)
    minutes = limits.loss_streak_pause_ms // 60_000
    text = f"{streak} losses in a row (limit {limits.loss_streak_max}): paused for {minutes} minutes"
    return TradingPaused(
        at=at,
        agent=agent,
        breaker="loss_streak",
        value=float(streak),
        limit=float(limits.loss_streak_max),
        text=text,
        until=until,
    )
