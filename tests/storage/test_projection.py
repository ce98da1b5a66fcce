"""Any facts, in any batches, from any projector, give the same tables as one fact after the other."""

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polybot.domain import events
from polybot.domain.events import AgentState, AnyFact
from polybot.domain.ids import AgentId
from polybot.domain.units import Money, Price
from polybot.storage.journal import Journal
from polybot.storage.projection_change import Change, arrange
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projector import Projector
from tests.storage import facts
from tests.storage.projecting import contents, projector_of, wipe

AGENTS = [AgentId("momentum"), AgentId("mean_reversion"), AgentId("volume_spike")]
STEPS = [
    facts.intended, facts.accepted, facts.matched, lambda w: facts.matched(w, 2), facts.confirmed, facts.failed,
    lambda w: facts.failed(w, 2), facts.closed, lambda w: facts.settled(w, 1.5),
]  # fmt: skip


class Sequence:
    """Turns any list of numbers into facts that a floor, sane or confused, could have written.

    Only what the database rightly refuses is left out: an order without its market, a fill without its order, and
    anything that can exist only once a second time.
    """

    def __init__(self) -> None:
        self.once: set[tuple] = set()

    def facts(self, moves: list[tuple[int, int, int]]) -> list[AnyFact]:
        return [facts.opened(), *(fact for n, move in enumerate(moves) for fact in self._fact(n, *move))]

    def _fact(self, n: int, kind: int, agent_number: int, number: int) -> list[AnyFact]:
        agent = AGENTS[agent_number]
        if kind < len(STEPS):
            wish = facts.intent(agent, number)
            if (kind == 0 or kind in (2, 3) or kind == 8) and not self._first(agent, number, kind):
                return []
            if kind in (2, 3) and (agent, number, 0) not in self.once:
                self.once.discard((agent, number, kind))
                return []
            return [STEPS[kind](wish)]
        others = [
            lambda: facts.announced(agent, list(AgentState)[number]),
            lambda: events.CapitalAllocated(
                at=facts.at(n), agent=agent, capital=facts.dollars(n), moved=facts.dollars(1)
            ),
            lambda: events.TradingPaused(
                at=facts.at(n), agent=agent, breaker="b", value=1.0, limit=1.0, text="", until=None
            ),
            lambda: events.TradingResumed(at=facts.at(n), agent=agent, breaker="b", text=f"{n}"),
            lambda: events.MarketSettled(at=facts.at(n), market=facts.market(number).id, payout_up=Price(0)),
            lambda: facts.opened(number),
            lambda: facts.note(n),
            lambda: events.RunEnded(at=facts.at(n), reason=f"{n}", finished=False),
            lambda: events.RunStarted(
                at=facts.at(n), run="r", source="tape", mode="paper", capital=Money(1), seed=1, version="0"
            ),
        ]
        return [others[(kind - len(STEPS)) % len(others)]()]

    def _first(self, *name: object) -> bool:
        fresh = name not in self.once
        self.once.add(name)
        return fresh


MOVES = st.lists(st.tuples(st.integers(0, 17), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=60)
CUTS = st.lists(st.tuples(st.integers(1, 25), st.integers(0, 2)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES, cuts=CUTS)
async def test_any_facts_in_any_batches_from_any_projector_give_the_same_tables(
    pool: asyncpg.Pool, tmp_path_factory: pytest.TempPathFactory, moves, cuts
) -> None:
    """The measure is one fact per transaction; against it stand batches of all sizes, carried by turns by projectors
    that do not know of each other, each of which may lose a batch to a crash and deliver it again."""
    told = Sequence().facts(moves)
    with Journal.open(tmp_path_factory.mktemp("journal") / "j", genesis=b"g" * 32) as journal:
        await journal.append(told, position=0)
        await wipe(pool)
        one_by_one = projector_of(journal, pool, batch_rows=1)
        while await one_by_one.project_batch():
            pass
        measure = await contents(pool)
        await wipe(pool)
        projectors = [projector_of(journal, pool) for _ in range(3)]
        for number, (size, who) in enumerate(cuts * len(told)):
            if number % 3 == 2:
                await crash_before_commit(projectors[who])
            projectors[who]._batch_rows = size
            await projectors[who].project_batch()
        assert await contents(pool) == measure


async def crash_before_commit(projector: Projector) -> None:
    """Carry a batch, and lose it."""
    store = projector._store
    assert isinstance(store, PostgresProjection)
    async with store._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await store._carry(connection, projector._journal.genesis, lambda place: projector._choose(place, 5))
        await transaction.rollback()


def test_changes_with_a_key_in_common_keep_their_order_and_the_others_are_gathered() -> None:
    changes = [
        Change("add", (1,), ("a",)), Change("end", (2,), ("a",)), Change("add", (3,), ("b",)),
        Change("end", (4,), ("b",)), Change("add", (5,), ("a",)), Change("note", (6,)),
        Change("use", (7,), ("c",), ("a",)),
    ]  # fmt: skip
    assert [(group.statement, [a for (a,) in group.arguments]) for group in arrange(changes)] == [
        ("add", [1, 3]),
        ("end", [2, 4]),
        ("add", [5]),
        ("note", [6]),
        ("use", [7]),
    ]
