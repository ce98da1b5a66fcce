"""An order is sent once, its answer becomes facts, and what is not understood is looked up by its hash."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

import msgspec
import pytest

from polybot.clock import wall_ms
from polybot.domain.events import CancelRefused, FillMatched, OrderAccepted, OrderClosed, OrderRejected
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.market import Side
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket import venue as venue_file
from polybot.venue.polymarket.order_errors import Treatment
from polybot.venue.polymarket.order_form import form_of
from polybot.venue.polymarket.standing import Standing
from polybot.venue.polymarket.venue import PolymarketVenue
from tests.venue.polymarket.desk import Answer, a_venue, taken
from tests.venue.polymarket.liar import WindowClock
from tests.venue.polymarket.orders import NOW, TOKENS, an_intent, approved, market
from tests.venue.polymarket.test_order_errors import SERVED

FAK = TimeInForce.FAK


def hash_of(venue: PolymarketVenue, intent: OrderIntent) -> str:
    return venue.client.signer.hash_of(form_of(intent, market(), venue.client.wallet))


def saying(answer: Answer) -> Callable[[object], Answer]:
    return lambda body: answer


def kinds(replies) -> list[str]:
    return [type(reply).__name__ for reply in replies]


async def test_an_order_is_sent_as_documented_and_accepted_under_the_hash_that_was_known():
    async with a_venue() as (desk, venue):
        intent = an_intent(limit="0.52", size="10", post_only=True)
        desk.answer = lambda body: taken(order_id=hash_of(venue, intent))
        await venue.place(approved(intent), NOW)
        (body,) = desk.sent
        order = body["order"]
        assert (body["orderType"], body["owner"], body["postOnly"], body["deferExec"]) == (
            "GTC",
            "the-key",
            True,
            False,
        )
        assert (order["makerAmount"], order["takerAmount"], order["side"]) == ("5200000", "10000000", "BUY")
        assert (order["tokenId"], order["expiration"], order["timestamp"]) == (TOKENS[0], "0", str(NOW))
        assert isinstance(order["salt"], int)
        (accepted,) = venue.advance(NOW)
        assert isinstance(accepted, OrderAccepted)
        assert accepted.order == intent.id
        assert venue.advance(NOW) == []


async def test_a_market_order_that_was_matched_in_part_ends_when_its_trades_are_told():
    async with a_venue() as (desk, venue):
        intent = an_intent(tif=FAK)
        name = hash_of(venue, intent)
        desk.answer = lambda body: taken("matched", order_id=name, makingAmount="2.04", takingAmount="4")
        await venue.place(approved(intent), NOW)
        assert kinds(venue.advance(NOW)) == ["OrderAccepted"]
        desk.trades = [desk.trade(name, "MATCHED", size="4")]
        (trade,) = await venue.client.trades(NOW)
        assert venue.hear(trade)
        matched, closed = venue.advance(NOW)
        assert isinstance(matched, FillMatched)
        assert isinstance(closed, OrderClosed)
        assert closed.reason is CloseReason.KILLED


async def test_a_market_sale_that_was_matched_in_part_ends_when_all_the_shares_it_gave_are_told():
    """The answer's amounts change places for a sale: shares are given, money is taken."""
    async with a_venue() as (desk, venue):
        intent = an_intent(tif=FAK, side=Side.SELL)
        name = hash_of(venue, intent)
        desk.answer = lambda body: taken("matched", order_id=name, makingAmount="4", takingAmount="2.04")
        await venue.place(approved(intent), NOW)
        venue.advance(NOW)
        desk.trades = [desk.trade(name, "MATCHED", size=size, id=size, side="SELL") for size in ("2.5", "1.5")]
        first, second = await venue.client.trades(NOW)
        venue.hear(first)
        assert kinds(venue.advance(NOW)) == ["FillMatched"]
        venue.hear(second)
        assert kinds(venue.advance(NOW)) == ["FillMatched", "OrderClosed"]


