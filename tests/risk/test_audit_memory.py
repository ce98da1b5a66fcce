"""The auditor's books survive a stop at any fact: whatever was said is not said again, whatever was not is said now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import AnyFact, Journaled, OrderAccepted, RunStarted, SystemNoted, TradeAudited
from polybot.domain.ids import OrderId
from polybot.recovery import decode_audit, encode_audit
from polybot.risk.audit_memory import AuditMemory
from polybot.risk.audit_rules import Rule
from polybot.risk.limits import Limits
from tests.builders import CAPITAL
from tests.desk.worlds import a_floor, a_tape, seeds
from tests.facts import MOMENTUM, START
from tests.risk.broken_stories import BREAKS, Mutation, honest_story

positions = st.integers(0, 10_000)


class Run:
    """An auditor at work beside a floor: it is behind by more or less, and says what it finds in the same journal."""

    def __init__(self, facts: Sequence[AnyFact], seed: int = 0, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.memory = AuditMemory()
        self.memory.books.limits = self.limits
        self.journal: list[Journaled] = []
        self.checkpoints: list[tuple[int, bytes]] = []
        """What was kept at which length of the journal, after every fact it took in."""
        chance = Random(seed)
        for fact in facts:
            self._write(fact)
            if chance.random() < 0.6:
                self._read(chance.randrange(1, 8))
        self._read(len(self.journal) * 2)

    def _write(self, fact: AnyFact) -> None:
        self.journal.append(Journaled(seq=len(self.journal) + 1, position=0, fact=fact))

    def _read(self, entries_max: int) -> None:
        for entry in self.journal[self.memory.seq :][:entries_max]:
            verdicts = self.memory.books.apply(entry.fact)
            self.memory.seq = entry.seq
            for verdict in verdicts:
                self._write(verdict)
            self.checkpoints.append((len(self.journal), encode_audit(self.memory)))

    def empty(self) -> AuditMemory:
        memory = AuditMemory()
        memory.books.limits = self.limits
        return memory


def due(facts: Sequence[AnyFact], limits: Limits) -> Counter[bytes]:
    """The verdicts one who was never stopped gives on these facts."""
    memory = AuditMemory()
    memory.books.limits = limits
    return told(verdict for fact in facts if not is_verdict(fact) for verdict in memory.books.apply(fact))


def told(facts: Iterable[AnyFact]) -> Counter[bytes]:
    return Counter(msgspec.msgpack.encode(fact) for fact in facts if is_verdict(fact))


def is_verdict(fact: AnyFact) -> bool:
    return isinstance(fact, TradeAudited) or (isinstance(fact, SystemNoted) and fact.component == "auditor")


@cache
def a_days_facts(seed: int) -> tuple[AnyFact, ...]:
    """What happened on a random floor: fills that fail and are confirmed late, refusals, settlements."""
    floor = a_floor(seed).play(*a_tape(seed, 150))
    started = RunStarted(at=START, run="r", source="t", mode="paper", capital=CAPITAL, seed=1, version="0")
    return (started, *floor.facts)


def check(run: Run, kept: int, died: int) -> None:
    """It dies when `died` facts are written, and comes back from what it had kept before; nothing is lost or twice."""
    usable = [n for n, (length, _) in enumerate(run.checkpoints) if length <= died]
    memory = decode_audit(run.checkpoints[usable[kept % len(usable)]][1], run.limits) if usable else run.empty()
    past = run.journal[:died]
    missing = memory.catch_up(past[memory.seq :])
    facts = [entry.fact for entry in past]
    assert told([*facts, *missing]) == due(facts, run.limits)
    assert memory.seq == died

    written = [Journaled(seq=died + n, position=0, fact=fact) for n, fact in enumerate(missing, 1)]
    assert memory.catch_up(written) == []
    again = run.empty()
    assert again.catch_up([*past, *written]) == []
    assert encode_audit(again) == encode_audit(memory)


@settings(max_examples=60, deadline=None)
@given(seeds.map(lambda seed: seed % 7), seeds, positions, positions)
def test_stopped_anywhere_in_a_day_and_started_from_any_checkpoint_it_gives_the_same_verdicts(
    world: int, seed: int, kept: int, died: int
) -> None:
    run = Run(a_days_facts(world), seed)
    check(run, kept, died % (len(run.journal) + 1))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BREAKS), seeds, positions, positions)
def test_so_it_does_in_a_story_with_something_wrong_in_it(
    broken: tuple[Rule, Mutation], seed: int, kept: int, died: int
) -> None:
    run = Run(broken[1](honest_story().facts), seed)
    check(run, kept, died % (len(run.journal) + 1))


NOTED = [breaks for rule, breaks in BREAKS if rule is Rule.MARKET_SETTLEMENT]


@pytest.mark.parametrize("breaks", NOTED)
def test_what_is_wrong_with_a_market_is_not_lost_either_wherever_it_stops(breaks: Mutation) -> None:
    run = Run(breaks(honest_story().facts))
    assert any(isinstance(entry.fact, SystemNoted) for entry in run.journal)
    for died in range(len(run.journal) + 1):
        check(run, died, died)


def test_two_facts_about_an_order_nobody_intended_are_two_verdicts_however_alike() -> None:
    facts: list[AnyFact] = list(honest_story().facts)
    for place in (20, 5):
        facts.insert(place, OrderAccepted(at=facts[place].at, agent=MOMENTUM, order=OrderId("momentum-000077")))
    run = Run(facts)
    for died in range(len(run.journal) + 1):
        for kept in range(0, died, 5):
            check(run, kept, died)


def test_the_days_are_worth_it() -> None:
    verdicts = [verdict for seed in range(7) for verdict in due(a_days_facts(seed), Limits()).elements()]
    assert len(verdicts) >= 100
