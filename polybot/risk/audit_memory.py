"""What the auditor must not forget: its books, how far they go, and how they catch up with the journal. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from polybot.domain.events import AnyFact, Journaled, TradeAudited
from polybot.domain.ids import OrderId
from polybot.risk.audit import Auditor

Said = tuple[OrderId, bool, tuple[str, ...]]


class AuditMemory(msgspec.Struct, kw_only=True):
    """The auditor's books with the facts up to `seq` in them; all its verdicts on those are journaled.

    The books rest on the facts alone: a checkpoint of them only saves reading weeks of journal at every start.
    """

    seq: int = 0
    books: Auditor = msgspec.field(default_factory=Auditor)

    def catch_up(self, past: Iterable[Journaled]) -> list[AnyFact]:
        """Fold the facts after `seq`; the verdicts on them that are not among them (we died before writing them)."""
        said: Counter[Said] = Counter()
        due: list[TradeAudited] = []
        for entry in past:
            if isinstance(entry.fact, TradeAudited):
                said[_said(entry.fact)] += 1
            due += [fact for fact in self.books.apply(entry.fact) if isinstance(fact, TradeAudited)]
            self.seq = entry.seq
        missing: list[AnyFact] = []
        for verdict in due:
            if said[_said(verdict)] > 0:
                said[_said(verdict)] -= 1
            else:
                missing.append(verdict)
        return missing


def _said(verdict: TradeAudited) -> Said:
    return verdict.order, verdict.passed, tuple(verdict.findings)
