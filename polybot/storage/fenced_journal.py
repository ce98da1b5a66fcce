"""A journal that asks before every append whether this process may still write: one that slept may not (0004)."""

from collections.abc import Awaitable, Callable, Iterator, Sequence

from polybot.domain.events import AnyFact, Journaled
from polybot.storage.journal import Journal


class FencedJournal:
    """`hold` returns at once while all is well, waits while that is not known, and raises when another leads."""

    def __init__(self, journal: Journal, hold: Callable[[], Awaitable[None]]) -> None:
        self._journal, self._hold = journal, hold
        self.genesis = journal.genesis

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]:
        """As Journal.append. Raises Deposed as well."""
        await self._hold()
        return await self._journal.append(facts, position)

    def read(self, after_seq: int = 0) -> Iterator[Journaled]:
        return self._journal.read(after_seq)
