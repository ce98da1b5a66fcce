"""How much the reconciler asks, at start-up and after, what it cancels, and that it never sends anything."""

import asyncio
from itertools import pairwise

import pytest

from polybot.domain.events import (
    FillConfirmed,
    FillMatched,
    OrderAccepted,
    OrderClosed,
    TradingPaused,
    VenueReply,
)
from polybot.domain.order import Closed, CloseReason, Intended, Working
from polybot.floor.reconciler import (
    AGAIN_MS_MAX,
    LOOK_UPS_MAX,
    is_over,
)
from tests.floor.venues import PATIENCE_MS, VenueStage, desk_of, end_of

# -- how much is asked ------------------------------------------------------------------------------------------------


def test_look_ups_without_an_answer_back_off() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        stage.venue.lookup_patience_ms = 10**9
        stage.start_looking()
        await asyncio.sleep(300)
        waits = [later - earlier for earlier, later in pairwise(stage.asked(intent.id))]
        assert waits == sorted(waits)
        assert waits[0] < 3_000
        assert waits[-1] == AGAIN_MS_MAX

    VenueStage().play(script)


def test_a_round_has_a_bounded_number_of_look_ups_and_the_rest_come_in_the_next() -> None:
    async def script(stage: VenueStage) -> None:
        intents = await stage.send()
        assert len(intents) > LOOK_UPS_MAX
        for intent in intents:
            stage.has(intent, stage.accepted(intent))
        await asyncio.sleep(3)
        await stage.reconciler.look()
        assert len(stage.venue.asked) == LOOK_UPS_MAX
        await stage.reconciler.look()
        assert {order for _, order in stage.venue.asked} == {intent.id for intent in intents}
        assert len(stage.venue.asked) == len(intents)

    VenueStage(agents=LOOK_UPS_MAX + 5).play(script)


def test_where_more_is_to_be_asked_than_can_be_every_order_has_its_turn() -> None:
    async def script(stage: VenueStage) -> None:
        intents = await stage.send()
        for intent in intents:
            stage.has(intent, stage.accepted(intent), stage.matched(intent))  # never final: asked after again and again
        stage.venue.look_up_s = 1.0
        stage.start_looking()
        await asyncio.sleep(600)
        times = [len(stage.asked(intent.id)) for intent in intents]
        assert max(times) - min(times) <= 1
        assert sum(times) > 500, "no round waits while orders do"

    VenueStage(agents=2 * LOOK_UPS_MAX).play(script)


def test_a_venue_that_does_not_answer_is_not_asked_for_the_others_in_this_round() -> None:
    async def script(stage: VenueStage) -> None:
        await stage.send()
        await asyncio.sleep(3)
        stage.venue.answers = False
        await stage.reconciler.look()
        assert len(stage.venue.asked) == 1

    VenueStage(agents=3).play(script)


def test_while_the_circuit_is_open_only_its_probe_is_asked() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.answers = False
        await stage.send()
        stage.start_looking()
        await asyncio.sleep(20)
        (paused,) = stage.of(TradingPaused)
        assert paused.breaker == "venue_calls"
        before = len(stage.venue.asked)
        await asyncio.sleep(60)
        assert len(stage.venue.asked) - before <= 12  # without the circuit a call a second

    VenueStage(agents=10).play(script)


# -- strays -----------------------------------------------------------------------------------------------------------


def test_an_order_that_turns_up_after_it_was_closed_is_cancelled_until_the_venue_has_heard() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(PATIENCE_MS / 1000 + 5)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT
        stage.venue.answers = False
        await stage.dispatcher.take([stage.accepted(intent)])
        await asyncio.sleep(3)
        assert stage.venue.cancelled == []
        stage.venue.answers = True
        await asyncio.sleep(30)
        assert stage.venue.cancelled == [intent.id]
        await asyncio.sleep(10)
        assert stage.venue.cancelled == [intent.id]

    VenueStage().play(script)


# -- at start-up ------------------------------------------------------------------------------------------------------


def test_at_start_up_every_open_order_is_looked_up_once() -> None:
    async def script(stage: VenueStage) -> None:
        intents = await stage.send()
        lost, open_there, known = intents
        fill = stage.matched(open_there)
        stage.has(open_there, stage.accepted(open_there), fill)
        stage.has(known, stage.accepted(known))
        await asyncio.sleep(60)
        stage.venue.lookup_patience_ms = 0
        stage.restart()
        stage.venue.asked.clear()
        assert await stage.reconciler.look_at_all() == 1
        assert sorted(order for _, order in stage.venue.asked) == sorted(intent.id for intent in intents)
        assert end_of(stage, lost) is CloseReason.NEVER_SENT
        assert desk_of(stage, open_there).orders[open_there.id] == Working(
            intent=open_there, filled=fill.shares, spent=stage.room.desks[open_there.agent].state.invested
        )

    VenueStage(agents=3).play(script)


def test_an_order_of_the_former_process_may_turn_up_until_patience_after_this_one_began() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        await asyncio.sleep(60)
        stage.restart()
        assert await stage.reconciler.look_at_all() == 0
        assert isinstance(desk_of(stage, intent).orders[intent.id], Intended)
        stage.start_looking()
        await asyncio.sleep(PATIENCE_MS / 1000 + 2)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT

    VenueStage().play(script)


def test_at_start_up_a_venue_that_does_not_answer_is_asked_once() -> None:
    async def script(stage: VenueStage) -> None:
        await stage.send()
        stage.venue.answers = False
        stage.restart()
        stage.venue.asked.clear()
        assert await stage.reconciler.look_at_all() == 0
        assert len(stage.venue.asked) == 1

    VenueStage(agents=3).play(script)


# -- what it never does -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("takes_orders", [True, False])
def test_it_never_places_anything_whatever_the_venue_does(answers: bool, takes_orders: bool) -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.answers, stage.venue.takes_orders = answers, takes_orders
        intents = await stage.send()
        placed = list(stage.venue.placed)
        stage.has(intents[0], stage.accepted(intents[0]))
        stage.start_looking()
        await asyncio.sleep(120)
        assert stage.venue.placed == placed
        stage.restart()
        await stage.reconciler.look_at_all()
        assert stage.venue.placed == placed
        assert len({order for _, order in placed}) == len(placed)

    VenueStage(agents=3).play(script)


def test_nothing_is_asked_where_nothing_is_in_doubt() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        await asyncio.sleep(300)
        assert stage.venue.asked == []

    VenueStage().play(script)


def test_what_is_remembered_of_orders_goes_with_their_end() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        stage.has(intent, stage.accepted(intent), fill, stage.confirmed(fill), stage.closed(intent))
        stage.start_looking()
        await asyncio.sleep(10)
        assert isinstance(desk_of(stage, intent).ended[intent.id], Closed)
        assert (stage.dispatcher.sent_at, stage.dispatcher.doubtful, stage.reconciler._doubts) == ({}, {}, {})

    VenueStage().play(script)


def test_an_account_is_a_whole_story_once_the_order_and_all_its_fills_are_over() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        so_far: list[VenueReply] = []
        told = []
        for reply in (stage.accepted(intent), fill, stage.closed(intent), stage.confirmed(fill)):
            so_far.append(reply)
            told.append(is_over(so_far))
        assert told == [False, False, False, True]
        assert {type(reply) for reply in so_far} == {OrderAccepted, FillMatched, OrderClosed, FillConfirmed}

    VenueStage().play(script)
