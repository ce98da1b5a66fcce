"""Any story at all: the oracle watches every step of it; and planted bugs, which it must find."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polybot.domain.events import FillMatched, Liquidity
from polybot.domain.fees import FeeSchedule
from polybot.domain.market import Side
from polybot.domain.units import Money, Shares
from polybot.venue import matching
from polybot.venue.account import Account
from polybot.venue.liquidity import UsedLiquidity
from polybot.venue.matching import Simulator, SimulatorState
from polybot.venue.open_orders import OpenOrders
from polybot.venue.queue import Resting
from tests.venue.oracle import Oracle
from tests.venue.scenarios import CASH, Play, Scenario, market_of, random_scenario, scenarios, told

quietly = settings(
    max_examples=600, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
fewer = settings(quietly, max_examples=300)


def watched(scenario: Scenario) -> tuple[Play, Oracle]:
    model_age = Play(scenario).model.book_age_ms_max
    oracle = Oracle(market_of(scenario), CASH, model_age)
    play = Play(scenario, oracle).run()
    oracle.at_rest(play.venue.state)
    return play, oracle


def through_the_checkpoint(play: Play) -> None:
    """Stop here, and go on from what a checkpoint holds."""
    data = msgspec.msgpack.encode(play.venue.state)
    play.swap_venue(msgspec.msgpack.decode(data, type=SimulatorState))


@quietly
@given(scenarios)
def test_the_oracle_finds_nothing_in_any_story(scenario: Scenario) -> None:
    watched(scenario)


def test_the_stories_are_rich_enough_to_mean_something() -> None:
    """Of a few hundred stories, every kind of fill, end and refusal must occur, or the property proves little."""
    seen: set[str] = set()
    for seed in range(200):
        play, oracle = watched(random_scenario(seed))
        fills = [fact for fact in play.facts if isinstance(fact, FillMatched)]
        seen |= {f"{fill.side}/{fill.outcome.name}/{fill.liquidity}" for fill in fills}
        seen |= {getattr(fact, "reason", type(fact).__name__) for fact in play.facts}
        seen |= {f"{oracle.lives[fill.order].intent.time_in_force}" for fill in fills}
        seen |= {"partial"} if any(0 < li.filled < li.intent.shares for li in oracle.lives.values()) else set()
    kinds = {f"{s}/{o}/{k}" for s in ("BUY", "SELL") for o in ("UP", "DOWN") for k in ("taker", "maker")}
    ends = {"filled", "killed", "cancelled", "expired", "market_ended"}
    answers = {"OrderAccepted", "OrderRejected", "CancelRefused", "FillConfirmed", "FillFailed", "partial"}
    assert kinds | ends | answers | {"FOK", "FAK", "GTC", "GTD"} <= seen


@fewer
@given(scenarios, st.integers(0, 70))
def test_a_venue_that_stops_anywhere_and_goes_on_from_its_checkpoint_says_the_same(
    scenario: Scenario, cut: int
) -> None:
    assert told(Play(scenario).run(cut, through_the_checkpoint)) == told(Play(scenario).run())


@fewer
@given(scenarios, st.integers(0, 70), st.integers(0, 70))
def test_the_journal_brings_an_older_checkpoint_up_to_date(scenario: Scenario, snapshot_at: int, crash_at: int) -> None:
    """Cash and shares come back to what they were at the crash; then the story goes on, and the oracle still agrees."""
    crash_at = max(crash_at, snapshot_at)
    oracle = Oracle(market_of(scenario), CASH, 30_000)
    play = Play(scenario, oracle)
    snapshot, journaled = msgspec.msgpack.encode(play.venue.state), 0
    for number, action in enumerate(scenario.actions):
        if number == snapshot_at:
            snapshot, journaled = msgspec.msgpack.encode(play.venue.state), len(play.facts)
        if number == crash_at:
            break
        play.act(action)
    before = play.venue.state.account
    play.swap_venue(msgspec.msgpack.decode(snapshot, type=SimulatorState))
    for fact in play.facts[journaled:]:
        play.venue.restore(fact)
    after = play.venue.state.account
    assert (after.cash, after.shares) == (before.cash, before.shares)
    assert (after.pending_cash, after.pending_shares) == (before.pending_cash, before.pending_shares)
    oracle.after_crash = True
    for action in scenario.actions[crash_at:]:
        if action[1] != "cancel":  # the floor does not ask for an order back that it has closed as never sent
            play.act(action)
    play.finish()
    unanswered = [life for life in oracle.lives.values() if life.state == "sent"]
    for life in unanswered:  # sent after the snapshot, unanswered at the crash: the floor closes these as never sent
        assert not play.venue.knows(life.intent.id)
        life.state = "closed"
    oracle.at_rest(play.venue.state)


@fewer
@given(scenarios)
def test_facts_told_twice_are_taken_in_once(scenario: Scenario) -> None:
    play = Play(scenario)
    for action in scenario.actions:
        play.act(action)
    before = msgspec.msgpack.encode(play.venue.state.account)
    known = [fact for fact in play.facts if getattr(fact, "order", None) in play.venue.state.orders]
    for fact in known:
        play.venue.restore(fact)
    assert msgspec.msgpack.encode(play.venue.state.account) == before


def test_the_same_story_is_told_the_same_in_a_process_with_other_hashes() -> None:
    program = (
        "import hashlib; from tests.venue.scenarios import *; "
        "print(hashlib.sha256(b''.join(told(Play(random_scenario(n)).run()) for n in range(60))).hexdigest())"
    )
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4711")
    }
    assert len(digests) == 1


# -- the oracle can object --------------------------------------------------------------------------------------------


def objection(scenario: Scenario) -> str:
    """What the oracle says first, in its own words; nothing where it is content."""
    try:
        watched(scenario)
    except AssertionError as error:
        return str(error).partition("\n")[0]
    return ""


def sells_used_liquidity_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UsedLiquidity, "take", lambda self, place, shares: None)


def lets_makers_jump_the_queue(patch: pytest.MonkeyPatch) -> None:
    def see_trade(self: Resting, size: Shares, hit: Shares, now: int) -> Shares:
        return hit

    patch.setattr(Resting, "see_trade", see_trade)


def gives_makers_twice_what_reached_them(patch: pytest.MonkeyPatch) -> None:
    real = Simulator._resting_fill

    def resting_fill(self: Simulator, resting: Resting, shares: Shares, available: Shares, now: int) -> list:
        return real(self, resting, min(resting.left, Shares(shares * 2)), Shares(available * 2), now)  # type: ignore[arg-type]

    patch.setattr(Simulator, "_resting_fill", resting_fill)


def charges_no_fee(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FeeSchedule, "taker_fee", lambda self, price, shares: Money(0))


def fills_or_kills_in_part(patch: pytest.MonkeyPatch) -> None:
    class Kinds:
        FOK = None

    patch.setattr(matching, "TimeInForce", Kinds)


def trades_on_any_book(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Simulator, "_trusted", lambda self, book, now: True)


def keeps_the_money_of_failed_fills(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Account, "undo", lambda self, fill: None)


def keeps_reservations(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Account, "release", lambda self, order: None)


def lets_provisional_shares_be_sold(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Account, "_pend", lambda self, fill, sign: None)


def takes_buys_without_money(patch: pytest.MonkeyPatch) -> None:
    real = Account.can_afford
    patch.setattr(Account, "can_afford", lambda self, intent: intent.side is Side.BUY or real(self, intent))


def takes_sales_without_shares(patch: pytest.MonkeyPatch) -> None:
    real = Account.can_afford
    patch.setattr(Account, "can_afford", lambda self, intent: intent.side is Side.SELL or real(self, intent))


def gives_takers_their_limit(patch: pytest.MonkeyPatch) -> None:
    real = OpenOrders.fill

    def fill(self, order, taken, available, liquidity, now):
        price = order.intent.limit if liquidity is Liquidity.TAKER else taken[0]
        return real(self, order, (price, taken[1]), available, liquidity, now)

    patch.setattr(OpenOrders, "fill", fill)


def dates_replies_by_a_wild_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OpenOrders, "moment", lambda self, at: at - at % 7 * 1_000)


BUGS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    sells_used_liquidity_again: "the same shares were sold twice",
    lets_makers_jump_the_queue: "a maker was filled before its queue",
    gives_makers_twice_what_reached_them: "a trade was larger than it was",
    charges_no_fee: "not the schedule's fee",
    fills_or_kills_in_part: "a fill-or-kill order was filled in part",
    trades_on_any_book: "traded on a",
    keeps_the_money_of_failed_fills: "cash is not what the fills give",
    keeps_reservations: "a reservation outlived its order",
    lets_provisional_shares_be_sold: "more shares sold than held for good",
    takes_buys_without_money: "more is reserved than there is",
    takes_sales_without_shares: "more shares sold than held for good",
    gives_takers_their_limit: "a price nobody offered",
    dates_replies_by_a_wild_clock: "a reply went back in time",
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_oracle_catches_a_venue_that(
    bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug(monkeypatch)
    assert any(BUGS[bug] in objection(random_scenario(seed)) for seed in range(600))
