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
        said: Counter[Said] = Counter()
        due: list[AuditFact] = []
        for entry in past:
            if isinstance(entry.fact, AuditFact):
                said[_said(entry.fact)] += 1
            due += self.books.apply(entry.fact)
            self.seq = entry.seq
        missing: list[AnyFact] = []
        for verdict in due:
            if said[_said(verdict)] > 0:
                said[_said(verdict)] -= 1
            else:
                missing.append(verdict)
        return missing


def _said(verdict: AuditFact) -> Said:
    match verdict:
        case TradeAudited():
            return verdict.at, verdict.order, verdict.passed, tuple(verdict.findings)
        case SystemNoted():
            return verdict.at, verdict.component, False, (verdict.text,)
