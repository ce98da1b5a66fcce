"""What is said to a batch: to each of its orders by itself, or to all of them, or nothing that can be understood."""

import asyncio
from typing import Any

import pytest

from polybot.domain.events import OrderAccepted, OrderRejected
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.client_signing import SIGNING_MS_MAX
from polybot.venue.polymarket.order_errors import Treatment
from polybot.venue.polymarket.order_pace import Bucket
from polybot.venue.polymarket.standing import PAUSE_S_FIRST, Standing
from polybot.venue.polymarket.venue import PolymarketVenue
from tests.venue.polymarket.desk import Answer, a_venue, an_entry
from tests.venue.polymarket.orders import NOW, an_intent, approved
from tests.venue.polymarket.test_order_errors import SERVED
from tests.venue.polymarket.test_venue_orders import EXPECTED, hash_of, kinds, saying

THREE = [an_intent(number) for number in (1, 2, 3)]


async def place_all(venue: PolymarketVenue, intents: list[OrderIntent]) -> list[type[BaseException] | None]:
    """Hand them over in one turn; what each came to."""
    places = [venue.place(approved(intent), NOW) for intent in intents]
    return [None if done is None else type(done) for done in await asyncio.gather(*places, return_exceptions=True)]


def entries(*said: dict[str, Any]) -> Answer:
    return Answer(200, list(said))


async def test_a_batch_is_sent_as_documented_and_each_order_accepted_under_its_own_hash():
    async with a_venue() as (desk, venue):
        names = [hash_of(venue, intent) for intent in THREE]
        desk.batch_answer = lambda bodies: entries(*(an_entry(name, "live") for name in names))
        assert await place_all(venue, THREE) == [None] * 3
        ((first, *others),) = desk.batches
        assert first["order"].keys() >= {"salt", "maker", "signature", "tokenId", "makerAmount"}
        assert (first["orderType"], first["owner"], first["deferExec"], len(others)) == ("GTC", "the-key", False, 2)
        replies = venue.advance(NOW)
        assert [reply.order for reply in replies if isinstance(reply, OrderAccepted)] == [one.id for one in THREE]


async def test_every_error_of_the_table_does_to_one_order_of_a_batch_what_it_does_alone():
    """Within a batch an order's words have no HTTP status of their own; a status alone cannot be said there."""
    async with a_venue() as (desk, venue):
        for number, (status, text, treatment) in enumerate(SERVED, 1):
            if error_is_a_status(status, text):
                continue
            good, bad = an_intent(2 * number), an_intent(2 * number + 1, tif=TimeInForce.FAK)
            said = entries(an_entry(hash_of(venue, good), "live"), an_entry(text=text))
            desk.batch_answer, venue.standing = saying(said), Standing()
            outage, heard = EXPECTED[treatment]
            assert await place_all(venue, [good, bad]) == [None, outage], text
            assert kinds(venue.advance(NOW)) == ["OrderAccepted", *heard], text
            noted = [notice.treatment for notice in venue.standing.drain()]
            assert noted == [treatment] * (treatment in (Treatment.PAUSE, Treatment.STOP)), text
        assert all(len(batch) == 2 for batch in desk.batches)


def error_is_a_status(status: int, text: str) -> bool:
    return status in (401, 425, 429) or text.startswith(("Request to", "Service"))


LOST = {
    "cut": Answer(hangs_up=True),
    "no json": Answer(200, "not json"),
    "no list": Answer(200, {"success": True}),
    "an entry of another shape": entries({"orderID": "0x1"}, an_entry(), an_entry()),
    "too few answers": entries(an_entry(text="invalid expiration"), an_entry(text="invalid expiration")),
    "500": Answer(500, {"error": "order timed out"}),
    "502": Answer(502, "Bad Gateway"),
    "503 of a gateway": Answer(503, "Service Unavailable"),
    "400 that speaks of one order": Answer(400, {"error": "not enough balance / allowance"}),
    "400 that speaks of our orders' form": Answer(400, {"error": "Invalid order payload"}),
}


async def test_what_leaves_one_order_of_a_batch_unknown_leaves_all_of_them_unknown_and_sends_none_again():
    """One desk for all of them: a client takes a fifth of a second to open."""
    async with a_venue() as (desk, venue):
        for number, (name, answer) in enumerate(LOST.items(), 1):
            venue.standing = Standing()
            desk.batch_answer = saying(answer)
            assert await place_all(venue, THREE) == [VenueUnavailable] * 3, name
            assert venue.advance(NOW) == [], name
            assert len(desk.batches) == number, name
        assert len(desk.sent) == 3 * len(LOST)


