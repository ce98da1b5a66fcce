"""Batches of orders against the loopback exchange, through the floor's own entrance and through lost answers."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from polybot.agents.base import Heart
from polybot.agents.trader import Trader
from polybot.desk.room import TradingRoom, equal_allocation
from polybot.domain.events import IntentRecorded, OrderAccepted, OrderRejected
from polybot.domain.market import Outcome
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.floor.dispatch import Dispatcher
from polybot.risk.limits import Limits
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.outbox import BATCH_MAX
from tests.builders import CAPITAL, a_plan, book, listed
from tests.floor.venues import ListJournal
from tests.venue.polymarket.order_rehearsal import Rehearsal, rehearsal
from tests.venue.polymarket.test_venue_orders import kinds

FAK = TimeInForce.FAK


async def place_all(at: Rehearsal, *intents: OrderIntent) -> list[type[BaseException] | None]:
    """Hand them over in one turn; what each came to."""
    done = await asyncio.gather(*(at.place(intent) for intent in intents), return_exceptions=True)
    return [None if one is None else type(one) for one in done]


def requests_of(at: Rehearsal) -> Counter[str]:
    """How many requests of each kind the exchange gets from now on."""
    seen: Counter[str] = Counter()
    take = at.exchange.faults.take

    def noted(host: str, method: str, path: str):  # whatever comes in is first asked whether it is to go wrong
        seen[f"{method} {path}"] += 1
        return take(host, method, path)

    at.exchange.faults.take = noted  # type: ignore[method-assign]
    return seen


def handed_in(at: Rehearsal, *intents: OrderIntent) -> list[int]:
    return [at.exchange.posted.get(at.hash_of(intent), 0) for intent in intents]  # type: ignore[call-overload]


async def test_good_and_bad_orders_of_a_batch_each_get_their_own_answer():
    async with rehearsal() as at:
        seen = requests_of(at)
        rests, takes = at.intent(1, "0.40", "10"), at.intent(2, "0.52", "20", FAK)
        crosses, too_dear = at.intent(3, "0.53", "10", post_only=True), at.intent(4, "0.51", "5000")
        misses = at.intent(5, "0.51", "10", FAK)
        assert await place_all(at, rests, crosses, takes, too_dear, misses) == [None] * 5
        assert (seen["POST /orders"], seen["POST /order"]) == (1, 0)
        await at.until(lambda: bool(at.ledger.final))
        assert {fact.order for fact in at.ledger.of(OrderAccepted)} == {rests.id, takes.id, misses.id}
        refused = {fact.order: fact.text for fact in at.ledger.of(OrderRejected)}
        assert "crosses" in refused[crosses.id]
        assert "not enough balance" in refused[too_dear.id]
        assert at.venue.balance_doubted
        assert [at.venue._tracked[order.id].intent for order in at.exchange.engine.open_orders()] == [rests]
        assert at.agrees()


@pytest.mark.parametrize("lost", ["the answer", "the orders"])
async def test_a_batch_whose_answer_is_lost_is_looked_up_order_by_order_and_never_sent_again(lost):
    async with rehearsal(streams=False) as at:
        at.fault(method="POST", path="/orders", cut=True, after=lost == "the answer")
        batch = [at.intent(1, "0.52", "20", FAK), at.intent(2, "0.40", "10"), at.intent(3, "0.53", "9", post_only=True)]
        assert await place_all(at, *batch) == [VenueUnavailable] * 3
        assert handed_in(at, *batch) == [int(lost == "the answer")] * 3
        await asyncio.sleep(0.1)  # until the trade is mined and confirmed
        accounts = [await at.venue.account_of(intent) for intent in batch]
        if lost == "the orders":
            assert accounts == [None] * 3
            return
        assert [kinds(account) for account in accounts if account is not None] == [
            ["OrderAccepted", "FillMatched", "FillConfirmed", "OrderClosed"],
            ["OrderAccepted"],
        ]
        assert accounts[2] is None, "it was refused, and nobody was told: the exchange has no such order"
        at.ledger.take(accounts[0] or [])
        assert at.agrees()


async def test_a_batch_that_is_refused_for_a_restart_or_for_the_rate_limit_is_refused_whole():
    async with rehearsal(streams=False) as at:
        for number, status in enumerate((425, 429)):
            at.fault(method="POST", path="/orders", status=status, text="not now")
            batch = [at.intent(2 * number + more, "0.40", "10") for more in (1, 2)]
            assert await place_all(at, *batch) == [VenueBusy] * 2
            assert handed_in(at, *batch) == [0, 0]
            at.venue = at.new_venue()  # whose standing knows of no pause


async def test_after_a_restart_the_post_only_orders_of_a_batch_are_taken_and_the_others_wait():
    async with rehearsal(streams=False) as at:
        await at.throw("restart", down_ms=0, post_only_ms=60_000)
        taker, maker = at.intent(1, "0.52", "10", FAK), at.intent(2, "0.40", "10", post_only=True)
        assert await place_all(at, taker, maker) == [VenueBusy, None]
        assert [order.id for order in at.exchange.engine.open_orders()] == [at.hash_of(maker)]


async def test_more_orders_than_the_venue_takes_at_once_are_all_there_and_each_once():
    async with rehearsal(streams=False) as at:
        seen = requests_of(at)
        many = [at.intent(number, "0.40", f"{5 + number / 100:.2f}") for number in range(BATCH_MAX + 3)]
        assert await place_all(at, *many) == [None] * len(many)
        assert (seen["POST /orders"], seen["POST /order"]) == (2, 0)
        assert handed_in(at, *many) == [1] * len(many)
        assert len(at.exchange.engine.open_orders()) == len(many)


async def test_agents_that_decide_on_the_same_tick_send_one_request():
    """The floor's own way: traders woken by one event, one journal, one venue."""
    async with rehearsal(streams=False, quoted=(Outcome.UP,)) as at:
        market, clock = at.listing.market, at.clock
        room = TradingRoom([a_plan(f"agent-{n}") for n in range(4)], Limits(floor_capital_share=1_000_000))
        journal = ListJournal()
        dispatcher = Dispatcher(room, at.venue, journal, clock, lockstep=True, patience_s=5)
        await dispatcher.commit(equal_allocation(room, CAPITAL, clock.now_ms()))
        traders = [
            Trader(
                desk,
                Heart(clock.monotonic),
                dispatcher,
                dispatcher.carry_out,
                partial(dispatcher.attach_mailbox, desk.plan.agent),
            )
            for desk in room.desks.values()
        ]
        running = [asyncio.create_task(trader.run()) for trader in traders]
        seen = requests_of(at)
        await dispatcher.publish(listed(market))
        await dispatcher.publish(book(market, clock.now_ms() - market.window_start))
        await dispatcher.finished()
        for task in running:
            task.cancel()
        intents = [entry.fact.intent for entry in journal.kept if isinstance(entry.fact, IntentRecorded)]
        assert len(intents) == 4
        assert (seen["POST /orders"], seen["POST /order"]) == (1, 0)
        assert handed_in(at, *intents) == [1] * 4
