"""A window of a past run is decided again: equal to the last digit, or the first difference is named."""

import random
import shutil
from typing import Any

import msgspec
import pytest

from polybot.backtest.rerun import RESTARTED
from polybot.domain.errors import BadInput
from polybot.domain.events import (
    IntentRecorded,
    Journaled,
    SignalRefused,
    WindowRecorded,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.rerunning import rerun_recording
from polybot.settings import load_settings
from polybot.storage.tape_recording import joined
from tests.backtest.past_runs import PastRun, some_windows
from tests.builders import a_plan, always, first_windows, wants


@pytest.fixture(scope="module")
def on_tape(tmp_path_factory: pytest.TempPathFactory) -> PastRun:
    return PastRun(tmp_path_factory.mktemp("tape"), lockstep=True)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> PastRun:
    return PastRun(tmp_path_factory.mktemp("live"), lockstep=False)


def decisions(run: PastRun, market: MarketId) -> int:
    return sum(
        (fact.intent.market if isinstance(fact, IntentRecorded) else fact.market) == market
        for fact in (entry.fact for entry in run.facts)
        if isinstance(fact, IntentRecorded | SignalRefused | WindowRecorded)
    )


def test_every_decision_of_a_run_on_a_tape_is_made_again(on_tape):
    for market in on_tape.markets:
        found = on_tape.on_tape(market)
        assert found.difference is None
        assert found.compared == decisions(on_tape, market) >= 3


def test_every_decision_of_a_live_floor_is_made_again_from_what_it_recorded(live):
    for market in live.markets:
        found = live.recorded(market)
        assert found.difference is None
        assert found.compared == decisions(live, market) >= 3


def test_the_live_floor_of_this_test_did_not_look_after_every_event(live):
    """Else its looks would follow from the events, and recording them would prove nothing."""
    market = live.markets[0]
    assert sum(row.looks for row in live.recorded(market).rows) < 0.7 * len(first_windows(1)) * 3
    assert live.on_tape(market).difference is not None


def test_the_recording_plays_as_the_tape_did(live):
    assert list(joined(sorted(live.folder.glob("*.tape")))) == list(some_windows())


def edited(run: PastRun, market: MarketId, kind: type, **changes: Any) -> list[Journaled]:
    """The journal as it would be had its last fact of this kind been otherwise."""
    facts = list(run.facts)
    index = max(n for n, entry in enumerate(facts) if isinstance(entry.fact, kind) and about(entry.fact) == market)
    fact = facts[index].fact
    if isinstance(fact, IntentRecorded):
        fact = msgspec.structs.replace(fact, intent=msgspec.structs.replace(fact.intent, **changes))
    else:
        fact = msgspec.structs.replace(fact, **changes)
    facts[index] = msgspec.structs.replace(facts[index], fact=fact)
    return facts


def about(fact: Any) -> MarketId:
    market: MarketId = fact.intent.market if isinstance(fact, IntentRecorded) else fact.market
    return market


def a_market_with_an_order(run: PastRun) -> MarketId:
    return next(about(entry.fact) for entry in run.facts if isinstance(entry.fact, IntentRecorded))


@pytest.mark.parametrize("way", ["on_tape", "live"])
def test_an_order_that_differs_in_its_last_digit_is_shown_with_both_sides(way, request):
    run = request.getfixturevalue(way)
    market = a_market_with_an_order(run)
    facts = edited(run, market, IntentRecorded, fair_value=123_457)
    found = run.on_tape(market, facts) if way == "on_tape" else run.recorded(market, facts)
    assert found.difference is not None
    assert found.difference.what == "an order"
    assert '"fair_value":123457' in found.difference.live
    assert '"fair_value":123457' not in found.difference.replayed


def test_a_record_with_another_number_of_looks_is_a_difference(live):
    market = live.markets[0]
    found = live.recorded(market, edited(live, market, WindowRecorded, evaluations=7))
    assert found.difference is not None
    assert found.difference.what == "the window's record"


def test_an_order_that_was_never_decided_is_a_difference(on_tape):
    """The journal has one that the code of today would not place: nothing else of it is there."""
    market = a_market_with_an_order(on_tape)
    facts = list(on_tape.facts)
    index = next(n for n, e in enumerate(facts) if isinstance(e.fact, IntentRecorded) and about(e.fact) == market)
    moved = facts[index].position + 100
    facts[index] = msgspec.structs.replace(facts[index], position=moved)
    found = on_tape.on_tape(market, facts)
    assert found.difference is not None
    assert (found.difference.what, found.difference.live) == ("an order", "nothing")


def test_a_restart_in_the_window_leaves_its_orders_compared(on_tape):
    market = on_tape.markets[0]
    facts = list(on_tape.facts)
    started = facts[0].fact
    middle = next(n for n, e in enumerate(facts) if isinstance(e.fact, WindowRecorded) and e.fact.market == market)
    started = msgspec.structs.replace(started, at=facts[middle].fact.at)
    again = [*facts[:middle], msgspec.structs.replace(facts[middle - 1], fact=started), *facts[middle:]]
    again = [msgspec.structs.replace(entry, seq=n) for n, entry in enumerate(again, 1)]
    found = on_tape.on_tape(market, again)
    assert found.difference is None
    assert found.notes == [RESTARTED]
    assert sum(row.records for row in found.rows) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_the_scheduling_was_and_however_much_was_traded(tmp_path, seed):
    """Agents that want something at every look, a loop that gives them now no turn and now several, a slow disk."""
    plans = [
        a_plan("bull", always(wants(Outcome.UP, "0.99")), orders_per_window=40),
        a_plan("also", always(wants(Outcome.UP, "0.99")), orders_per_window=40),
        a_plan("bear", always(wants(Outcome.DOWN, "0.99")), orders_per_window=40),
    ]
    run = PastRun(tmp_path, lockstep=False, plans=plans, chance=random.Random(seed))
    orders = 0
    for market in run.markets:
        found = run.recorded(market)
        assert found.difference is None
        orders += sum(row.orders for row in found.rows)
    assert orders > 20


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> PastRun:
    """In the middle of the first window."""
    return PastRun(tmp_path_factory.mktemp("killed"), lockstep=False, lives=(700,))


def test_a_live_window_with_a_restart_in_it_is_compared_life_by_life(killed):
    settings, market = load_settings(), killed.markets[0]
    found = rerun_recording(settings, market, killed.facts, killed.folder)
    assert found.difference is None
    assert RESTARTED in found.notes
    assert found.events > 1_000
    assert sum(row.orders for row in found.rows) == sum(
        isinstance(entry.fact, IntentRecorded) and entry.fact.intent.market == market for entry in killed.facts
    )


def test_the_agents_and_limits_of_the_run_are_those_it_wrote_down(live):
    found = rerun_recording(load_settings(), live.markets[1], live.facts, live.folder)
    assert (found.difference, found.notes) == (None, [])
    assert found.compared >= 3


def test_a_recording_with_a_gap_is_refused_and_says_where(live, tmp_path):
    folder = tmp_path / "recordings"
    shutil.copytree(live.folder, folder)
    second = sorted(folder.glob("*.tape"))[1]
    second.unlink()
    with pytest.raises(BadInput, match="market events are missing before"):
        rerun_recording(load_settings(), live.markets[0], live.facts, folder)


def test_a_window_whose_beginning_was_removed_is_refused(live, tmp_path):
    folder = tmp_path / "recordings"
    shutil.copytree(live.folder, folder)
    min(folder.glob("*.tape")).unlink()
    with pytest.raises(BadInput, match="began was removed"):
        rerun_recording(load_settings(), live.markets[0], live.facts, folder)
