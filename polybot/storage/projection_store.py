"""What carries rows of the journal into a database: one transaction at a time, whole or not at all (projector.py).

Two stand behind it: PostgreSQL (projection_postgres.py), and the chaos hunt's, in memory, which fails on demand.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.events import Journaled
from polybot.storage.journal_file import JournalRow


class ProjectionError(PolybotError):
    """Projecting cannot go on until somebody does something; the text says what. The journal is not concerned."""


class ProjectionAwayError(PolybotError):
    """The database does not answer, or cannot serve now. Whether this transaction was committed is not known."""


class RowRefusedError(PolybotError):
    """The database refuses one of the rows, and always will: nothing of this transaction was written."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How far the database is: row `seq` with `hash`, of the journal `genesis`. Row 0's hash is the genesis."""

    genesis: bytes
    seq: int
    hash: bytes


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """The rows for one transaction, in order and without gaps, as they stand in the journal and as facts."""

    rows: Sequence[JournalRow]
    entries: Sequence[Journaled]


Choose = Callable[[Place], Awaitable[Portion | None]]
"""What comes after the place, or None when there is nothing. Raises a PolybotError to give the transaction up."""


class ProjectionStore(Protocol):
    """A database that takes facts."""

    async def carry(self, genesis: bytes, choose: Choose) -> int:
        """One transaction: claim the place where there is none (row 0 of `genesis`), lock it, ask `choose` what follows
        it, write that, move the place to its last row, commit. Returns the place's row number.

        Raises ProjectionAwayError, RowRefusedError, ProjectionError, and whatever `choose` raises.
        """
        ...
