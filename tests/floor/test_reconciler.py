"""Our books and the venue's: what was not answered is looked up, never sent again, and closed only when it is sure."""

import asyncio
from itertools import pairwise

from polybot.domain.events import (
    MarketSettled,
    TradeSettled,
    VenueReply,
)
from polybot.domain.order import CloseReason, Working
from polybot.floor.reconciler import (
    AGAIN_MS_MAX,
    FINAL_MS_MAX,
    SILENT_MS_MAX,
)
from polybot.floor.venue_calls import CALL_S_MAX
from tests.builders import resolved
from tests.floor.venues import MARKET, PATIENCE_MS, VenueStage, desk_of, end_of

# -- when an order is looked up ---------------------------------------------------------------------------------------


def test_an_order_without_an_answer_is_looked_up_after_three_seconds() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(2.9)
        assert stage.asked(intent.id) == []
        await asyncio.sleep(1)
        assert stage.asked(intent.id) == [3_000]

    VenueStage().play(script)


def test_one_whose_call_failed_is_looked_up_in_the_next_round() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders = False
        (intent,) = await stage.send()
        await stage.reconciler.look()
        assert stage.asked(intent.id) == [0]

    VenueStage().play(script)


def test_an_open_order_of_which_nothing_is_heard_is_looked_up_after_a_minute_and_no_sooner() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        stage.has(intent, stage.accepted(intent))
        await stage.dispatcher.take(stage.venue.accounts[intent.id])
        await asyncio.sleep(SILENT_MS_MAX / 1000 - 1)
        assert stage.asked(intent.id) == []
        await asyncio.sleep(2)
        assert stage.asked(intent.id) == [SILENT_MS_MAX]

    VenueStage().play(script)


def test_one_still_open_when_its_window_is_over_is_looked_up_then() -> None:
    async def script(stage: VenueStage) -> None:
        await asyncio.sleep(820)
        (intent,) = await stage.send()
        stage.has(intent, stage.accepted(intent))
        await stage.dispatcher.take(stage.venue.accounts[intent.id])
        stage.start_looking()
        await asyncio.sleep(25)
        assert stage.asked(intent.id)[0] == 840_000 + 3_000

    VenueStage().play(script)


def test_a_fill_whose_end_is_not_heard_of_is_looked_up_though_its_order_is_over() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        stage.has(intent, stage.accepted(intent), fill, stage.closed(intent))
        await stage.dispatcher.take(stage.venue.accounts[intent.id])
        stage.room.proven(intent.agent, intent.id)
        await asyncio.sleep(FINAL_MS_MAX / 1000 - 1)
        assert stage.asked(intent.id) == []
        stage.has(intent, stage.confirmed(fill))
        await asyncio.sleep(3)
        assert len(stage.asked(intent.id)) == 1
        assert desk_of(stage, intent).provisional == {}

    VenueStage().play(script)


def test_an_order_that_is_not_understood_is_looked_up_at_once() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        await stage.dispatcher.take([stage.accepted(intent), stage.confirmed(fill)])
        stage.has(intent, stage.accepted(intent), fill, stage.confirmed(fill))
        await stage.reconciler.look()
        assert stage.asked(intent.id) == [0]
        assert desk_of(stage, intent).holdings[intent.id].shares == fill.shares
        await stage.reconciler.look()
        assert len(stage.asked(intent.id)) == 1

    VenueStage().play(script)


def test_an_order_that_never_makes_sense_is_looked_up_ever_more_seldom() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        stage.has(intent, stage.accepted(intent), stage.matched(intent, "1000"))
        stage.start_looking()
        await asyncio.sleep(200)
        waits = [later - earlier for earlier, later in pairwise(stage.asked(intent.id))]
        assert waits == sorted(waits)
        assert waits[-1] == AGAIN_MS_MAX
        assert len(waits) <= 12

    VenueStage().play(script)


# -- what is made of the answer ---------------------------------------------------------------------------------------


def test_an_answer_brings_the_replies_that_were_lost() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        account: list[VenueReply] = [
            stage.accepted(intent), fill, stage.confirmed(fill), stage.closed(intent),
        ]  # fmt: skip
        stage.has(intent, *account)
        await stage.dispatcher.take(account[:1])
        await asyncio.sleep(SILENT_MS_MAX / 1000)
        await stage.reconciler.look()
        assert stage.facts[-4:] == account
        assert desk_of(stage, intent).holdings[intent.id].shares == fill.shares

    VenueStage().play(script)


def test_a_clock_that_jumps_ahead_does_not_make_an_order_on_its_way_one_that_was_never_sent() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(5)
        stage.clock.jump(60_000)
        await asyncio.sleep(3)
        assert len(stage.asked(intent.id)) > 1
        assert end_of(stage, intent) is None
        await asyncio.sleep(10)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT

    VenueStage().play(script)


