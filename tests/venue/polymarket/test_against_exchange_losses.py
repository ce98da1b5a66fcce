"""The live venue against the loopback exchange when answers, news, processes and heartbeats get lost."""

import asyncio
import random

import msgspec
import pytest

from polybot.domain.events import FillFailed, FillMatched, OrderClosed
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, TimeInForce
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.account import AccountWatch
from polybot.venue.polymarket.heartbeat import OrderHeartbeat
from polybot.venue.polymarket.keys import Keys
from polybot.venue.polymarket.live import cancel_everything
from tests.exchange.trading import KEY_OF_ALICE
from tests.venue.polymarket.desk import few_certificates
from tests.venue.polymarket.order_rehearsal import QUICK, SAFE, Rehearsal, ShiftedClock, hosts_of, rehearsal
from tests.venue.polymarket.test_venue_orders import kinds

FAK = TimeInForce.FAK


def a_watch(at: Rehearsal) -> AccountWatch:
    return AccountWatch(at.client, at.venue, at.clock, at.books, since=at.clock.now_ms())


async def test_an_order_whose_answer_is_lost_is_there_once_and_found_by_its_intent():
    async with rehearsal(streams=False) as at:
        at.fault(method="POST", path="/order", cut=True, after=True)
        intent = at.intent(1, "0.52", "20", FAK)
        with pytest.raises(VenueUnavailable):
            await at.place(intent)
        assert len(list(at.exchange.engine.orders())) == 1
        await asyncio.sleep(0.1)
        account = await at.venue.account_of(intent)
        assert kinds(account) == ["OrderAccepted", "FillMatched", "FillConfirmed", "OrderClosed"]
        at.ledger.take(account or [])
        assert at.agrees()


async def test_an_order_that_never_arrived_is_unknown_there():
    async with rehearsal(streams=False) as at:
        at.fault(method="POST", path="/order", cut=True)
        intent = at.intent(1, "0.40", "10")
        with pytest.raises(VenueUnavailable):
            await at.place(intent)
        assert await at.venue.account_of(intent) is None


async def test_the_exchange_answers_when_it_is_asked_whether_it_does():
    async with rehearsal(streams=False) as at:
        await at.venue.reach()
        await at.throw("restart", down_ms=60_000)
        await at.server.close()
        with pytest.raises(VenueUnavailable):
            await at.venue.reach()


async def test_a_lost_cancel_is_asked_again_and_harms_nothing():
    async with rehearsal(streams=False) as at:
        intent = at.intent(1, "0.40", "10")
        await at.place(intent)
        at.fault(method="DELETE", path="/order", cut=True, after=True)
        with pytest.raises(VenueUnavailable):
            await at.venue.cancel(intent.id, at.clock.now_ms())
        await at.venue.cancel(intent.id, at.clock.now_ms())
        assert kinds(await at.venue.account_of(intent)) == ["OrderAccepted", "OrderClosed"]


async def test_after_a_crash_the_journaled_intent_finds_the_order_and_cancels_it():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        intent = at.intent(1, "0.40", "10")
        await at.place(intent)
        at.venue = at.new_venue()
        journaled = msgspec.json.decode(msgspec.json.encode(intent), type=type(intent))
        assert kinds(await at.venue.account_of(journaled)) == ["OrderAccepted"]
        await at.venue.cancel(journaled.id, at.clock.now_ms())
        assert at.exchange.engine.open_orders() == []


async def test_the_same_order_sent_twice_is_one_order():
    """What a floor never does: but if it did, the hash would make it one."""
    async with rehearsal(streams=False) as at:
        intent = at.intent(1, "0.40", "10")
        await at.place(intent)
        with pytest.raises(VenueUnavailable, match="already"):
            await at.place(intent)
        assert len(list(at.exchange.engine.orders())) == 1


async def test_an_order_of_a_market_that_is_unknown_here_is_never_called_unknown_there():
    async with rehearsal(streams=False) as at:
        with pytest.raises(VenueUnavailable):
            await at.venue.account_of(at.intent(1, "0.40", "10", market=MarketId("eth-updown-15m-1")))


async def test_a_restart_of_the_engine_pauses_and_post_only_orders_come_through_first():
    async with rehearsal(streams=False) as at:
        await at.throw("restart", down_ms=60, post_only_ms=60_000)
        with pytest.raises(VenueBusy):
            await at.place(at.intent(1, "0.40", "10"))
        await asyncio.sleep(0.1)
        at.venue.standing._until_s = at.clock.monotonic()
        with pytest.raises(VenueBusy, match="post-only"):
            await at.place(at.intent(2, "0.40", "10"))
        await at.place(at.intent(3, "0.40", "10", post_only=True))
        assert len(at.exchange.engine.open_orders()) == 1


async def test_a_banned_wallet_stops():
    async with rehearsal(streams=False) as at:
        await at.throw("ban", address=at.client.wallet.address, mode="banned")
        await at.place(at.intent(1, "0.40", "10"))
        assert "banned" in at.venue.standing.stopped


async def test_everything_is_cancelled_without_a_floor_and_through_a_restart():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        for number in (1, 2, 3):
            await at.place(at.intent(number, "0.40", "10", post_only=True))
        await at.throw("restart", down_ms=150, post_only_ms=60_000)
        keys = Keys(private_key=KEY_OF_ALICE, wallet=at.client.wallet.address)
        with few_certificates():
            assert await cancel_everything(keys, hosts_of(at.server), at.clock, again_s=0.05) == []
        assert at.exchange.engine.open_orders() == []


