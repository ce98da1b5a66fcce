"""Socket, feeder, watch and books together, on real sockets, against a venue that lies: silence, gaps, disorder."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from polybot.clock import SystemClock
from polybot.domain.book import BookState
from polybot.domain.events import ReferencePriced
from polybot.domain.market import Side
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis
from polybot.floor.feed_watch import WatchTerms
from polybot.floor.feeder import Feeder, FeedPace
from polybot.venue.polymarket.price_channels import RtdsChannel
from polybot.venue.polymarket.prices import PriceSocket, PriceTerms
from tests.facts import price, shares
from tests.floor.feeds import NotingFloor
from tests.venue.polymarket.liar import HASTY, LyingVenue, WindowClock, book, change, feed_of, lying_venue, served, soon
from tests.venue.polymarket.price_server import PriceServer, price_server, rtds

MARKET = served()
UP, DOWN = MARKET.tokens or ("", "")
WATCH = WatchTerms(silence_ms=400, refresh_ms=150, spacing_ms_first=50, spacing_ms_max=200)
PACE = FeedPace(tick_s=0.02, look_s=0.02, catalog_s=0.5, call_s=1.0, retry_s_first=0.02, retry_s_max=0.1)


def price_sockets(server: PriceServer | None) -> list[PriceSocket]:
    if server is None:
        return []
    quick = PriceTerms(silence_s=60.0, look_s=0.01, retry_s_first=0.01, retry_s_max=0.02, close_s=0.05)
    return [PriceSocket(RtdsChannel(("BTC",), server.url), SystemClock(), random.Random(4), quick)]


class LiveFloor:
    def __init__(self, venue: LyingVenue, watch: WatchTerms, sockets: int, prices: PriceServer | None) -> None:
        self.venue, self.floor = venue, NotingFloor()
        terms = msgspec.structs.replace(HASTY, ping_s=0.1, pong_s=5.0)
        stream = feed_of(venue, terms, sockets=sockets, prices=price_sockets(prices))
        self.feed = stream
        self.feeder = Feeder(stream, self.floor, WindowClock(), random.Random(3), watch=watch, pace=PACE)

    @property
    def state(self) -> MarketState | None:
        return self.floor.room.markets.by_id.get(MARKET.id)

    @property
    def is_verified(self) -> bool:
        return self.state is not None and all(b.state is BookState.VERIFIED for b in self.state.books)


@asynccontextmanager
async def live(
    watch: WatchTerms = WATCH, *, sockets: int = 1, prices: PriceServer | None = None
) -> AsyncIterator[LiveFloor]:
    async with lying_venue() as venue:
        floor, stop = LiveFloor(venue, watch, sockets, prices), asyncio.Event()
        running = asyncio.create_task(floor.feeder.run(stop))
        try:
            await soon(lambda: floor.is_verified)
            yield floor
        finally:
            stop.set()
            await running


PATIENT = WatchTerms(silence_ms=60_000, silence_ms_max=60_000, refresh_ms=60_000, spacing_ms_first=60_000)
"""Asks for nothing, so that a test sees what the events alone do."""


def now() -> Millis:
    return WindowClock().now_ms()


async def test_silence_with_every_ping_answered_leads_to_a_new_connection_and_fresh_books() -> None:
    async with live() as floor:
        floor.venue.answers = False
        await soon(lambda: len(floor.venue.connections) >= 2)
        assert "PING" in floor.venue.heard
        assert not floor.is_verified
        floor.venue.answers = True
        await soon(lambda: floor.is_verified)
        assert floor.feeder.health().reconnects >= 1
        assert [text[:19] for _, text in floor.floor.notes][:2] == ["market data stopped", "market data is back"]


async def test_a_change_that_got_lost_is_found_out_by_the_next_and_mended_by_a_snapshot() -> None:
    async with live() as floor:
        floor.venue.snapshot = lambda token: book(token, now(), bid="0.51")
        await floor.venue.say(change(UP, now(), "0.49", "5", ("0.51", "0.52")))  # 0.51 came before, and got lost
        await soon(lambda: floor.floor.room.markets.oddities.contradicted == 1)
        await soon(lambda: floor.is_verified)
        assert floor.state is not None
        assert floor.state.books[0].best_bid == price("0.51")


async def test_a_change_that_was_overtaken_is_not_taken_in_and_the_book_not_traded_on() -> None:
    async with live(PATIENT) as floor:
        first, second = now() + 50, now() + 60
        await floor.venue.say(change(UP, second, "0.45", "9", ("0.50", "0.52")))
        await floor.venue.say(change(UP, first, "0.45", "1", ("0.50", "0.52")))
        await soon(lambda: floor.floor.room.markets.oddities.late == 1)
        assert floor.state is not None
        up = floor.state.books[0]
        assert up.state is BookState.CONTRADICTED
        assert up.size_at(Side.BUY, price("0.45")) == shares("9")


async def test_a_message_that_comes_twice_changes_nothing() -> None:
    async with live(PATIENT) as floor:
        at = now() + 50
        moved = change(UP, at, "0.45", "9", ("0.50", "0.52"))
        await floor.venue.say(moved, change(UP, at, "0.45", "7", ("0.50", "0.52")), moved)
        await soon(lambda: floor.feeder.health().duplicates == 1)
        assert floor.state is not None
        assert floor.is_verified
        assert floor.state.books[0].size_at(Side.BUY, price("0.45")) == shares("7")


async def test_a_snapshot_older_than_the_book_is_passed_over() -> None:
    async with live(PATIENT) as floor:
        await floor.venue.say(book(UP, now() - 30_000, bid="0.10"))
        await soon(lambda: floor.floor.room.markets.oddities.stale == 1)
        assert floor.state is not None
        assert (floor.is_verified, floor.state.books[0].best_bid) == (True, price("0.50"))


async def test_rubbish_on_the_wire_costs_the_books_their_word_until_the_next_snapshot_and_nothing_else() -> None:
    async with live() as floor:
        for _ in range(20):
            await floor.venue.socket.send_str('{"event_type":"price_change","mark')
        await soon(lambda: not floor.is_verified)
        await soon(lambda: floor.is_verified)
        assert len(floor.venue.connections) == 1


async def test_a_connection_cut_again_and_again_is_made_again_and_again() -> None:
    async with live() as floor:
        for times in range(3):
            floor.venue.cut()
            await soon(lambda times=times: len(floor.venue.connections) >= times + 2)  # type: ignore[misc]
            await soon(lambda: floor.is_verified)
        assert not floor.feeder.health().outage_since


async def test_prices_come_by_the_same_entrance_and_do_not_hide_that_the_market_is_silent() -> None:
    async with price_server() as server, live(prices=server) as floor:
        floor.venue.answers = False
        for _ in range(200):
            await server.say(rtds(65000.5, SystemClock().now_ms()))
            await asyncio.sleep(0.01)
            if len(floor.venue.connections) >= 2:
                break
        assert len(floor.venue.connections) >= 2
        assert floor.floor.room.markets.references["BTC"]["rtds-chainlink"].price == 65_000_500_000
        assert floor.floor.of(ReferencePriced)
        times = [event.received for event in floor.floor.events]
        assert times == sorted(times)


async def test_a_lost_price_socket_is_no_outage_of_the_market() -> None:
    async with price_server() as server, live(prices=server) as floor:
        await soon(lambda: bool(server.connections))
        for _ in range(3):
            await server.connections[-1].close()
            await asyncio.sleep(0.05)
        assert floor.feeder.health().outage_since is None
        assert floor.feed.health().price_sockets[0].reconnects >= 1
        await soon(lambda: floor.is_verified)  # a book may be asked for again just now


async def test_with_two_sockets_the_loss_of_one_leaves_the_books_verified() -> None:
    async with live(PATIENT, sockets=2) as floor:
        await soon(lambda: len(floor.venue.connections) == 2)
        await floor.venue.connections[0].close()
        await soon(lambda: floor.feed.health().sockets_up == 1)
        at = now() + 50
        await floor.venue.connections[1].send_json(change(UP, at, "0.45", "9", ("0.50", "0.52")))
        await soon(lambda: floor.state is not None and floor.state.books[0].at == at)
        assert floor.is_verified
        assert floor.feeder.health().reconnects == 0


class Broken(PriceSocket):
    """One of what runs beside the market sockets, with a bug in it."""

    async def run(self, take: Callable[[ReferencePriced], None]) -> None:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError


async def test_a_bug_in_what_runs_beside_the_sockets_is_raised_to_whoever_reads_the_feed() -> None:
    broken = Broken(RtdsChannel(("BTC",), ""), SystemClock(), random.Random(4))
    async with lying_venue() as venue:
        feed = feed_of(venue, HASTY, prices=[broken])
        await feed.connect()
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(feed.next(), 3)
        await feed.close()
