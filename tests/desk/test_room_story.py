"""Windows that passed while nobody ran: each is opened and recorded as DOWN once it is listed, and only once."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.desk.room import RETIRE_AFTER_MS, RoomState, TradingRoom
from polybot.domain.events import AnyFact, MarketEvent, MarketOpened, MarketSettled, Verdict, WindowRecorded
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.risk.limits import Limits
from tests.builders import Floor, a_plan, book, listed, one_sided, resolved
from tests.facts import START, WINDOW_MS

AGENTS = (AgentId("early"), AgentId("late"))


def windows(*numbers: int) -> list[Market]:
    return [one_sided(number, window_start=Millis(START + number * WINDOW_MS)) for number in numbers]


def a_floor(at: int = START) -> Floor:
    """Two agents, whose capital was allotted at `at`: that is when the floor's story begins."""
    return Floor(*(a_plan(name) for name in AGENTS), at=at)


def catalog(markets: list[Market], at: int) -> list[MarketEvent]:
    """What a floor that comes back asks for: every window since, with its end, all heard at `at`."""
    told: list[MarketEvent] = []
    for market in markets:
        told += [listed(market, at), msgspec.structs.replace(resolved(market), at=Millis(at), received=Millis(at))]
    return told


def from_journal(floor: Floor) -> TradingRoom:
    room = TradingRoom(floor.plans, floor.limits)
    for fact in floor.facts:
        room.apply(fact)
    return room


def from_checkpoint(floor: Floor) -> TradingRoom:
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(floor.room.state), type=RoomState)
    return TradingRoom(floor.plans, floor.limits, kept)


def hear(room: TradingRoom, events: list[MarketEvent]) -> list[AnyFact]:
    """Everything that becomes due on the way, each applied as it is committed."""
    facts: list[AnyFact] = []
    for event in events:
        room.observe(event)
        while due := room.due(event.received):
            facts += due
            for fact in due:
                room.apply(fact)
    return facts


def verdicts(facts: list[AnyFact]) -> dict[tuple[AgentId, MarketId], Verdict]:
    """By agent and window; no window may be recorded twice."""
    records = [fact for fact in facts if isinstance(fact, WindowRecorded)]
    found = {(record.agent, record.market): record.verdict for record in records}
    assert len(found) == len(records)
    return found


def test_a_window_that_passed_while_nobody_ran_is_opened_and_every_agent_was_down() -> None:
    (missed,) = windows(1)
    floor = a_floor().play(listed(missed, missed.window_end + 1_000))
    assert [fact.market for fact in floor.of(MarketOpened)] == [missed]
    assert verdicts(floor.facts) == {(agent, missed.id): Verdict.DOWN for agent in AGENTS}
    assert {record.reason for record in floor.of(WindowRecorded)} == {"agent_down"}


def test_so_is_each_of_a_whole_night() -> None:
    night = windows(*range(1, 40))
    floor = a_floor().play(*catalog(night, night[-1].window_end + 1_000))
    assert [fact.market for fact in floor.of(MarketOpened)] == night
    assert verdicts(floor.facts) == {(agent, market.id): Verdict.DOWN for agent in AGENTS for market in night}
    assert len(floor.of(MarketSettled)) == len(night)


def test_whose_story_is_over_when_it_is_listed_again_it_is_not_told_again() -> None:
    night = windows(1, 2, 3)
    back = night[-1].window_end + RETIRE_AFTER_MS
    floor = a_floor().play(*catalog(night, back), *catalog(night, back + 60_000), *catalog(night, back + 900_000))
    assert len(floor.of(MarketOpened)) == 3
    assert len(verdicts(floor.facts)) == 6


