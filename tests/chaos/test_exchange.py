"""The simulated venue alone: it conserves money, remembers every order, and fails as asked."""

import asyncio
import contextlib
from collections import Counter

import pytest

from polybot.chaos.exchange import SimExchange
from polybot.chaos.faults import HOUR_MS
from polybot.chaos.life import ProcessIsDead
from polybot.chaos.venue_client import PATIENCE_MS, TIMEOUT_MS, reply_key
from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, OrderAccepted, OrderClosed, OrderRejected
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Shares, complement, notional_floor
from polybot.venue.base import VenueBusy, VenueUnavailable
from tests.chaos.worlds import CASH, START, Bench, lasting

MINUTE = 60_000


def buy_now_and_then(bench: Bench, orders: int = 40) -> None:
    """An order every minute or so on the running window, Up and Down in turn, then wait for all of it to end."""
    for number in range(orders):
        outcome = Outcome(number % 2)
        order = bench.order(bench.market((bench.now - START) // 900_000), outcome)
        with contextlib.suppress(VenueBusy, VenueUnavailable):
            bench.run(bench.client.place(order, bench.now))
        bench.wait(70_000)
        bench.client.advance(bench.now)
    bench.wait(30 * MINUTE)


def fold(exchange: SimExchange) -> int:
    """Our cash as the replies and the payouts alone give it."""
    cash, shares = int(CASH), Counter[tuple[MarketId, Outcome]]()
    for history in exchange.orders.values():
        failed = {reply.fill for reply in history.replies if isinstance(reply, FillFailed)}
        for fill in history.replies:
            if isinstance(fill, FillMatched) and fill.fill not in failed:
                cash -= notional_floor(fill.price, fill.shares) + fill.fee
                shares[(fill.market, fill.outcome)] += fill.shares
    for (market, outcome), held in shares.items():
        up = exchange.world.payout_up(market)
        cash += notional_floor(up if outcome is Outcome.UP else complement(up), Shares(held))
    return cash


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_rest_the_account_is_the_fold_of_what_was_replied(seed):
    bench = Bench(
        lasting("venue_ghost_fills", 0.35, until=4 * HOUR_MS),
        lasting("venue_late_finality", 0.5, until=4 * HOUR_MS),
        seed=seed,
    )
    buy_now_and_then(bench)
    assert bench.exchange.is_quiet
    assert bench.exchange.shares == {}
    assert bench.exchange.cash == fold(bench.exchange) != CASH
    assert all(history.is_over for history in bench.exchange.orders.values())


def test_an_order_is_accepted_filled_confirmed_and_closed_and_the_look_up_tells_the_same_as_the_stream():
    bench = Bench()
    bench.wait(100_000)
    order = bench.order()
    bench.run(bench.client.place(order, bench.now))
    bench.wait(10_000)
    heard = bench.client.advance(bench.now)
    told = bench.run(bench.client.account_of(order.intent))
    assert heard == told
    kinds = Counter(type(reply) for reply in heard)
    assert kinds[OrderAccepted] == kinds[OrderClosed] == 1
    assert kinds[FillMatched] == kinds[FillConfirmed] >= 1
    assert all(START + 100_000 < reply.at < START + 110_000 for reply in heard)


def test_an_order_sent_twice_is_counted_and_matched_once():
    bench = Bench()
    bench.wait(100_000)
    order = bench.order()
    for _ in range(2):
        bench.run(bench.client.place(order, bench.now))
    bench.wait(10_000)
    assert bench.exchange.sent_twice == [order.intent.id]
    accepted = [r for r in bench.exchange.orders[order.intent.id].replies if isinstance(r, OrderAccepted)]
    assert len(accepted) == 1


def test_one_to_a_market_that_is_over_is_refused_in_the_venues_words():
    bench = Bench()
    bench.wait(901_000)
    order = bench.order(bench.market(0))
    bench.run(bench.client.place(order, bench.now))
    bench.wait(1_000)
    (reply,) = bench.client.advance(bench.now)
    assert isinstance(reply, OrderRejected)
    assert "No orderbook" in reply.text


def test_an_order_nobody_sent_is_unknown():
    bench = Bench()
    assert bench.run(bench.client.account_of(bench.order().intent)) is None


@pytest.mark.parametrize("name", ["venue_busy", "venue_error", "venue_timeout_before"])
def test_what_was_not_taken_never_turns_up(name):
    bench = Bench(lasting(name))
    bench.wait(100_000)
    order = bench.order()
    with pytest.raises(VenueBusy if name == "venue_busy" else VenueUnavailable):
        bench.run(bench.client.place(order, bench.now))
    bench.wait(PATIENCE_MS)
    assert bench.run(bench.client.account_of(order.intent)) is None
    assert bench.faults.counts == {name: 1}


@pytest.mark.parametrize("name", ["venue_timeout_after", "venue_slow_request"])
def test_an_order_without_an_answer_may_be_there_all_the_same_within_the_patience(name):
    bench = Bench(lasting(name))
    bench.wait(100_000)
    order, sent = bench.order(), bench.now
    with pytest.raises(VenueUnavailable):
        bench.run(bench.client.place(order, sent))
    assert bench.now == sent + TIMEOUT_MS
    bench.wait(PATIENCE_MS - TIMEOUT_MS)
    told = bench.run(bench.client.account_of(order.intent))
    assert told is not None
    assert isinstance(told[0], OrderAccepted)
    assert sent < told[0].at <= sent + PATIENCE_MS


def heard_of_one_order(bench: Bench) -> tuple[list[str], list[str]]:
    """What the stream brought of one order in two minutes, and what there was to tell."""
    bench.wait(100_000)
    order = bench.order()
    bench.run(bench.client.place(order, bench.now))
    heard = []
    for _ in range(1_200):
        bench.wait(100)
        heard += bench.client.advance(bench.now)
    return [reply_key(r) for r in heard], [reply_key(r) for r in bench.exchange.orders[order.intent.id].replies]


def test_a_lost_reply_is_only_in_the_look_up():
    heard, told = heard_of_one_order(Bench(lasting("venue_reply_lost")))
    assert heard == []
    assert len(told) >= 4


def test_a_stream_outage_tells_nothing():
    bench = Bench(lasting("venue_stream_outage"))
    heard, told = heard_of_one_order(bench)
    assert heard == []
    assert bench.faults.counts["venue_stream_outage"] == len(told)


def test_a_doubled_reply_comes_twice():
    heard, told = heard_of_one_order(Bench(lasting("venue_reply_doubled")))
    assert Counter(heard) == dict.fromkeys(told, 2)


@pytest.mark.parametrize("name", ["venue_reply_late", "venue_reply_reordered"])
def test_replies_overtake_each_other_even_a_confirmation_its_match(name):
    orders = [heard_of_one_order(Bench(lasting(name), seed=seed)) for seed in range(8)]
    assert all(sorted(heard) == sorted(told) for heard, told in orders)
    assert any(heard != told for heard, told in orders)
    assert any(_confirmed_first(heard) for heard, _ in orders) or name == "venue_reply_reordered"


def _confirmed_first(heard: list[str]) -> bool:
    fills = [key.partition("/")[2] for key in heard if key.startswith("FillMatched")]
    return any(heard.index(f"FillConfirmed/{fill}") < heard.index(f"FillMatched/{fill}") for fill in fills)


def test_a_look_up_that_fails_says_so_and_can_be_repeated():
    bench = Bench(lasting("venue_lookup_fails", until=200_000))
    bench.wait(100_000)
    order = bench.order()
    bench.run(bench.client.place(order, bench.now))
    with pytest.raises((VenueBusy, VenueUnavailable)):
        bench.run(bench.client.account_of(order.intent))
    bench.wait(100_000)
    assert bench.run(bench.client.account_of(order.intent))


def test_ghost_fills_are_about_as_many_as_asked_and_winners_fail_more_often():
    failed, fills = Counter[bool](), Counter[bool]()
    for seed in range(12):
        bench = Bench(lasting("venue_ghost_fills", 0.35, until=4 * HOUR_MS), seed=seed)
        buy_now_and_then(bench)
        for history in bench.exchange.orders.values():
            up_won = bench.world.payout_up(history.intent.market) == UNIT
            won = up_won == (history.intent.outcome is Outcome.UP)
            fills[won] += sum(isinstance(reply, FillMatched) for reply in history.replies)
            failed[won] += sum(isinstance(reply, FillFailed) for reply in history.replies)
    share = failed.total() / fills.total()
    assert 0.28 <= share <= 0.42, (failed, fills)
    assert failed[True] / fills[True] > 1.8 * failed[False] / fills[False]


def test_some_fills_of_an_order_stand_and_others_fail():
    bench = Bench(lasting("venue_ghost_fills", 0.35, until=4 * HOUR_MS), seed=3)
    buy_now_and_then(bench)
    split = [order for order, history in bench.exchange.orders.items() if history.is_split]
    assert split
    assert bench.faults.counts["venue_partial_settlement"] == len(split)


def test_the_venue_lives_on_when_the_process_dies_and_its_doors_are_shut():
    bench = Bench()
    bench.wait(100_000)
    order = bench.order()
    bench.loop.start(bench.life, bench.client.place(order, bench.now))
    bench.loop.run(until_step=bench.loop.steps + 1)  # the request is on its way
    bench.loop.kill(bench.life)
    bench.wait(20_000)
    assert bench.exchange.orders[order.intent.id].is_over
    with pytest.raises(ProcessIsDead):
        bench.client.advance(bench.now)
    bench.begin_life()
    assert bench.client.advance(bench.now) == []  # what was before is told by look-ups alone
    assert bench.run(bench.client.account_of(order.intent))


def test_what_the_venue_does_does_not_depend_on_when_it_is_asked():
    def story(step: int) -> list[str]:
        bench = Bench(lasting("venue_ghost_fills", 0.35), lasting("venue_late_finality", 0.5))
        bench.wait(100_000)
        order = bench.order()
        bench.run(bench.client.place(order, bench.now))
        for _ in range(900_000 // step):
            bench.wait(step)
        return [str(reply) for reply in bench.exchange.orders[order.intent.id].replies]

    assert story(500) == story(90_000)


def test_a_cancelled_request_is_still_a_request():
    """The bytes are gone; that we stopped waiting changes nothing at the venue."""
    bench = Bench()
    bench.wait(100_000)
    order = bench.order()

    async def give_up() -> None:
        task = asyncio.ensure_future(bench.client.place(order, bench.now))
        await asyncio.sleep(0.001)
        task.cancel()

    bench.run(give_up())
    bench.wait(10_000)
    assert bench.exchange.orders[order.intent.id].is_over
