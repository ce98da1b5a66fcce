"""The shipped tape through the shipped agents: rows, money, and the same bytes every time."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from polybot.domain.events import (
    IntentRecorded,
    MarketListed,
    MarketSettled,
    TradeSettled,
    Verdict,
    WindowRecorded,
)
from polybot.venue.fill_models import VenueModel
from tests.builders import CAPITAL, Floor, shipped_floor, shipped_tape

TREE = Path(__file__).resolve().parents[2]
ENCODE = """
import hashlib, sys, msgspec
from tests.builders import shipped_floor
facts = b"".join(msgspec.json.encode(fact) for fact in shipped_floor().facts)
sys.stdout.write(f"{len(facts)} {hashlib.sha256(facts).hexdigest()}")
"""


@pytest.fixture(scope="module")
def floor() -> Floor:
    return shipped_floor()


def test_every_window_of_the_tape_has_one_record_for_each_of_the_three_agents(floor):
    windows = {event.market.id for event in shipped_tape() if isinstance(event, MarketListed)}
    rows = Counter((record.agent, record.market) for record in floor.of(WindowRecorded))
    assert len(windows) == 12
    assert rows == {
        (agent, market): 1 for agent in ("mean_reversion", "momentum", "volume_spike") for market in windows
    }


def test_every_window_is_settled_once(floor):
    assert len(floor.of(MarketSettled)) == len({fact.market for fact in floor.of(MarketSettled)}) == 12


def test_the_money_adds_up_to_the_millionth(floor):
    """Desks and venue keep separate books; at rest they agree, with each other and with the results."""
    pnl = sum(fact.pnl for fact in floor.of(TradeSettled))
    assert floor.desk_cash() == floor.venue.state.account.cash == CAPITAL + pnl == floor.room.equity()


def test_nothing_is_left_open(floor):
    assert floor.room.exposure() == 0
    assert (floor.venue.state.orders, floor.venue.state.unconfirmed, floor.venue.state.travelling) == ({}, {}, {})


def test_it_trades_and_says_why_where_it_does_not(floor):
    records = floor.of(WindowRecorded)
    assert sum(record.verdict is Verdict.TRADED for record in records) >= 12
    assert all(record.reason for record in records)


def test_on_a_tape_without_trade_prints_volume_spike_passes_for_that_reason(floor):
    assert {r.reason for r in floor.of(WindowRecorded) if r.agent == "volume_spike"} == {"no_trade_prints"}


def test_forgotten_markets_are_gone_from_memory(floor):
    assert len(floor.room.markets.by_id) == len(floor.room.state.markets) <= 2
    assert all(len(desk.state.recorded) <= 2 for desk in floor.room.desks.values())


def test_order_numbers_are_the_agents_own_and_have_no_gap(floor):
    for agent in floor.room.desks:
        orders = [fact.intent.id for fact in floor.of(IntentRecorded) if fact.agent == agent]
        assert orders == [f"{agent}-{number:06d}" for number in range(1, len(orders) + 1)]


def test_playing_event_by_event_or_all_at_once_is_the_same(floor):
    stepwise = shipped_floor(())
    for event in shipped_tape():
        stepwise.replay.play(event)
    assert stepwise.facts == floor.facts


def test_another_seed_of_the_venue_gives_other_fills(floor):
    assert shipped_floor(model=VenueModel(seed=2, ghost_fill_share=0.35)).facts != floor.facts


def test_two_processes_with_different_hash_seeds_give_the_same_bytes():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", ENCODE],
            cwd=TREE,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TREE)},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "4242")
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert first == second
    assert int(first.split()[0]) > 50_000
