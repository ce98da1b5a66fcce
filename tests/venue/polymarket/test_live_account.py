"""A whole live account, with all its tasks, from a first order to redeemed winnings; and what it says of itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from polybot.domain.events import FillMatched, OrderClosed
from polybot.domain.ids import OrderId
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Price
from polybot.venue.base import Venue
from polybot.venue.polymarket.account_settlement import Settled
from polybot.venue.polymarket.live_account import LiveAccount
from polybot.venue.polymarket.permission import PermissionWatch
from polybot.venue.polymarket.venue import TRACKED_MAX, PolymarketVenue
from tests.venue.polymarket.liar import soon
from tests.venue.polymarket.order_rehearsal import CASH, DEPOSIT, Rehearsal, hosts_of, rehearsal


@asynccontextmanager
async def running(at: Rehearsal, settled: list[Settled]) -> AsyncIterator[LiveAccount]:
    market = at.listing.market
    account = LiveAccount(
        at.client,
        hosts_of(at.server),
        at.clock,
        market_of=lambda name: market if name == market.id else None,
        books=at.books,
        settled=settled.append,
        since=at.clock.now_ms(),
    )
    at.venue = account.venue
    jobs = [asyncio.create_task(job()) for job in account.jobs(random.Random(1)).values()]
    try:
        yield account
    finally:
        for job in jobs:
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job
        await account.stream.close()


async def test_it_begins_with_reasons_against_trading_and_loses_them_one_by_one():
    async with rehearsal(wallet=DEPOSIT, streams=False) as at:
        account = LiveAccount(
            at.client,
            hosts_of(at.server),
            at.clock,
            market_of=lambda name: None,
            books=at.books,
            settled=lambda settled: None,
            since=at.clock.now_ms(),
        )
        venue: Venue = account.venue  # what the floor knows it as
        assert venue.may_lose_replies
        assert len(account.health().troubles) == 4
        await account.watch.look()
        assert len(account.health().troubles) == 3
        await account.heartbeat.beat()
        assert len(account.health().troubles) == 2
        await account.permission.ask()
        assert account.health().troubles == ("the user channel is away",)
        await account.stream.close()


async def test_from_a_first_order_to_redeemed_winnings():
    settled: list[Settled] = []
    async with rehearsal(wallet=DEPOSIT, streams=False) as at, running(at, settled) as account:
        await soon(lambda: not account.health().troubles)
        await at.place(at.intent(1, "0.52", "50", TimeInForce.FAK))
        await at.until(lambda: bool(at.ledger.final) and bool(at.ledger.of(OrderClosed)))
        assert at.agrees()
        await account.watch.look()
        assert account.health().unexplained == ()
        bought = sum(fill.shares for fill in at.ledger.of(FillMatched))
        at.exchange.engine.resolve(at.listing.market.id, Price(UNIT), at.exchange.now())
        at.exchange.publish()
        assert await account.redeemer.look() == 1
        assert at.account.cash == CASH + at.ledger.cash + bought
        assert [one.worth for one in settled] == [bought]


async def test_a_place_from_which_orders_are_blocked_stops_everything():
    async with rehearsal(streams=False) as at:
        await at.throw("geoblock", blocked=True, country="US", region="NY")
        await PermissionWatch(at.client, at.venue.standing, hosts_of(at.server).geoblock, at.clock).ask()
        assert "US-NY" in at.venue.standing.stopped


async def test_a_wallet_that_may_only_close_stops_too():
    async with rehearsal(streams=False) as at:
        await at.throw("ban", address=at.client.wallet.signer, mode="closed-only")
        await PermissionWatch(at.client, at.venue.standing, hosts_of(at.server).geoblock, at.clock).ask()
        assert "only close" in at.venue.standing.stopped


async def test_what_is_remembered_of_orders_has_a_bound(monkeypatch):
    monkeypatch.setattr("polybot.venue.polymarket.venue.TRACKED_MAX", 10)
    async with rehearsal(streams=False) as at:
        for number in range(1, 40):
            assert at.venue.adopt(at.intent(number, "0.40", "10")) is not None
            assert len(at.venue._tracked) <= 10
        assert len(at.venue._hashes) == len(at.venue._tracked)
        assert OrderId("tester-000039") in at.venue._hashes
        assert isinstance(at.venue, PolymarketVenue)
        assert TRACKED_MAX > 1_000
