"""A live floor's market data: what is lost is noticed, what is noticed is mended, and time passes all the same."""

import asyncio
from functools import partial
from itertools import pairwise

import msgspec
import pytest

from polybot.circuit import CircuitState
from polybot.desk.told import Told
from polybot.domain.book import BookState
from polybot.domain.events import (
    MarketEvent,
    MarketListed,
    MarketResolved,
    Severity,
    TradePrinted,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import MarketId
from polybot.domain.units import UNIT, Millis
from polybot.floor.feeder import EVENTS_PER_YIELD, FEED_CIRCUIT
from polybot.risk.limits import Limits
from tests.builders import resolved, trade
from tests.facts import START, a_market
from tests.floor.feeds import NotingFloor, Stage, listing, snapshot


def test_the_windows_of_now_and_next_are_listed_subscribed_and_verified_by_their_snapshots() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(1)
        assert stage.feed.followed[-1] == [a_market(0).id, a_market(1).id]
        assert [book.state for book in stage.books] == [BookState.VERIFIED] * 2

    Stage().play(script)


def test_time_passes_for_the_floor_though_nothing_is_heard() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.accepts = False
        await asyncio.sleep(60)
        assert len(stage.floor.ticks) > 200
        assert stage.floor.ticks == sorted(stage.floor.ticks)

    Stage().play(script)


def test_a_venue_that_refuses_is_asked_again_ever_more_seldom() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.accepts = False
        await asyncio.sleep(120)
        assert 12 <= stage.feed.connects <= 30  # at most 10 s apart, never less than half of the growing wait
        assert [text for _, text in stage.floor.notes] == ["market data stopped: connection refused"]
        stage.feed.accepts = True
        await asyncio.sleep(15)
        assert stage.floor.notes[-1] == (Severity.INFO, stage.floor.notes[-1][1])
        assert stage.books[0].state is BookState.VERIFIED

    Stage().play(script)


# -- its circuit ------------------------------------------------------------------------------------------------------


def test_connections_on_which_nothing_is_heard_open_the_circuit_though_each_was_made() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.answers = False
        states = await circuit_states(stage, 45)
        assert states == [CircuitState.CLOSED]
        assert stage.feeder.circuit.failures < FEED_CIRCUIT.failures_max
        await until_open(stage)
        assert stage.feed.connects == FEED_CIRCUIT.failures_max
        assert stage.feeder.circuit.snapshot(stage.clock.now_ms()).trips == 1

    Stage().play(script)


def test_an_open_circuit_lets_one_connection_through_and_that_one_closes_it_by_what_is_heard_on_it() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.answers = False
        await until_open(stage)
        assert await circuit_states(stage, 3) == [CircuitState.OPEN, CircuitState.HALF_OPEN]
        assert stage.feed.connects == FEED_CIRCUIT.failures_max + 1
        await asyncio.sleep(3)
        assert stage.feeder.circuit.state is CircuitState.HALF_OPEN  # its socket is open, and proves nothing
        assert stage.feed.connects == FEED_CIRCUIT.failures_max + 1
        stage.feed.say(snapshot(a_market().id, stage.clock.now_ms()))
        await asyncio.sleep(0.01)
        assert (stage.feeder.circuit.state, stage.feeder.circuit.failures) == (CircuitState.CLOSED, 0)

    Stage().play(script)


def test_a_probe_on_which_nothing_is_heard_opens_the_circuit_again_for_longer() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.accepts = False
        opened: list[int] = []
        waits: list[int] = []
        for _ in range(600):
            await asyncio.sleep(0.1)
            seen = stage.feeder.circuit.snapshot(stage.clock.now_ms())
            if seen.next_probe_at is not None and seen.since not in opened:
                opened.append(seen.since)
                waits.append(seen.next_probe_at - seen.since)
        assert len(waits) >= 5
        assert waits[0] <= FEED_CIRCUIT.open_ms_first
        assert FEED_CIRCUIT.open_ms_max / 2 <= waits[-1] <= FEED_CIRCUIT.open_ms_max
        assert stage.feeder.circuit.snapshot(stage.clock.now_ms()).trips == 1, "one trouble, however many probes"
        probes = stage.feed.connects - FEED_CIRCUIT.failures_max
        assert len(waits) - 1 <= probes <= len(waits), "one connection for each time it was up"

    Stage().play(script)


def test_a_connection_that_was_heard_and_then_lost_is_no_failure() -> None:
    async def script(stage: Stage) -> None:
        for _ in range(2 * FEED_CIRCUIT.failures_max):
            await asyncio.sleep(2)
            stage.feed.gone()
        assert await circuit_states(stage, 2) == [CircuitState.CLOSED]
        assert stage.feeder.circuit.failures == 0

    Stage().play(script)


async def until_open(stage: Stage) -> None:
    async with asyncio.timeout(120):
        while stage.feeder.circuit.state is not CircuitState.OPEN:  # noqa: ASYNC110 it has no event, and time is virtual
            await asyncio.sleep(0.05)


async def circuit_states(stage: Stage, seconds: float) -> list[CircuitState]:
    """The states that the feed's circuit goes through meanwhile, in order."""
    states = [stage.feeder.circuit.state]
    for _ in range(round(seconds / 0.05)):
        await asyncio.sleep(0.05)
        if stage.feeder.circuit.state is not states[-1]:
            states.append(stage.feeder.circuit.state)
    return states


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_socket_that_stays_open_and_says_nothing_is_made_anew() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        stage.feed.answers = False
        await asyncio.sleep(13)
        assert stage.feed.connects == 2
        stage.feed.answers = True
        await asyncio.sleep(25)
        assert [book.state for book in stage.books] == [BookState.VERIFIED] * 2
        assert [text[:19] for _, text in stage.floor.notes] == ["market data stopped", "market data is back"]

    Stage().play(script)


def test_the_books_of_a_lost_connection_count_for_nothing_at_once() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        stage.feed.accepts = False
        stage.feed.gone()
        await asyncio.sleep(0.01)
        assert stage.feed.connects == 1
        assert [book.state for book in stage.books] == [BookState.UNVERIFIABLE] * 2

    Stage().play(script)


def test_after_a_lost_connection_no_book_is_verified_before_its_new_snapshot() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        stage.feed.answers = False
        stage.feed.gone()
        await asyncio.sleep(2)
        assert stage.feed.connects == 2
        assert [book.state for book in stage.books] == [BookState.UNVERIFIABLE] * 2
        stage.feed.say(snapshot(a_market().id, stage.clock.now_ms()))
        await asyncio.sleep(0.01)
        assert stage.books[0].state is BookState.VERIFIED

    Stage().play(script)


def test_a_book_that_no_change_reaches_is_kept_young_enough_to_trade_on() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        for _ in range(40):
            await asyncio.sleep(0.5)
            assert stage.books[0].age_ms(stage.clock.now_ms()) < Limits().book_age_ms_max
        markets = {market for _, market in stage.feed.asked}
        assert markets == {a_market().id}  # the next window's may be as old as they like

    Stage().play(script)


def test_what_comes_twice_is_published_once() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        for _ in range(3):
            stage.feed.say(trade(a_market(), 62_000))
        await asyncio.sleep(0.1)
        assert len(stage.floor.of(TradePrinted)) == 1
        assert stage.feeder.health().duplicates == 2

    Stage().play(script)


def test_the_floors_time_never_goes_back_whatever_was_stamped_when() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        for at in (62_500, 61_000, 62_600):
            stage.feed.say(trade(a_market(), at))
        await asyncio.sleep(1)
        times = [event.received for event in stage.floor.events]
        assert times == sorted(times)

    Stage().play(script)


def test_windows_follow_each_other_without_a_gap() -> None:
    async def script(stage: Stage) -> None:
        stage.feed.listings = [listing(a_market(n)) for n in range(6)]
        await asyncio.sleep(3 * 900)
        first_followed: dict[MarketId, int] = {}
        for at, markets in zip(stage.feed.followed_at, stage.feed.followed, strict=True):
            for market in markets:
                first_followed.setdefault(market, at)
        for number in (2, 3, 4):
            assert first_followed[a_market(number).id] <= a_market(number).window_start - 890_000
        assert stage.feed.connects == 1

    Stage().play(script)


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_a_windows_result_is_asked_for_soon_after_its_end() -> None:
    async def script(stage: Stage) -> None:
        end = a_market().window_end
        await asyncio.sleep((end - stage.clock.now_ms()) / 1000 + 30)
        after = [at - end for at, *_ in stage.feed.catalogs if at >= end]
        assert after[0] <= 5_000
        assert 4 <= len(after) <= 7
        stage.feed.listings.append(resolved(a_market()))
        await asyncio.sleep(6)
        assert stage.state.payout_up == UNIT
        assert len(stage.floor.of(MarketResolved)) == 1

    Stage().play(script)


def test_the_catalogue_is_read_from_the_oldest_window_without_an_end_to_its_story() -> None:
    stage = Stage()
    stage.floor.room.state.began = Millis(START - 10 * 900_000)
    stage.floor.room.state.told[a_market().series] = told_until(START - 900_000)

    async def script(stage: Stage) -> None:
        await asyncio.sleep(0.1)
        stuck = msgspec.structs.replace(a_market(-8), id=MarketId("stuck"))
        stage.floor.room.state.markets[stuck.id] = stuck
        await asyncio.sleep(30)

    stage.play(script)
    assert stage.feed.catalogs[0][1:] == (START - 900_000, START + 60_000 + 1_800_000)
    assert stage.feed.catalogs[-1][1] == a_market(-8).window_end - 1


def test_a_window_whose_story_is_over_is_not_brought_up_again() -> None:
    stage = Stage()
    stage.floor.room.state.told[a_market().series] = told_until(a_market().window_end)

    async def script(stage: Stage) -> None:
        await asyncio.sleep(1)
        assert a_market(0).id not in stage.floor.room.markets.by_id
        assert a_market(1).id in stage.floor.room.markets.by_id

    stage.play(script)


def test_the_catalogue_is_read_from_a_window_that_was_left_out_between_two_that_are_over() -> None:
    stage = Stage()
    stage.floor.room.state.began = a_market(-8).window_start
    told = stage.floor.room.state.told.setdefault(a_market().series, Told())
    for number in (-8, -7, -5, -4, -3, -2, -1):
        told.add(a_market(number).window_start, a_market(number).window_end)
    left_out = listing(a_market(-6))

    async def script(stage: Stage) -> None:
        stage.feed.listings.append(left_out)
        await asyncio.sleep(1)
        assert a_market(-6).id in stage.floor.room.markets.by_id
        assert a_market(-5).id not in stage.floor.room.markets.by_id

    stage.play(script)
    assert stage.feed.catalogs[0][1] == a_market(-7).window_end


def told_until(at: int) -> Told:
    told = Told()
    told.add(Millis(0), Millis(at))
    return told


def test_terms_that_change_are_published_once_and_told_loudly() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(1)
        changed = msgspec.structs.replace(a_market(), fees=FeeSchedule(rate=72_000, rebate_rate=200_000))
        stage.feed.listings[0] = listing(changed, stage.clock.now_ms())
        await asyncio.sleep(90)
        assert stage.state.market.fees.rate == 72_000
        assert [event.market.fees.rate for event in stage.floor.of(MarketListed)].count(72_000) == 1
        fees = "fees: 0.07^1 (takers, rebate 0.20) -> 0.072^1 (takers, rebate 0.20)"
        assert stage.floor.notes == [(Severity.WARNING, f"{a_market().id}: terms changed: {fees}")]

    Stage().play(script)


def test_a_rule_that_changes_in_the_window_stops_its_trading_though_we_were_away_meanwhile() -> None:
    """A restart: the room has the market from the journal, the catalogue has it under another rule."""
    stage = Stage()
    stage.floor.room.state.markets[a_market().id] = a_market()
    stage.feed.listings[0] = listing(msgspec.structs.replace(a_market(), rule_set="chainlink-spot"), START + 60_000)

    async def script(stage: Stage) -> None:
        await asyncio.sleep(1)
        assert stage.state.market.rule_set == "chainlink-twap60-2026-08-07 -> chainlink-spot"
        assert [severity for severity, _ in stage.floor.notes] == [Severity.WARNING, Severity.ERROR]
        assert "is not traded: unknown settlement rule" in stage.floor.notes[1][1]

    stage.play(script)


# -- ends and troubles ------------------------------------------------------------------------------------------------


def test_what_the_clock_notices_is_told() -> None:
    async def script(stage: Stage) -> None:
        stage.clock_notes.append("the machine's clock jumped ahead by 600.0 s")
        await asyncio.sleep(1)
        assert stage.floor.notes == [(Severity.ERROR, "the machine's clock jumped ahead by 600.0 s")]

    Stage().play(script)


def test_a_floor_that_cannot_take_an_event_in_ends_the_feeding_and_the_connection() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.floor.publish = broken  # type: ignore[method-assign]
        stage.feed.say(trade(a_market(), 62_000))
        await asyncio.sleep(60)

    async def broken(event: MarketEvent) -> None:
        raise OSError("the disk is full")

    stage = Stage()
    with pytest.raises(OSError, match="the disk is full"):
        stage.play(script)
    assert stage.feed.closed == 1


def test_the_same_seed_gives_the_same_events_at_the_same_times() -> None:
    def a_run() -> list[MarketEvent]:
        stage = Stage()

        async def script(stage: Stage) -> None:
            stage.feed.accepts = False
            await asyncio.sleep(33)
            stage.feed.accepts = True
            await asyncio.sleep(33)

        stage.play(script)
        return stage.floor.events

    assert a_run() == a_run()


def test_a_burst_that_is_read_without_waiting_leaves_the_others_their_turns() -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(2)
        stage.floor.publish = partial(at_once, stage.floor)  # type: ignore[method-assign]
        before = len(stage.floor.events)
        for number in range(300):
            stage.feed.say(snapshot(a_market().id, stage.clock.now_ms() + number))
        seen = [before]
        while seen[-1] < before + 300:
            await asyncio.sleep(0)
            seen.append(len(stage.floor.events))
        assert max(later - earlier for earlier, later in pairwise(seen)) <= EVENTS_PER_YIELD

    Stage().play(script)


async def at_once(floor: NotingFloor, event: MarketEvent) -> None:
    """As the dispatcher does where nothing comes of an event: no journal, no wait."""
    floor.room.observe(event)
    floor.events.append(event)
