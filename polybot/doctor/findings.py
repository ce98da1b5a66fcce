"""What an examination found: one line for each thing that was looked at, and what to do where it is not well."""

import enum
from collections.abc import Sequence

import msgspec

from polybot.domain.errors import PolybotError


class Mark(enum.StrEnum):
    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`remedy` is what a person can do about a FAIL."""

    check: str
    mark: Mark
    text: str
    remedy: str = ""


WATCHED = frozenset(("windows", "books", "prices"))
"""What a running floor looks at all the time; it trades on nothing that is not there, and goes on without."""

SENT_LATER = frozenset(("gas", "claims"))
"""What settling winnings needs and trading does not: the wallet may be given it while the floor runs."""

NOT_NEEDED = frozenset(("prices",))
"""No strategy that ships asks for a reference price, and the keyless source of them is to be removed some day."""


class NotReady(PolybotError):
    """A check failed that real money needs; the text has every failed line with its remedy."""


def passed(check: str, text: str) -> Finding:
    return Finding(check=check, mark=Mark.PASS, text=text)


def failed(check: str, text: str, remedy: str) -> Finding:
    return Finding(check=check, mark=Mark.FAIL, text=text, remedy=remedy)


def skipped(check: str, text: str) -> Finding:
    return Finding(check=check, mark=Mark.SKIPPED, text=text)


def refusal(findings: Sequence[Finding]) -> str:
    """Every failed line with its remedy; "" where none failed."""
    return "\n".join(f"{f.check}: {f.text}: {f.remedy}" for f in findings if f.mark is Mark.FAIL)


def require_passed(findings: Sequence[Finding], *, goes_on: bool = False) -> None:
    """`goes_on`: a run that had begun comes back, and has orders and positions to see to, so that it is not kept out by
    what it watches anyhow, a catalogue that fails for a moment, say, or by what can be sent to it. Raises NotReady.
    """
    spared = WATCHED | SENT_LATER if goes_on else NOT_NEEDED
    why = refusal([finding for finding in findings if finding.check not in spared])
    if why:
        raise NotReady(f"real money is not traded, because `polybot doctor` fails:\n{why}")
