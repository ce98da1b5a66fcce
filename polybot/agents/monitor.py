"""The performance monitor: writes each agent's and the floor's figures down with time (R4)."""

from collections.abc import Awaitable, Callable, Sequence

from polybot.agents.base import Badge, FactFeed, Heart
from polybot.domain.events import AnyFact, Journaled, MarketSettled, MetricsRecorded
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis
from polybot.learning.metrics import Performance

MONITOR = AgentId("monitor")
RECORD_EVERY_MS = 60_000


class MonitorAgent:
    """Records after every settled market, and at least once a minute of market time while anything happens."""

    def __init__(
        self,
        performance: Performance,
        heart: Heart,
        commit: Callable[[Sequence[AnyFact]], Awaitable[None]],
        attach: Callable[[FactFeed], None],
    ) -> None:
        self.heart, self._performance = heart, performance
        self._badge = Badge()
        self._commit = self._badge.door(commit)
        self._last = Millis(0)
        self.feed = FactFeed(heart)
        attach(self.feed)

    async def run(self) -> None:
        while True:
            entry = await self.feed.next()
            if self._is_time(entry):
                self._last = entry.fact.at
                await self._commit(self._performance.record(entry.fact.at))
            self.feed.done()

    def close(self) -> None:
        self._badge.revoke()
        self.feed.close()

    def _is_time(self, entry: Journaled) -> bool:
        fact = entry.fact
        if isinstance(fact, MetricsRecorded) or not self.feed.empty:
            return False  # not on our own records, and not before the rest of this batch is in
        return isinstance(fact, MarketSettled) or fact.at - self._last >= RECORD_EVERY_MS
