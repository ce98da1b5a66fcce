"""What one seed came to, as a value that travels as JSON, and the log whose hash two runs of a seed have in common."""

from collections import deque
from hashlib import sha256

import msgspec

from polybot.bench.machine import resident_mb, slope
from polybot.chaos.fact_text import fact_text
from polybot.domain.events import AnyFact
from polybot.storage.journal_file import JournalRow

LINES_KEPT = 40
LINE_CHARACTERS_MAX = 400


class SeedResult(msgspec.Struct, kw_only=True):
    """One seed's life, filled in as it goes. `virtual_s` were simulated, in `wall_s` and `cpu_s` of the machine's."""

    seed: int
    hours: float
    bug: str | None = None
    event_log_hash: str = ""
    violation: str | None = None
    """The invariant that did not hold, and what was found."""
    last_events: list[str] = []
    faults: dict[str, int] = {}
    """How often each kind was injected."""
    lives: int = 0
    kills: int = 0
    repairs: int = 0
    """Journals that were damaged and made whole again."""
    recoveries: list[int] = []
    """Virtual milliseconds from each end of a process to trading again."""
    windows: int = 0
    window_records: int = 0
    intents: int = 0
    fills: int = 0
    trades: int = 0
    facts: int = 0
    market_events: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_kb: list[tuple[int, int]] = []
    """(virtual milliseconds since the start, resident size in KiB), of the floor and the whole world around it."""
    state_bytes: list[tuple[int, int]] = []
    """(virtual milliseconds since the start, size of the floor's own memory as its checkpoint has it)."""


class EventLog:
    """Everything that happened, in order: a hash over all of it, and the last lines for people."""

    def __init__(self, lines_kept: int = LINES_KEPT) -> None:
        self._hash = sha256()
        self._lines: deque[tuple[int, str | AnyFact, int]] = deque(maxlen=lines_kept)
        self._began: int | None = None
        self.count = 0

    def add(self, at_ms: int, line: str) -> None:
        """A fault, a kill, a start: what befell the floor. `at_ms` is the world's own time."""
        self._take(at_ms, line.encode())
        self._lines.append((at_ms, line, 0))

    def add_row(self, at_ms: int, row: JournalRow, fact: AnyFact) -> None:
        """A fact became durable; it is hashed as the bytes it is in the journal."""
        self._take(at_ms, row.payload)
        self._lines.append((at_ms, fact, row.seq))

    def digest(self) -> str:
        """SHA-256 over everything so far, in hexadecimal."""
        return self._hash.hexdigest()

    def last(self) -> list[str]:
        """The last lines, each with its time since the first event."""
        began = self._began or 0
        return [f"{_moment(at - began)}  {_text(what, seq)}" for at, what, seq in self._lines]

    def _take(self, at_ms: int, content: bytes) -> None:
        if self._began is None:
            self._began = at_ms
        self._hash.update(b"%d %d " % (at_ms, len(content)))
        self._hash.update(content)
        self.count += 1


def rss_kb() -> int:
    """This process's resident memory in KiB."""
    return round(resident_mb() * 1_000_000 / 1024)


def slope_per_day(samples: list[tuple[int, int]]) -> float:
    """Over (virtual milliseconds, size), the first quarter left out: caches fill there."""
    return 86_400_000 * slope(samples[len(samples) // 4 :])


def _moment(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    return f"+{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}"


def _text(what: str | AnyFact, seq: int) -> str:
    """Facts become words only for those lines that are shown."""
    text = what if isinstance(what, str) else f"fact {seq}  {fact_text(what)}"
    return text if len(text) <= LINE_CHARACTERS_MAX else text[:LINE_CHARACTERS_MAX] + "..."
