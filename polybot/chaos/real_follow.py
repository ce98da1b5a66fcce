"""Looks over the service's shoulder: reads its journal while it writes, remembers every row, and tells when it trades.

What was readable once was durable, so it may never change or vanish afterwards: whatever happens to the service, the
rows that are read later have to hang on the hashes remembered here.
"""

from pathlib import Path

from polybot.clock import SystemClock
from polybot.domain.events import AgentChanged, AgentState, Journaled, RunStarted
from polybot.domain.ids import AgentId
from polybot.storage import journal_file
from polybot.storage.journal_file import JournalDamagedError, JournalUnusableError


class Progress:
    """Since the last launch: when the run was taken up, when every agent ran, when the market went on. Seconds."""

    def __init__(self, launched: float) -> None:
        self.launched = launched
        self.started: float | None = None
        self.trading: float | None = None
        self.position = 0
        self.running: set[AgentId] = set()

    def take(self, entry: Journaled, agents: frozenset[AgentId], now: float) -> None:
        fact = entry.fact
        if isinstance(fact, RunStarted):
            self.started, self.position = now, entry.position
            self.running = set()
        elif isinstance(fact, AgentChanged) and fact.state is AgentState.RUNNING:
            self.running.add(fact.agent)
        if self.started is not None and self.running >= agents and entry.position > self.position:
            self.trading = self.trading or now


class Follower:
    """Follows one journal. `agents` are those that must run before the floor counts as trading."""

    def __init__(self, path: Path, agents: frozenset[AgentId]) -> None:
        self._path, self._agents = path, agents
        self._clock = SystemClock()
        self._hashes: list[bytes] = []
        self.progress = Progress(self._clock.monotonic())
        self.position = 0

    @property
    def rows(self) -> int:
        return len(self._hashes)

    def launched(self) -> None:
        """A new process was started just now."""
        self.look()
        self.progress = Progress(self._clock.monotonic())

    def look(self) -> None:
        """Take in the rows that have come. Raises JournalDamagedError where the past is not what it was."""
        if not self._path.exists():
            return
        try:
            for row in journal_file.read_rows(self._path, self.rows):
                if self._hashes and row.prev_hash != self._hashes[-1]:
                    raise JournalDamagedError(self._path, row.seq - 1, "it is not the row that was there before a kill")
                self._hashes.append(row.hash)
                entry = row.journaled()
                self.position = max(self.position, entry.position)
                self.progress.take(entry, self._agents, self._clock.monotonic())
        except JournalUnusableError:
            if self._hashes:  # else it is being made
                raise

    def missing(self) -> list[str]:
        """Read all of it once more: what of the remembered rows is gone or different."""
        now = [row.hash for row in journal_file.read_rows(self._path)]
        changed = [seq for seq, (was, own) in enumerate(zip(self._hashes, now, strict=False), start=1) if was != own]
        gone = [f"journal rows {len(now) + 1} to {self.rows} were durable and are gone"] if len(now) < self.rows else []
        return gone + [f"journal row {seq} is not what was durable there" for seq in changed[:1]]