async def test_every_error_of_the_venue_does_what_the_table_says():
    """One desk for all of them: a client takes a fifth of a second to open."""
    async with a_venue() as (desk, venue):
        for number, (status, text, treatment) in enumerate(SERVED, 1):
            desk.answer = saying(Answer(status, {"error": text}))
            venue.standing = Standing()
            outage, heard = EXPECTED[treatment]
            with pytest.raises(outage) if outage else nullcontext():
                await venue.place(approved(an_intent(number, tif=FAK)), NOW)
            assert len(desk.sent) == number, f"{text}: sent once, whatever was said"
            assert kinds(venue.advance(NOW)) == heard, text
            noted = [notice.treatment for notice in venue.standing.drain()]
            assert noted == [treatment] * (treatment in (Treatment.PAUSE, Treatment.STOP)), text


EXPECTED: dict[Treatment, tuple[type[Exception] | None, list[str]]] = {
    Treatment.ACCEPTED: (None, ["OrderAccepted", "OrderClosed"]),
    Treatment.REFUSED: (None, ["OrderRejected"]),
    Treatment.STOP: (None, ["OrderRejected"]),
    Treatment.LOOK_UP: (VenueUnavailable, []),
    Treatment.PAUSE: (VenueBusy, []),
}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hangs_up=True),
        Answer(200, "not json"),
        Answer(200, {"unknown": "shape"}),
        Answer(502, "Bad Gateway"),
        Answer(200, {"success": True, "errorMsg": "", "orderID": "0x" + "ee" * 32, "status": "live",
                     "makingAmount": "", "takingAmount": ""}),
    ],
    ids=["lost", "no json", "no order", "gateway", "other hash"],
)  # fmt: skip
async def test_an_answer_that_is_lost_or_unreadable_is_an_unknown_answer_and_nothing_is_sent_again(answer):
    async with a_venue() as (desk, venue):
        desk.answer = lambda body: answer
        with pytest.raises(VenueUnavailable):
            await venue.place(approved(an_intent()), NOW)
        assert len(desk.sent) == 1
        assert venue.advance(NOW) == []


async def test_no_answer_however_broken_is_more_than_an_outage():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        name, broken = hash_of(venue, intent), "[" * 100_000
        absurd = taken("matched", order_id=name, makingAmount="5", takingAmount="1e999999")
        for answer in (absurd, Answer(200, broken), Answer(500, broken, {"Content-Type": "application/json"})):
            desk.answer = saying(answer)
            with pytest.raises(VenueUnavailable):
                await venue.place(approved(intent), NOW)
            desk.outage = answer
            with pytest.raises(VenueUnavailable):
                await venue.client.open_orders()


async def test_the_venues_words_can_be_written_down_however_long_and_odd_they_are():
    async with a_venue() as (desk, venue):
        desk.answer = saying(Answer(400, {"error": "the size is lower than the minimum \ud800" + "!" * 10_000}))
        await venue.place(approved(an_intent()), NOW)
        (refused,) = venue.advance(NOW)
        assert isinstance(refused, OrderRejected)
        assert len(msgspec.json.encode(refused)) < 2_000


async def test_an_order_or_trade_whose_name_nobody_could_write_down_makes_the_listing_unreadable():
    async with a_venue() as (desk, venue):
        for name in ("", "\0", "x" * 10_000, "\ud800"):
            desk.orders, desk.trades = {name: desk.order(name)}, [desk.trade("0xours", id=name)]
            with pytest.raises(VenueUnavailable):
                await venue.client.open_orders()
            with pytest.raises(VenueUnavailable):
                await venue.client.trades(NOW)


async def test_nothing_that_is_read_is_dated_after_it_was_read():
    async with a_venue() as (desk, venue):
        name, told = hash_of(venue, an_intent()), "9999999999"
        desk.orders[name] = desk.order(name, created_at=int(told))
        desk.trades = [desk.trade(name, match_time=told, last_update=told)]
        (order,), (trade,) = await venue.client.open_orders(), await venue.client.trades(NOW)
        assert max(order.at, trade.matched_at, trade.updated_at) <= venue._clock.now_ms()


