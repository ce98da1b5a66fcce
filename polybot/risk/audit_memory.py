"""What the auditor must not forget: its books, how far they go, and how they catch up with the journal. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from polybot.domain.events import AnyFact, Journaled, SystemNoted, TradeAudited
from polybot.domain.units import Millis
from polybot.risk.audit import AuditFact, Auditor

Said = tuple[Millis, str, bool, tuple[str, ...]]
"""A verdict by what it says and the date of the fact it was found in: two alike on two facts are two."""


class AuditMemory(msgspec.Struct, kw_only=True):
    """The auditor's books with the facts up to `seq` in them; all its verdicts on those are journaled.

    The books rest on the facts alone: a checkpoint of them only saves reading weeks of journal at every start.
    """

    seq: int = 0
    books: Auditor = msgspec.field(default_factory=Auditor)

    def catch_up(self, past: Iterable[Journaled]) -> list[AnyFact]:
        """Fold the facts after `seq`; the verdicts on them that are not among them (we died before writing them)."""
        catching_up = CatchingUp(self)
        for entry in past:
            catching_up.take(entry)
        return catching_up.missing()


class CatchingUp:
    """The same fact by fact, for one who must do other things in between: weeks of facts take a minute."""

    def __init__(self, memory: AuditMemory) -> None:
        self._memory = memory
        self._said: Counter[Said] = Counter()
        self._due: list[AuditFact] = []

    def take(self, entry: Journaled) -> None:
        if isinstance(entry.fact, AuditFact):
            self._said[_said(entry.fact)] += 1
        self._due += self._memory.books.apply(entry.fact)
        self._memory.seq = entry.seq

    def missing(self) -> list[AnyFact]:
        """The verdicts due that were not among the facts. To be asked once, at the end."""
        missing: list[AnyFact] = []
        for verdict in self._due:
            if self._said[_said(verdict)] > 0:
                self._said[_said(verdict)] -= 1
            else:
                missing.append(verdict)
        return missing


def _said(verdict: AuditFact) -> Said:
    match verdict:
        case TradeAudited():
            return verdict.at, verdict.order, verdict.passed, tuple(verdict.findings)
        case SystemNoted():
            return verdict.at, verdict.component, False, (verdict.text,)
