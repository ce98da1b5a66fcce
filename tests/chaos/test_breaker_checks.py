"""The breakers reckoned again: each must be in force by what happened alone, and a pause that is there is enough."""

import asyncio
from functools import partial

import pytest

from polybot.chaos.breaker_checks import CALLS_GRACE_MS, GRACE_MS, BreakerChecks
from polybot.domain.events import TradeSettled, TradingPaused, TradingResumed
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.units import DAY_MS, UNIT, Millis, Money, Shares
from polybot.risk.limits import Limits
from polybot.venue.base import VenueBusy, VenueUnavailable
from tests.chaos.worlds import START, Bench, lasting

AGENT = AgentId("momentum")
LIMITS = Limits()
AFTER = GRACE_MS + 1


def settled(checks: BreakerChecks, dollars: int, at: int = START) -> None:
    fact = TradeSettled(
        at=Millis(at),
        agent=AGENT,
        order=OrderId("momentum-000001"),
        market=MarketId("m"),
        outcome=Outcome.UP,
        shares=Shares(0),
        cost=Money(0),
        fees=Money(0),
        payout=Money(0),
        pnl=Money(dollars * UNIT),
    )
    checks.settle(fact)


def paused(checks: BreakerChecks, breaker: str) -> None:
    checks.pause(
        TradingPaused(at=Millis(START), agent=None, breaker=breaker, value=0.0, limit=0.0, text="", until=None)
    )


def resumed(checks: BreakerChecks, breaker: str) -> None:
    checks.resume(TradingResumed(at=Millis(START), agent=None, breaker=breaker, text=""))


def funded() -> BreakerChecks:
    checks = BreakerChecks(LIMITS)
    checks.fund(1_000 * UNIT)
    return checks


def test_a_fall_from_the_days_height_is_due_though_the_day_is_still_won() -> None:
    checks = funded()
    settled(checks, 400)
    settled(checks, -209)
    assert checks.missing(AGENT, START + AFTER) is None
    settled(checks, -1)  # 1,190 is 15 % below 1,400
    assert checks.missing(AGENT, START + GRACE_MS) is None
    found = checks.missing(AGENT, START + AFTER)
    assert found is not None
    assert found.startswith("daily_drawdown of the floor")
    paused(checks, "daily_drawdown")
    assert checks.missing(AGENT, START + AFTER) is None


def test_what_is_won_back_and_the_next_day_end_a_drawdown() -> None:
    checks = funded()
    settled(checks, 400)
    settled(checks, -210)
    assert checks.missing(AGENT, START + DAY_MS) is None
    settled(checks, 50)
    assert checks.missing(AGENT, START + AFTER) is None
    settled(checks, -240, at=START + DAY_MS)  # from 1,240 at midnight, 19 %
    found = checks.missing(AGENT, START + DAY_MS + AFTER)
    assert found is not None
    assert "daily_loss" in found


def calls(checks: BreakerChecks, outcomes: str, at: int = START) -> None:
    """One after the other, a second apart: `x` fails, `.` is answered."""
    for place, outcome in enumerate(outcomes):
        now = partial(Millis, at + 1_000 * place)
        checks.calls.end(checks.calls.begin(), now, failed=outcome == "x")


@pytest.mark.parametrize(
    ("outcomes", "due"),
    [
        ("xxxx.xxxx", False),
        ("xxxxx", True),
        ("xx.................x", True),  # 3 of 20
        ("x..................x", False),  # 2 of 20 is just the limit
        ("xx................x", False),  # 19 calls are too few to judge
        ("xxxxx.", False),
    ],
)
def test_the_venues_breaker_is_due_after_five_failures_in_a_row_or_too_large_a_share(outcomes: str, due: bool) -> None:
    checks = funded()
    calls(checks, outcomes)
    much_later = START + 60_000 + CALLS_GRACE_MS
    assert (checks.missing(AGENT, much_later) is not None) is due
    paused(checks, "venue_calls")
    assert checks.missing(AGENT, much_later) is None


def test_calls_of_longer_ago_than_the_window_are_forgotten() -> None:
    checks = funded()
    calls(checks, "xxxx")
    calls(checks, ".................x", at=START + LIMITS.call_failure_window_ms + 4_000)
    assert checks.calls.due_since is None


def test_after_an_answer_a_resumption_or_a_new_process_the_count_begins_anew() -> None:
    for well_again in ("answer", "resumption", "process"):
        checks = funded()
        calls(checks, "xxxxx")
        early = checks.calls.begin()
        if well_again == "answer":
            calls(checks, ".")
        elif well_again == "resumption":
            resumed(checks, "venue_calls")
        else:
            checks.calls.forget()
        calls(checks, "xxxx")
        checks.calls.end(early, lambda: Millis(START), failed=True)  # it left while the venue was ill
        assert checks.calls.due_since is None
        calls(checks, "x")
        assert checks.calls.due_since is not None


@pytest.mark.parametrize(
    ("answered", "due"),
    [(15, False), (16, True), (26, False)],  # 19 calls are too few to judge, 3 of 20 too many, 3 of 30 just the limit
)
def test_the_answer_that_ends_the_trouble_is_the_first_that_counts_again(answered: int, due: bool) -> None:
    """The resumption that follows it takes nothing from the count."""
    checks, later = funded(), f"xx{'.' * answered}x"
    calls(checks, "xxxxx.")
    calls(checks, later[:5], at=START + 10_000)
    resumed(checks, "venue_calls")
    calls(checks, later[5:], at=START + 20_000)
    assert (checks.calls.due_since is not None) is due


def test_the_exchange_tells_of_every_call_how_it_ended_for_the_floor() -> None:
    bench = Bench(lasting("venue_busy", until=1_000), lasting("venue_timeout_after", since=2_000, until=3_000))
    told: list[tuple[int, bool]] = []
    bench.exchange.on_call_begins = lambda: len(told)
    bench.exchange.on_call_ends = lambda number, failed: told.append((number, failed))
    with pytest.raises(VenueBusy):
        bench.run(bench.client.place(bench.order(), bench.now))
    bench.wait(2_100 - (bench.now - START))
    with pytest.raises(VenueUnavailable):
        bench.run(bench.client.place(bench.order(), bench.now))
    bench.run(bench.client.account_of(bench.order().intent))
    assert told == [(0, True), (1, True), (2, False)]


def test_a_call_that_is_cut_off_has_no_end() -> None:
    bench = Bench()
    told: list[bool] = []
    bench.exchange.on_call_ends = lambda number, failed: told.append(failed)

    async def give_up() -> None:
        asking = asyncio.create_task(bench.client.reach())
        await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    bench.run(give_up())
    assert told == []
