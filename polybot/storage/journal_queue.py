"""Appends on their way into a journal: their places, their bounds, and who waits for them.

The journal on a real disk (journal.py) and the chaos hunt's on a simulated one are built on it; they differ in what
writes a group, and when.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.events import AnyFact, Journaled
from polybot.storage.journal_file import FACT_DECODER, JournalError

PENDING_FACTS_MAX = 50_000
GROUP_FACTS_MAX = 1_000


class JournalFailedError(JournalError):
    """A write failed: nothing that was waiting is promised, and the journal takes nothing more. Stop trading."""


class JournalOverloadedError(JournalError):
    """PENDING_FACTS_MAX facts wait for the disk; nothing of this call was taken. The journal itself goes on."""


class JournalClosedError(JournalError):
    """The journal was closed in order before this append."""


class FactUnwritableError(PolybotError):
    """A fact that would not be the same when read back (a NaN, a tuple in a dict of settings): a bug in who made it."""


class Pending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One append on its way to the disk."""

    journaled: list[Journaled]
    payloads: list[bytes]
    done: "asyncio.Future[list[Journaled]]"


class JournalQueue(ABC):
    """For one event loop. Whoever is built on it takes groups with `_next_group`, and says how they went."""

    def __init__(self, path: Path, genesis: bytes, last_seq: int, last_hash: bytes) -> None:
        self.path, self.genesis = path, genesis
        self._durable_seq, self._last_hash = last_seq, last_hash
        self._next_seq = last_seq + 1
        self._pending: deque[Pending] = deque()
        self._pending_facts = 0
        self._closing = False
        self._failure: JournalError | None = None
        self._grown: asyncio.Event | None = None
        self._watched_seq, self._watched_since = 0, 0.0

    @property
    def last_seq(self) -> int:
        """The last durable row's number; 0 in an empty journal."""
        return self._durable_seq

    @property
    def last_hash(self) -> bytes:
        """The last written row's hash; the genesis in an empty journal."""
        return self._last_hash

    @property
    def pending_facts(self) -> int:
        """Facts taken but not yet durable."""
        return self._pending_facts

    @property
    def failure(self) -> JournalError | None:
        """Why the journal takes nothing more; None while it is fit."""
        return self._failure

    def oldest_pending_s(self, now: float) -> float:
        """How long the first append in line has waited, as far back as these calls have seen it; 0 with none waiting.

        For watchers that ask again and again, with the same monotonic seconds as `now`. From any thread.
        """
        first = self._durable_seq + 1 if self._pending_facts else 0
        if first != self._watched_seq:
            self._watched_seq, self._watched_since = first, now
        return now - self._watched_since if first else 0.0

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]:
        """Make `facts` durable, all or none, and return them with their places. `position`: the last event applied.

        Cancelling the wait does not take the facts back: they are written all the same. Raises JournalFailedError (stop
        trading), JournalOverloadedError, JournalClosedError or FactUnwritableError.
        """
        return await self.submit(facts, position)

    def submit(self, facts: Sequence[AnyFact], position: int) -> "asyncio.Future[list[Journaled]]":
        """The same in two steps: places are given in the order of the calls, the future resolves when durable."""
        payloads = [encode_fact(fact) for fact in facts]
        self._require_room(len(facts))
        first = self._next_seq
        journaled = [Journaled(seq=first + i, position=position, fact=fact) for i, fact in enumerate(facts)]
        done: asyncio.Future[list[Journaled]] = asyncio.get_running_loop().create_future()
        if facts:
            self._accept(Pending(journaled=journaled, payloads=payloads, done=done))
        else:
            done.set_result([])
        return done

    async def wait_beyond(self, seq: int, seconds_max: float) -> int:
        """Wait until a row after `seq` is durable, at most `seconds_max`; returns the last durable row's number."""
        if self._durable_seq <= seq:
            self._grown = self._grown or asyncio.Event()
            try:
                async with asyncio.timeout(seconds_max):
                    await self._grown.wait()
            except TimeoutError:
                pass
        return self._durable_seq

    @abstractmethod
    def close(self) -> None:
        """Write what is waiting, and give the file up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- for those built on it -----------------------------------------------------------------------------------------

    @abstractmethod
    def _accept(self, pending: Pending) -> None:
        """`_add` it, and let the writer know."""

    def _add(self, pending: Pending) -> None:
        self._next_seq += len(pending.payloads)
        self._pending.append(pending)
        self._pending_facts += len(pending.payloads)

    def _next_group(self) -> list[Pending]:
        """Whole appends, up to GROUP_FACTS_MAX facts; empty when none wait."""
        group: list[Pending] = []
        room = GROUP_FACTS_MAX
        while self._pending and len(self._pending[0].payloads) <= room:
            group.append(self._pending.popleft())
            room -= len(group[-1].payloads)
        return group

    def _give_up(self, group: list[Pending], failure: JournalError) -> list[Pending]:
        """Take nothing more; everything that waits is to be rejected."""
        self._failure = failure
        waiting = [*group, *self._pending]
        self._pending.clear()
        self._pending_facts = 0
        return waiting

    def _resolve(self, group: list[Pending]) -> None:
        for pending in group:
            if not pending.done.done():
                pending.done.set_result(pending.journaled)
        self._announce()

    def _reject(self, waiting: list[Pending], failure: JournalError) -> None:
        for pending in waiting:
            if not pending.done.done():
                pending.done.set_exception(failure)
        self._announce()

    def _announce(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None

    def _require_room(self, count: int) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise JournalClosedError(f"the journal {self.path} is closed; open it again to append")
        if count > GROUP_FACTS_MAX:
            raise FactUnwritableError(f"{count} facts in one append; at most {GROUP_FACTS_MAX} are written as one")
        if self._pending_facts + count > PENDING_FACTS_MAX:
            raise JournalOverloadedError(
                f"{self._pending_facts} facts wait for the disk, the most that may: pause trading until the journal "
                "has caught up, and check the disk's speed"
            )


def encode_fact(fact: AnyFact) -> bytes:
    """The fact in JSON, tried: what is journaled must be the same when a later start reads it back."""
    try:
        payload = msgspec.json.encode(fact)
        same = FACT_DECODER.decode(payload) == fact
    except (TypeError, ValueError) as error:  # msgspec's own errors are ValueErrors
        raise FactUnwritableError(f"{type(fact).__name__} cannot be journaled: {error}") from error
    if not same:
        raise FactUnwritableError(
            f"{type(fact).__name__} would be read back differently (a NaN or a tuple in it?): {fact}"
        )
    return payload
