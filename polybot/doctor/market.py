"""What there is to examine of the market data: this moment's windows and their terms, their books, and prices."""

import asyncio
import random
from collections.abc import Sequence

from polybot.clock import Clock
from polybot.doctor.findings import Finding, failed, passed, skipped
from polybot.domain.events import BookReplaced, MarketEvent, MarketListed, ReferencePriced
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis
from polybot.live import data_terms
from polybot.risk.known_terms import knows_fees, unknown_terms
from polybot.settings import Settings
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.market_data import live_data

TROUBLE = (VenueUnavailable, VenueBusy, TimeoutError)
AHEAD_MS = 20_000
"""The windows of so soon are looked at: one that is about to end would be gone before its books have come."""
CATALOG_S_MAX = 15.0
LISTEN_S_MAX = 10.0
UNREACHABLE = "is this machine online, and POLYBOT_EXCHANGE (if set) right and running?"


async def examine_market_data(settings: Settings, clock: Clock) -> list[Finding]:
    """Windows, books, prices; on a connection of its own, closed afterwards."""
    feed = live_data(data_terms(settings), clock, random.Random(0), lambda _: None).feed
    try:
        markets = await _windows(feed, clock)
        if isinstance(markets, Finding):
            return [markets, *(skipped(check, "there is no window to follow") for check in ("books", "prices"))]
        terms = _terms(markets, settings.feed.series)
        return [terms, *await _listen(feed, markets)]
    finally:
        await feed.close()


async def _windows(feed: LiveFeed, clock: Clock) -> list[Market] | Finding:
    soon = Millis(clock.now_ms() + AHEAD_MS)
    try:
        async with asyncio.timeout(CATALOG_S_MAX):
            entries = await feed.catalog(soon, Millis(soon + 1))
    except TROUBLE as error:
        return failed("windows", f"the catalogue does not answer: {error}", UNREACHABLE)
    listed = [entry.market for entry in entries if isinstance(entry, MarketListed)]
    if not listed:
        return failed("windows", "the venue lists no window of now", "check POLYBOT_FEED__SERIES")
    return listed


def _terms(markets: Sequence[Market], series: Sequence[str]) -> Finding:
    """Every series has its window, and nothing in its terms is new to us."""
    missing = sorted(set(series) - {str(market.series) for market in markets})
    strange = [f"{market.id}: {', '.join(unknown)}" for market in markets if (unknown := unknown_terms(market))]
    strange += [f"{market.id}: fees {market.fees}" for market in markets if not knows_fees(market.fees)]
    if missing:
        return failed("windows", f"no window of {', '.join(missing)}", "check POLYBOT_FEED__SERIES")
    if strange:
        text = f"terms this version does not know: {'; '.join(strange)}"
        return failed("windows", text, "nothing is traded on them; look for a newer version of polybot")
    told = [f"{market.id} (fee {market.fees.rate / UNIT:.2%}, {market.rule_set})" for market in markets]
    return passed("windows", ", ".join(told))


async def _listen(feed: LiveFeed, markets: Sequence[Market]) -> list[Finding]:
    books: set[MarketId] = set()
    sources: set[str] = set()
    wanted = frozenset(market.id for market in markets)
    trouble = ""
    try:
        async with asyncio.timeout(LISTEN_S_MAX):
            await feed.connect()
            await feed.follow(wanted)
            while books != wanted or not sources:
                _note(await feed.next(), books, sources)
    except TROUBLE as error:
        trouble = str(error)
    missing = ", ".join(sorted(wanted - books))
    why = f" ({trouble})" if trouble else ""
    return [
        passed("books", f"{len(books)} windows' books came")
        if not missing
        else failed("books", f"no book of {missing} within {LISTEN_S_MAX:g} s{why}", UNREACHABLE),
        passed("prices", f"from {', '.join(sorted(sources))}")
        if sources
        else failed("prices", f"no reference price within {LISTEN_S_MAX:g} s{why}", UNREACHABLE),
    ]


def _note(event: MarketEvent, books: set[MarketId], sources: set[str]) -> None:
    if isinstance(event, BookReplaced):
        books.add(event.market)
    elif isinstance(event, ReferencePriced):
        sources.add(f"{event.source} ({event.asset})")
