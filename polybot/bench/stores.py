"""What durability costs: an append to the journal alone and in company, a start from nothing and from a checkpoint."""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import msgspec

from polybot.app import Backtest
from polybot.domain.events import AnyFact, Journaled, Severity, SystemNoted
from polybot.domain.units import Millis
from polybot.recovery import decode_memory, encode_memory, new_memory, recover
from polybot.settings import Settings, load_plans
from polybot.storage.journal import Journal
from polybot.storage.tape import TapeReader

ALONE = 300
TOGETHER = 5_000
COMPANY = 100


class JournalRun(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds per durable fact: waited for one by one, and with COMPANY appends waiting at a time."""

    alone_us: float
    grouped_us: float


class StartRun(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds until the floor could decide: from an empty folder, the whole journal, a checkpoint at its end."""

    from_nothing_s: float
    from_journal_s: float
    from_checkpoint_s: float
    facts: int
    market_events: int


async def run_journal() -> JournalRun:
    with (
        tempfile.TemporaryDirectory(prefix="polybot-bench-") as folder,
        Journal.open(Path(folder) / "j.sqlite") as journal,
    ):
        spent = []
        for number in range(ALONE):
            began = time.perf_counter()
            await journal.append([_fact(number)], number)
            spent.append(time.perf_counter() - began)
        began = time.perf_counter()
        for first in range(0, TOGETHER, COMPANY):
            async with asyncio.TaskGroup() as group:
                for number in range(first, first + COMPANY):
                    group.create_task(journal.append([_fact(number)], number))
        grouped = (time.perf_counter() - began) / TOGETHER
    return JournalRun(alone_us=median(spent) * 1e6, grouped_us=grouped * 1e6)


async def run_start(settings: Settings) -> StartRun:
    """The floor's own part of a start: journal, checkpoint, markets up to the place, and the room ready to decide."""
    facts = Backtest(settings, [settings.tape], []).run(lambda *_: None)
    tape = TapeReader(settings.tape)
    events = tape.totals.events if tape.totals else 0
    with tempfile.TemporaryDirectory(prefix="polybot-bench-") as folder:
        path = Path(folder) / "j.sqlite"
        nothing_s, _ = _start(settings, path, None)
        with Journal.open(path) as journal:
            for first in range(0, len(facts), 500):
                await journal.append(_without_end(facts[first : first + 500]), events // 2)
        journal_s, memory = _start(settings, path, None)
        checkpoint_s, _ = _start(settings, path, memory)
    return StartRun(
        from_nothing_s=nothing_s,
        from_journal_s=journal_s,
        from_checkpoint_s=checkpoint_s,
        facts=len(facts),
        market_events=events // 2,
    )


def _start(settings: Settings, path: Path, checkpoint: bytes | None) -> tuple[float, bytes]:
    began = time.perf_counter()
    with Journal.open(path) as journal:
        memory = decode_memory(checkpoint) if checkpoint is not None else new_memory(settings.capital_money)
        later: list[Journaled] = list(journal.read(memory.seq))
        recovered = recover(
            memory,
            later,
            TapeReader(settings.tape).events(),
            load_plans(settings),
            settings.limits.limits(),
        )
        recovered.paper_venue(settings.venue.model(settings.seed))
        seconds = time.perf_counter() - began
    return seconds, encode_memory(recovered.memory)


def _without_end(facts: list[AnyFact]) -> list[AnyFact]:
    return [fact for fact in facts if type(fact).__name__ != "RunEnded"]


def _fact(number: int) -> SystemNoted:
    return SystemNoted(
        at=Millis(number), severity=Severity.INFO, component="bench", text="an ordinary fact, as long as most"
    )