async def test_a_match_is_found_though_the_venues_clock_is_behind_ours():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        desk.trades = [desk.trade(hash_of(venue, intent), match_time=str(NOW // 1000 - 5))]
        assert "FillMatched" in kinds(await venue.account_of(intent) or [])


@pytest.mark.parametrize("matched", ["0", "4"])
async def test_an_order_that_was_taken_and_is_forgotten_is_over_once_its_market_is_long_over(monkeypatch, matched):
    """It was cancelled at the window's end while nobody listened, and the venue keeps no cancelled orders."""
    async with a_venue() as (desk, venue):
        intent = an_intent()
        assert venue.adopt(intent, accepted=True) == hash_of(venue, intent)
        desk.trades = [desk.trade(hash_of(venue, intent), size=matched)] if matched != "0" else []
        closed = [reply for reply in await venue.account_of(intent) or [] if isinstance(reply, OrderClosed)]
        assert closed == [], "it may still turn up"
        monkeypatch.setattr(venue_file, "GONE_MS", -900_000)
        account = await venue.account_of(intent)
        assert account is not None
        assert account[-1] == OrderClosed(
            at=account[-1].at, agent=intent.agent, order=intent.id, reason=CloseReason.MARKET_ENDED
        )
        assert sum(reply.shares for reply in account if isinstance(reply, FillMatched)) == int(matched) * 1_000_000


async def test_another_orders_story_is_not_taken_for_the_one_that_was_asked_for():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        name = hash_of(venue, intent)
        desk.orders[name] = desk.order("0x" + "dd" * 32, status="CANCELED")
        with pytest.raises(VenueUnavailable):
            await venue.account_of(intent)


async def test_an_allowance_error_is_no_reason_to_approve_and_send_again():
    """The official client's own `place_limit_order` would do just that."""
    async with a_venue() as (desk, venue):
        desk.answer = lambda body: Answer(400, {"error": "not enough balance / allowance: the allowance is not enough"})
        await venue.place(approved(an_intent()), NOW)
        assert len(desk.sent) == 1
        assert kinds(venue.advance(NOW)) == ["OrderRejected"]


async def test_a_pause_of_known_length_sends_nothing_meanwhile_but_what_is_taken():
    async with a_venue() as (desk, venue):
        text = "post-only mode: only post-only orders and cancels are allowed"
        desk.answer = lambda body: Answer(503, {"error": text, "code": "post_only_mode", "retry_after_seconds": 79})
        with pytest.raises(VenueBusy):
            await venue.place(approved(an_intent(1)), NOW)
        with pytest.raises(VenueBusy, match="79 s more"):
            await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 1
        maker = an_intent(3, post_only=True)
        desk.answer = lambda body: taken(order_id=hash_of(venue, maker))
        await venue.place(approved(maker), NOW)
        assert kinds(venue.advance(NOW)) == ["OrderAccepted"]


async def test_after_a_stop_nothing_is_sent_until_a_person_has_seen_to_it():
    async with a_venue() as (desk, venue):
        desk.answer = lambda body: Answer(403, {"error": "Trading restricted in your region"})
        await venue.place(approved(an_intent(1)), NOW)
        await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 1
        assert kinds(venue.advance(NOW)) == ["OrderRejected", "OrderRejected"]
        venue.standing.resume()
        await venue.place(approved(an_intent(3)), NOW)
        assert len(desk.sent) == 2


async def test_an_order_that_cannot_be_signed_is_refused_and_not_sent():
    async with a_venue() as (desk, venue):
        await venue.place(approved(an_intent(tif=TimeInForce.GTD)), NOW)
        (refused,) = venue.advance(NOW)
        assert isinstance(refused, OrderRejected)
        assert desk.sent == []


async def test_a_cancelled_order_is_closed_and_one_that_is_gone_is_refused_with_the_venues_words():
    async with a_venue() as (desk, venue):
        first, second = an_intent(1), an_intent(2)
        for intent in (first, second):
            desk.answer = saying(taken(order_id=hash_of(venue, intent)))
            await venue.place(approved(intent), NOW)
        venue.advance(NOW)
        await venue.cancel(first.id, NOW)
        closed = venue.advance(NOW)[0]
        assert isinstance(closed, OrderClosed)
        assert closed.reason is CloseReason.CANCELLED
        gone = "order already matched"
        desk.cancel_answer = lambda name: Answer(200, {"canceled": [], "not_canceled": {name: gone}})
        await venue.cancel(second.id, NOW)
        refused = venue.advance(NOW)[0]
        assert isinstance(refused, CancelRefused)
        assert refused.text == gone


async def test_a_cancel_is_not_answered_during_a_restart():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        desk.answer = lambda body: taken(order_id=hash_of(venue, intent))
        await venue.place(approved(intent), NOW)
        desk.cancel_answer = lambda name: Answer(425, "Too Early")
        with pytest.raises(VenueBusy):
            await venue.cancel(intent.id, NOW)


async def test_an_order_whose_hash_is_not_known_here_cannot_be_cancelled_yet():
    async with a_venue() as (_, venue):
        with pytest.raises(VenueUnavailable, match="looked up"):
            await venue.cancel(OrderId("tester-000009"), NOW)


async def test_a_lost_answer_is_found_again_by_the_intent_alone():
    async with a_venue() as (desk, venue):
        intent = an_intent(size="10")
        name = hash_of(venue, intent)
        desk.orders[name] = desk.order(name, "MATCHED", "10")
        desk.trades = [desk.trade(name)]
        account = await venue.account_of(intent)
        assert kinds(account) == ["OrderAccepted", "FillMatched", "FillConfirmed", "OrderClosed"]
        assert await venue.account_of(intent) == account, "safe to repeat"
        assert venue.advance(NOW) == [], "and not told twice"


async def test_after_a_look_up_the_order_can_be_cancelled_and_is_followed():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        name = hash_of(venue, intent)
        desk.orders[name] = desk.order(name)
        assert kinds(await venue.account_of(intent)) == ["OrderAccepted"]
        await venue.cancel(intent.id, NOW)
        assert desk.cancelled == [name]
        assert kinds(venue.advance(NOW)) == ["OrderClosed"]


async def test_an_order_that_never_arrived_is_unknown():
    async with a_venue() as (_, venue):
        assert await venue.account_of(an_intent()) is None


async def test_the_venue_is_asked_whether_it_answers():
    async with a_venue() as (desk, venue):
        await venue.reach()
        desk.outage = Answer(500, {"error": "oops"})
        with pytest.raises(VenueUnavailable):
            await venue.reach()


@pytest.mark.parametrize(("status", "outage"), [(500, VenueUnavailable), (429, VenueBusy), (425, VenueBusy)])
async def test_an_order_is_never_called_unknown_while_the_venue_is_away(status, outage):
    async with a_venue() as (desk, venue):
        desk.outage = Answer(status, {"error": "away"})
        with pytest.raises(outage):
            await venue.account_of(an_intent())


async def test_an_order_is_never_called_unknown_because_its_market_is():
    async with a_venue() as (_, venue):
        with pytest.raises(VenueUnavailable, match="terms of"):
            await venue.account_of(an_intent(market=MarketId("btc-updown-15m-1")))


async def test_null_for_an_order_means_that_there_is_none():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        desk.orders[hash_of(venue, intent)] = None  # type: ignore[assignment]
        assert await venue.account_of(intent) is None


async def test_a_burst_beyond_the_rate_limit_waits_its_turn_and_then_is_not_sent():
    async with a_venue() as (desk, venue):
        desk.answer = lambda body: Answer(400, {"error": "invalid expiration"})
        now_s = venue._clock.monotonic()
        venue._pace.orders.take(now_s, 60)
        await venue.place(approved(an_intent(1)), NOW)
        assert len(desk.sent) == 1
        venue._pace.orders.take(now_s, 100)
        with pytest.raises(VenueBusy, match="rate limit"):
            await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 1


async def test_a_pause_lasts_as_long_as_the_venue_says_though_the_floors_time_is_hastened():
    """On a hastened loopback exchange 79 s of the machine's are hours of the floor's."""
    async with a_venue() as (desk, venue):
        venue._clock = HastenedClock()
        body = {"error": "post-only mode", "code": "post_only_mode", "retry_after_seconds": 79}
        desk.answer = lambda _: Answer(503, body)
        with pytest.raises(VenueBusy):
            await venue.place(approved(an_intent(1)), NOW)
        venue._clock.hours += 1
        with pytest.raises(VenueBusy, match=r"7[89] s more"):
            await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 1


class HastenedClock(WindowClock):
    hours = 0

    def now_ms(self) -> Millis:
        return Millis(super().now_ms() + self.hours * 3_600_000)


async def test_the_venues_own_word_on_the_rate_limit_counts():
    async with a_venue() as (desk, venue):
        reset = wall_ms() / 1000 + 30  # the machine's time, whatever the floor's is
        limits = {
            "Poly-RateLimit-Remaining": "0",
            "Poly-RateLimit-Reset": str(reset),
            "Poly-RateLimit-Tier": "Standard",
        }
        desk.answer = lambda body: Answer(400, {"error": "invalid expiration"}, limits)
        await venue.place(approved(an_intent(1)), NOW)
        await venue.cancel(an_intent(1).id, NOW)
        assert len(desk.cancelled) == 1, "no reason to let an order stand"
        with pytest.raises(VenueBusy, match="rate limit"):
            await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 1


async def test_a_rate_limit_that_is_over_holds_nobody_up_though_the_floors_time_is_another():
    """A loopback exchange's time may lie months from the machine's, by which the limits go."""
    async with a_venue() as (desk, venue):
        limits = {
            "Poly-RateLimit-Remaining": "0",
            "Poly-RateLimit-Reset": str(wall_ms() / 1000 - 1),
            "Poly-RateLimit-Tier": "Standard",
        }
        desk.answer = lambda body: Answer(400, {"error": "invalid expiration"}, limits)
        await venue.place(approved(an_intent(1)), NOW)
        await venue.place(approved(an_intent(2)), NOW)
        assert len(desk.sent) == 2


async def test_no_word_of_the_venue_holds_orders_back_for_ever():
    async with a_venue() as (desk, venue):
        in_ms = {"Poly-RateLimit-Remaining": "0", "Poly-RateLimit-Reset": "1e308"}
        desk.answer = lambda body: Answer(429, {"error": "slow down"}, in_ms | {"Retry-After": "1e308"})
        with pytest.raises(VenueBusy):
            await venue.place(approved(an_intent(1)), NOW)
        later = venue._clock.monotonic() + 601
        assert venue.standing.paused(later, post_only=False) == ""
        venue._heed_limits()
        assert venue._pace.orders.wait_s(venue._clock.monotonic()) <= 61


async def test_an_order_does_not_hold_up_the_loop():
    async with a_venue() as (desk, venue):
        desk.answer = lambda body: Answer(400, {"error": "invalid expiration"})
        stalls: list[float] = []

        async def watch() -> None:
            last = venue._clock.monotonic()
            while True:
                await asyncio.sleep(0)
                now = venue._clock.monotonic()
                stalls[-1], last = max(stalls[-1], now - last), now

        for number in range(8):
            stalls.append(0.0)
            watching = asyncio.create_task(watch())
            await venue.place(approved(an_intent(number)), NOW)
            watching.cancel()
        assert min(stalls) < 0.05, "the quickest of a few: a busy machine stalls everybody"


async def test_an_order_is_not_called_unknown_where_its_market_lost_its_tokens():
    async with a_venue() as (_, venue):
        unread = msgspec.structs.replace(market(), tokens=None)
        venue._market_of = lambda name: unread
        with pytest.raises(VenueUnavailable, match="no token ids"):
            await venue.account_of(an_intent())