@pytest.mark.parametrize("restart", [from_journal, from_checkpoint])
@pytest.mark.parametrize("forgotten", [False, True])
def test_nor_after_a_restart(restart, forgotten) -> None:
    night = windows(1, 2, 3)
    back = night[-1].window_end + 1_000
    floor = a_floor().play(*catalog(night, back))
    assert len(verdicts(floor.facts)) == 6
    again = back + (RETIRE_AFTER_MS + 60_000 if forgotten else 1_000)
    if forgotten:
        floor.play(listed(one_sided(9), again))
        assert not set(floor.room.state.markets) & {market.id for market in night}
    assert verdicts(hear(restart(floor), catalog(night, again + 1_000))) == {}


def test_a_floor_that_died_between_opening_a_window_and_recording_it_records_it_when_it_is_back() -> None:
    (missed,) = windows(1)
    floor = a_floor().play(listed(missed, missed.window_end + 1_000))
    opened = next(n for n, fact in enumerate(floor.facts) if isinstance(fact, MarketOpened))
    del floor.facts[opened + 1 :]
    room = from_journal(floor)
    assert verdicts(room.due(Millis(missed.window_end + 60_000))) == {
        (agent, missed.id): Verdict.DOWN for agent in AGENTS
    }


@pytest.mark.parametrize("restart", [from_journal, from_checkpoint])
def test_a_window_listed_ahead_that_passed_while_nobody_ran_was_down_too(restart) -> None:
    (ahead,) = windows(1)
    floor = a_floor().play(listed(ahead, ahead.window_start - 600_000))
    room = restart(floor)
    room.absent.update(room.desks)  # as a house does until its agents run
    back = Millis(ahead.window_end + 60_000)
    assert verdicts(room.due(back)) == {(agent, ahead.id): Verdict.DOWN for agent in AGENTS}


def test_windows_that_ended_before_the_floor_first_had_capital_were_never_its_own() -> None:
    before, straddling = windows(0, 1)
    floor = a_floor(at=before.window_end).play(*catalog([before, straddling], straddling.window_end + 1_000))
    assert [fact.market for fact in floor.of(MarketOpened)] == [straddling]
    assert set(verdicts(floor.facts)) == {(agent, straddling.id) for agent in AGENTS}


@pytest.mark.parametrize("restart", [from_journal, from_checkpoint])
def test_nor_are_they_after_a_restart(restart) -> None:
    before, _ = windows(0, 1)
    floor = a_floor(at=before.window_end).play(*catalog([before], before.window_end + 1_000))
    assert hear(restart(floor), catalog([before], before.window_end + 60_000)) == []


def test_without_capital_no_window_of_long_ago_is_opened() -> None:
    room = TradingRoom([a_plan()], Limits())
    (old,) = windows(0)
    assert hear(room, catalog([old], old.window_end + RETIRE_AFTER_MS)) == []


def test_a_window_still_open_when_the_floor_is_back_is_judged_by_what_was_seen_of_it() -> None:
    (market,) = windows(1)
    at = 600_000
    events: list[MarketEvent] = [listed(market, market.window_start + at), book(market, at + 1_000), resolved(market)]
    assert set(verdicts(a_floor().play(*events).facts).values()) == {Verdict.TRADED}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=12),
    st.lists(st.sampled_from([1_000, 60_000, 700_000]), min_size=12, max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_however_often_it_dies_and_is_told_each_window_is_recorded_once_by_each_agent(
    upto: list[int], pauses: list[int], deaths: set[int]
) -> None:
    """The catalogue always begins with the first window, as one that is read too far back does."""
    floor, facts = a_floor(), list(a_floor().facts)
    room, at = from_journal(floor), START + 6 * WINDOW_MS
    for number, last in enumerate(upto):
        at += pauses[number]
        facts += hear(room, catalog(windows(*range(last)), at))
        if number in deaths:
            floor.facts = list(facts)
            room = from_journal(floor)
    night = windows(*range(max(upto)))
    assert set(verdicts(facts)) == {(agent, market.id) for agent in AGENTS for market in night}
    assert max(Counter(fact.market.id for fact in facts if isinstance(fact, MarketOpened)).values()) == 1
