"""The floor put together: what it keeps of itself, and when it need not."""

import asyncio
from collections.abc import Iterator

import pytest

from polybot.clock import ReplayClock
from polybot.domain.events import Journaled, Severity
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.house import House, HouseTerms, restore
from polybot.recovery import new_memory
from polybot.risk.limits import Limits
from polybot.venue.paper import PaperVenue
from tests.builders import CAPITAL, INSTANT, a_plan
from tests.facts import START
from tests.floor.venues import ListJournal


class KeptJournal(ListJournal):
    """Of a first run."""

    genesis = bytes(32)

    def read(self, after_seq: int = 0) -> Iterator[Journaled]:
        return iter(self.kept[after_seq:])


class Kept:
    """A house whose checkpoints are counted."""

    def __init__(self, *, lockstep: bool) -> None:
        terms = HouseTerms(
            plans=[a_plan()], limits=Limits(), capital=CAPITAL, seed=1, mode="paper", source="t", checkpoint_s=0.0,
            lockstep=lockstep,
        )  # fmt: skip
        self.seqs: list[int] = []
        journal = KeptJournal()
        was = restore(terms, new_memory(CAPITAL), journal, ())
        venue = PaperVenue(was.paper_venue(INSTANT))
        self.house = House(terms, was, venue, journal, ReplayClock(Millis(START)), self.keep)

    async def keep(self, seq: int, position: int, at: Millis, state: bytes) -> None:
        self.seqs.append(seq)


@pytest.mark.parametrize("lockstep", [True, False])
async def test_a_floor_on_which_nothing_happened_is_not_kept_again(lockstep: bool) -> None:
    kept, looks = Kept(lockstep=lockstep), 0

    async def play(dispatcher: Dispatcher, stop: asyncio.Event) -> bool:
        nonlocal looks
        await at_least(kept, 1)
        quiet = len(kept.seqs)
        await asyncio.sleep(1.0)
        looks = len(kept.seqs) - quiet
        before = len(kept.seqs)  # it may be kept while the note is still being waited for
        await dispatcher.note(Severity.INFO, "test", "something happened")
        await at_least(kept, before + 1)
        return True

    await kept.house.run(play, asyncio.Event())
    assert looks <= 1, "one may have been due: the auditor had only now read what there was"
    assert kept.seqs[-1] == kept.house.was.memory.seq, "the last word is kept"


async def at_least(kept: Kept, number: int) -> None:
    async with asyncio.timeout(5):
        while len(kept.seqs) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