def test_an_order_the_venue_does_not_know_is_closed_as_never_sent_when_it_can_no_longer_turn_up() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(PATIENCE_MS / 1000 - 0.5)
        assert end_of(stage, intent) is None
        await asyncio.sleep(2)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT
        assert desk_of(stage, intent).exposure == 0
        assert stage.room.desks[intent.agent].unproven == {}
        assert len(stage.venue.placed) == 1

    VenueStage().play(script)


def test_patience_begins_when_the_sending_call_ends_not_when_it_was_decided() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.place_s = CALL_S_MAX - 1
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(PATIENCE_MS / 1000 - 0.5)  # far beyond its patience after it was decided
        assert len(stage.asked(intent.id)) >= 2
        assert end_of(stage, intent) is None
        await asyncio.sleep(2)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT

    VenueStage().play(script)


def test_a_call_that_never_returns_is_given_up_and_its_order_looked_up() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.place_s = 1_000_000
        stage.start_looking()
        (intent,) = await stage.send()
        await asyncio.sleep(PATIENCE_MS / 1000 + 2)
        assert end_of(stage, intent) is CloseReason.NEVER_SENT
        assert len(stage.venue.placed) == 1

    VenueStage().play(script)


def test_an_order_whose_intent_is_still_on_its_way_to_the_disk_is_not_closed() -> None:
    async def script(stage: VenueStage) -> None:
        approved = stage.decide()
        stage.journal.gate.clear()
        sending = stage.dispatcher.carry_out(approved, stage.clock.now_ms())
        stage.start_looking()
        await asyncio.sleep(3 * PATIENCE_MS / 1000)
        intent = approved[0].intent
        assert len(stage.asked(intent.id)) >= 2
        assert end_of(stage, intent) is None
        stage.journal.gate.set()
        await sending
        assert stage.venue.placed == []  # so late it does not leave any more
        assert end_of(stage, intent) is CloseReason.REJECTED

    VenueStage().play(script)


def test_what_counts_is_when_the_venue_was_asked_not_when_it_answered() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.look_up_s = CALL_S_MAX - 1
        (intent,) = await stage.send()
        await asyncio.sleep(PATIENCE_MS / 1000 - 4)
        looking = asyncio.create_task(stage.reconciler.look())
        await asyncio.sleep(0.1)  # asked, and then it turns up
        stage.has(intent, stage.accepted(intent))
        await looking
        assert end_of(stage, intent) is None
        await asyncio.sleep(1)
        await stage.reconciler.look()
        assert isinstance(desk_of(stage, intent).orders[intent.id], Working)

    VenueStage().play(script)


def test_an_order_the_venue_once_accepted_is_not_closed_because_it_forgot_it() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        (intent,) = await stage.send()
        await stage.dispatcher.take([stage.accepted(intent)])
        await asyncio.sleep(SILENT_MS_MAX / 1000 + 60)
        assert 2 <= len(stage.asked(intent.id)) <= 8
        assert isinstance(desk_of(stage, intent).orders[intent.id], Working)

    VenueStage().play(script)


def test_a_rejected_order_is_proven_by_a_venue_that_does_not_know_it() -> None:
    async def script(stage: VenueStage) -> None:
        stage.start_looking()
        approved = stage.decide()
        await asyncio.sleep(2.5)
        await stage.dispatcher.carry_out(approved, approved[0].intent.decided_at)
        intent = approved[0].intent
        assert end_of(stage, intent) is CloseReason.REJECTED
        assert list(stage.room.desks[intent.agent].unproven) == [intent.id]
        await asyncio.sleep(PATIENCE_MS / 1000 + 2)
        assert stage.room.desks[intent.agent].unproven == {}
        assert end_of(stage, intent) is CloseReason.REJECTED

    VenueStage().play(script)


def test_no_position_is_settled_before_its_order_is_proven_to_be_over() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        first, lost = stage.matched(intent, "5"), stage.matched(intent, "5", 2)
        heard: list[VenueReply] = [stage.accepted(intent), first, stage.confirmed(first), stage.closed(intent)]
        stage.has(intent, stage.accepted(intent), first, stage.confirmed(first), lost, stage.closed(intent))
        await stage.dispatcher.take(heard)
        await asyncio.sleep(840 + 10)
        stage.venue.answers = False
        stage.start_looking()
        await stage.take_in(resolved(MARKET))
        await asyncio.sleep(20)
        await stage.take_in()
        assert len(stage.of(MarketSettled)) == 1
        assert not stage.of(TradeSettled)

        stage.venue.answers = True
        await asyncio.sleep(120)  # the second fill is found, and not final
        await stage.take_in()
        assert not stage.of(TradeSettled)
        stage.has(intent, stage.confirmed(lost))
        await asyncio.sleep(60)
        await stage.take_in()
        (settled,) = stage.of(TradeSettled)
        assert settled.shares == first.shares + lost.shares

    VenueStage().play(script)
