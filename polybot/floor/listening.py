"""A floor without traders: takes market events in, keeps the markets, and passes each event on. For `polybot record`
and for the feed that several floors share.
"""

from collections.abc import Callable, Sequence

from loguru import logger

from polybot.desk.room import TradingRoom
from polybot.domain.events import MarketEvent, Severity
from polybot.domain.units import Millis
from polybot.risk.limits import Limits

Passed = Callable[[MarketEvent], None]
"""Given every market event, at once and in order, before it changes any book."""


class ListeningFloor:
    """What a feeder needs of a dispatcher (feeder.py). Nothing here is journaled: a restart begins with empty books."""

    def __init__(self, pass_on: Sequence[Passed] = (), *, since: Millis | None = None) -> None:
        """`since`: windows that ended after this moment are read from the catalogue, too; None: from now on."""
        self.room = TradingRoom((), Limits())
        self.room.state.began = since
        self._pass_on = tuple(pass_on)

    def also(self, passed: Passed) -> None:
        """Pass events on to one more, from now on."""
        self._pass_on += (passed,)

    async def publish(self, event: MarketEvent) -> None:
        for passed in self._pass_on:
            passed(event)
        self.room.observe(event)
        self._settle(event.received)

    async def tick(self, now: Millis) -> None:
        self._settle(now)

    async def note(self, severity: Severity, component: str, text: str) -> None:
        logger.bind(action=component).log(severity.value, "{}", text)

    def _settle(self, now: Millis) -> None:
        """Markets are opened, settled and in the end forgotten, as on any floor."""
        while facts := self.room.due(now):
            for fact in facts:
                self.room.apply(fact)