async def test_answers_in_another_order_than_the_orders_are_nobodys():
    """A refusal has no name: whose it is would be a guess, and a guess could end an order that is open."""
    async with a_venue() as (desk, venue):
        last = hash_of(venue, THREE[2])
        desk.batch_answer = lambda bodies: entries(
            an_entry(last, "live"), an_entry(text="invalid expiration"), an_entry(text="invalid expiration")
        )
        assert await place_all(venue, THREE) == [VenueUnavailable] * 3
        text = f"order {last} is invalid. Duplicated."
        desk.batch_answer = lambda bodies: entries(*[an_entry(text=text), an_entry(text="x"), an_entry(text="y")])
        assert await place_all(venue, THREE) == [VenueUnavailable] * 3
        assert venue.advance(NOW) == []


async def test_an_order_taken_under_a_hash_that_is_not_ours_is_unknown_and_the_others_are_not():
    async with a_venue() as (desk, venue):
        names = ["0x" + "ee" * 32, *(hash_of(venue, intent) for intent in THREE[1:])]
        desk.batch_answer = lambda bodies: entries(*(an_entry(name, "live") for name in names))
        assert await place_all(venue, THREE) == [VenueUnavailable, None, None]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(429, {"error": "Too Many Requests"}, {"Retry-After": "7"}), VenueBusy),
        (Answer(425, "Too Early"), VenueBusy),
        (Answer(503, {"error": "Trading is currently disabled. Check polymarket.com for updates"}), VenueBusy),
        (Answer(401, {"error": "Unauthorized/Invalid api key"}), None),
        (Answer(403, {"error": "Trading restricted in your region"}), None),
    ],
    ids=["429", "425", "503 disabled", "401", "403"],
)
async def test_what_is_said_at_the_door_is_said_to_all_of_a_batch_and_counts_once(answer, outcome):
    async with a_venue() as (desk, venue):
        desk.batch_answer = lambda bodies: answer
        assert await place_all(venue, THREE) == [outcome] * 3
        refused = venue.advance(NOW)
        assert [type(reply) for reply in refused] == ([] if outcome else [OrderRejected] * 3)
        assert len(venue.standing.drain()) == 1
        assert await place_all(venue, [an_intent(4)]) == [outcome]
        assert len(desk.sent) == 3, "and what comes after is not sent"


async def test_a_restart_that_three_orders_are_told_of_is_one_pause_of_the_first_length():
    async with a_venue() as (desk, venue):
        desk.batch_answer = lambda bodies: Answer(425, "Too Early")
        await place_all(venue, THREE)
        assert len(venue.standing.drain()) == 1
        now_s = venue._clock.monotonic()
        assert venue.standing.paused(now_s, post_only=False)
        assert not venue.standing.paused(now_s + PAUSE_S_FIRST, post_only=False)


async def test_what_is_wrong_with_an_order_before_it_is_sent_keeps_no_other_out():
    async with a_venue() as (desk, venue):
        unsigned = an_intent(9, tif=TimeInForce.GTD)
        names = [hash_of(venue, intent) for intent in THREE]
        desk.batch_answer = lambda bodies: entries(*(an_entry(name, "live") for name in names))
        assert await place_all(venue, [unsigned, *THREE]) == [None] * 4
        assert len(desk.batches[0]) == 3
        assert kinds(venue.advance(NOW)) == ["OrderRejected"] + ["OrderAccepted"] * 3


async def test_the_rate_limit_counts_every_order_of_a_batch():
    async with a_venue() as (desk, venue):
        venue._pace.orders = Bucket(rate=0.001, burst=2)
        names = [hash_of(venue, intent) for intent in THREE]
        desk.batch_answer = lambda bodies: entries(*(an_entry(name, "live") for name in names[:2]))
        assert await place_all(venue, THREE) == [None, None, VenueBusy]
        assert len(desk.sent) == 2


async def test_where_signing_takes_long_and_is_done_in_a_thread_orders_of_one_turn_still_leave_together():
    async with a_venue() as (desk, venue):
        venue.client.signer.ms = SIGNING_MS_MAX + 1
        desk.batch_answer = lambda bodies: Answer(429, {"error": "Too Many Requests"})
        assert await place_all(venue, THREE) == [VenueBusy] * 3
        assert [len(batch) for batch in desk.batches] == [3]