async def test_a_refusal_for_want_of_balance_has_the_venue_look_at_the_chain_again():
    async with rehearsal(streams=False) as at:
        await at.place(at.intent(1, "0.51", "5000", post_only=True))
        assert at.venue.balance_doubted
        assert await a_watch(at).look()
        assert not at.venue.balance_doubted


# -- news that never came ---------------------------------------------------------------------------------------------


async def test_what_happens_while_the_channel_says_nothing_is_booked_from_the_account():
    async with rehearsal() as at:
        watch = a_watch(at)
        await at.place(at.intent(1, "0.51", "10"))
        await at.throw("freeze", channel="user")
        at.bob(Side.BUY, "0.49", "10", Outcome.DOWN)
        await asyncio.sleep(0.15)
        at.drain()
        assert at.ledger.matched == set(), "the frozen channel says nothing"
        await watch.look()
        at.drain()
        assert len(at.ledger.final) == 1
        assert at.agrees()
        assert await watch.look()


async def test_the_channel_comes_back_by_itself_and_asks_for_a_reading():
    async with rehearsal() as at:
        await at.throw("disconnect", channel="user")
        await at.until(lambda: at.connects == 2)
        await at.place(at.intent(1, "0.52", "20", FAK))
        await at.until(lambda: bool(at.ledger.final))
        assert at.agrees()


async def test_an_unknown_open_order_is_cancelled_and_money_that_is_gone_is_seen():
    async with rehearsal(streams=False) as at:
        await at.place(at.intent(1, "0.40", "10"))
        at.venue = at.new_venue()
        at.intents.clear()  # a journal that was lost
        watch = a_watch(at)
        await watch.look()
        assert at.exchange.engine.open_orders() == []
        assert await watch.look()
        await at.throw("deposit", address=at.client.wallet.address, amount="-1.5")
        assert not await watch.look()
        assert not await watch.look()
        (gone,) = watch.unexplained
        assert gone.ours - gone.theirs == 1_500_000


async def test_a_heartbeat_that_stops_costs_every_open_order_and_we_are_told():
    wall = ShiftedClock()
    async with rehearsal(wall=wall) as at:
        beat = OrderHeartbeat(at.client, at.clock, lambda: at.venue.progressed_at)
        assert await beat.beat()
        assert await beat.beat()
        await at.place(at.intent(1, "0.40", "10"))
        wall.shift_ms = 16_000  # nobody beats for sixteen seconds of the exchange's
        await at.until(lambda: bool(at.ledger.of(OrderClosed)))
        assert at.ledger.of(OrderClosed)[0].reason is CloseReason.CANCELLED
        assert at.exchange.engine.open_orders() == []


async def test_a_heartbeat_that_lapsed_goes_on_by_the_id_the_exchange_expects():
    wall = ShiftedClock()
    async with rehearsal(wall=wall, streams=False) as at:
        beat = OrderHeartbeat(at.client, at.clock, at.clock.monotonic)
        assert await beat.beat()
        wall.shift_ms = 16_000
        await asyncio.sleep(0.4)  # the exchange looks, and forgets the key
        assert await beat.beat()


# -- all of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
async def test_through_ghosts_lost_answers_and_silence_the_books_come_out_equal_to_the_millionth(seed):
    """35 % of trades revert, one answer in six is lost, the channel breaks now and then, the process restarts."""
    chance = random.Random(seed)
    async with rehearsal(rules=msgspec.structs.replace(QUICK, ghost_rate=0.35, retry_rate=0.2)) as at:
        watch = a_watch(at)
        doubtful = []
        for number in range(1, 31):
            intent = _some_order(at, chance, number)
            if chance.random() < 1 / 6:
                at.fault(method="POST", path="/order", cut=True, after=chance.random() < 0.5)
            try:
                await at.place(intent)
            except VenueUnavailable:
                doubtful.append(intent)
            if chance.random() < 0.1:
                await at.throw("disconnect", channel="user")
            if chance.random() < 0.3:
                at.bob(Side.BUY, "0.49", "5", Outcome.DOWN)
            at.drain()
            if number == 15:
                at.venue = watch._venue = at.new_venue()  # a crash: whatever was heard and not drained is gone
                doubtful += at.intents.values()
        for intent in doubtful:
            at.ledger.take(await at.venue.account_of(intent) or [])
        for intent in [at.intents[order.id] for order in at.exchange.engine.open_orders() if order.id in at.intents]:
            await at.venue.cancel(intent.id, at.clock.now_ms())
        await asyncio.sleep(0.2)
        for _ in range(2):
            await watch.look()
            at.drain()
        assert at.agrees()
        assert at.ledger.of(FillFailed)
        assert len(at.ledger.of(FillMatched)) > len(at.ledger.of(FillFailed))
        assert await watch.look()


def _some_order(at: Rehearsal, chance: random.Random, number: int):
    if chance.random() < 0.4:
        return at.intent(number, "0.51", f"{chance.randint(500, 1500) / 100:.2f}", post_only=True)
    outcome = Outcome(chance.randint(0, 1))
    limit = "0.52" if outcome is Outcome.UP else "0.50"
    return at.intent(number, limit, f"{chance.randint(500, 900) / 100:.2f}", FAK, outcome=outcome)
