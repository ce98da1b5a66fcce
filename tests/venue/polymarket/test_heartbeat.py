"""The order heartbeat beats while the floor comes round, by the ids the venue gives, and no longer."""

import asyncio

from polybot.venue.polymarket.heartbeat import DEADLINE_S, PROGRESS_S_MAX, OrderHeartbeat
from tests.venue.polymarket.desk import Answer, a_desk, a_venue, an_account
from tests.venue.polymarket.liar import WindowClock, soon
from tests.venue.polymarket.orders import NOW


def mismatch(expected: str) -> Answer:
    return Answer(400, {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": expected})


async def test_it_begins_with_no_id_and_goes_on_with_the_one_returned_last():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        beat = OrderHeartbeat(client, clock, clock.monotonic)
        assert not beat.is_armed
        assert await beat.beat()
        assert await beat.beat()
        assert desk.beats == ["", "+"]
        assert beat.is_armed


async def test_a_wrong_id_is_answered_with_the_expected_one_at_once():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        beat = OrderHeartbeat(client, clock, clock.monotonic)
        desk.beat_answer = lambda name: Answer(200, {"heartbeat_id": "next"}) if name == "right" else mismatch("right")
        assert await beat.beat()
        assert desk.beats == ["", "right"]


async def test_two_wrong_ids_are_tried_again_next_time_and_do_not_count():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        beat = OrderHeartbeat(client, clock, clock.monotonic)
        desk.beat_answer = lambda name: mismatch(name + "!")
        assert not await beat.beat()
        assert not beat.is_armed
        assert not await beat.beat()
        assert desk.beats == ["", "!", "!!", "!!!"]


async def test_a_floor_that_stands_still_has_no_beat_sent_for_it():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        beat = OrderHeartbeat(client, clock, lambda: clock.monotonic() - PROGRESS_S_MAX - 1)
        assert not await beat.beat()
        assert (desk.beats, beat.withheld) == ([], 1)


async def test_the_floors_own_round_is_what_it_beats_by():
    async with a_venue() as (_, venue):
        before = venue.progressed_at
        await asyncio.sleep(0.01)
        venue.advance(NOW)
        assert venue.progressed_at > before


async def test_an_outage_is_no_beat_and_it_goes_on_afterwards():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        desk.beat_answer = lambda name: Answer(500, {"error": "oops"})
        beat = OrderHeartbeat(client, clock, clock.monotonic)
        running = asyncio.create_task(beat.run(every_s=0.02))
        await soon(lambda: len(desk.beats) >= 2)
        assert not beat.is_armed
        desk.beat_answer = lambda name: Answer(200, {"heartbeat_id": "next"})
        await soon(lambda: beat.is_armed)
        running.cancel()


async def test_a_last_beat_too_long_ago_protects_nobody():
    clock = WindowClock()
    async with a_desk() as desk, an_account(desk) as client:
        beat = OrderHeartbeat(client, clock, clock.monotonic)
        await beat.beat()
        beat.beat_at = clock.monotonic() - DEADLINE_S - 1
        assert not beat.is_armed
