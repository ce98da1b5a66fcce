"""The REST check: what the two witnesses say differently is doubted; what cannot be compared, or is stale, is not."""

import asyncio
from typing import Any

from polybot.domain.book import BookState
from polybot.domain.events import BookReplaced, LevelChange, LevelsChanged, MarketListed
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import Markets
from polybot.domain.units import Millis
from polybot.venue.polymarket.book_check import BookCheck, CheckTerms
from polybot.venue.polymarket.rest import Rest
from tests.facts import START, price, shares
from tests.venue.polymarket.gamma import HandGamma, hand_gamma
from tests.venue.polymarket.liar import WindowClock, served, soon

MARKET = served()
AT = START + 60_000
UP, DOWN = MARKET.tokens or ("", "")


class Bench:
    """Our books, the venue's REST books, and one look at both."""

    def __init__(self, gamma: HandGamma) -> None:
        self.gamma, self.markets, self.doubted = gamma, Markets(), list[MarketId]()
        self.markets.apply(MarketListed(START, START, MARKET))
        terms = CheckTerms(every_s=0.01, settle_s=0.0, believed_max=2)
        self.check = BookCheck(Rest(gamma.url), self.markets.by_id.get, WindowClock(), terms)

    def ours(self, at: int = AT, size: str = "40") -> None:
        for outcome in Outcome:
            levels = ([price("0.49"), price("0.50")], [shares("10"), shares(size)], [price("0.52")], [shares("30")])
            self.apply(BookReplaced(Millis(at), Millis(at), MARKET.id, outcome, *levels))

    def apply(self, event: BookReplaced | LevelsChanged) -> None:
        self.check.note(event)
        self.markets.apply(event)

    def change(self, at: int, where: str, size: str) -> None:
        level = LevelChange(Outcome.UP, Side.BUY, price(where), shares(size), price("0.50"), price("0.52"))
        self.apply(LevelsChanged(Millis(at), Millis(at), MARKET.id, [level]))

    def theirs(self, at: int = AT, size: str = "40", bid: str = "0.50") -> None:
        self.gamma.books = [rest_book(token, at, size, bid) for token in (UP, DOWN)]

    async def look(self, *, behind: bool = False) -> None:
        """Until it has asked once more."""
        asked = len(self.gamma.asked)
        running = asyncio.create_task(self.check.run(lambda: [MARKET], lambda: behind, self.doubted.append))
        await soon(lambda: len(self.gamma.asked) > asked)
        before = self.total
        await soon(lambda: self.total > before or bool(self.doubted))
        running.cancel()
        await asyncio.wait([running])

    @property
    def total(self) -> int:
        counts = self.check.counts
        return counts.equal + counts.contradicted + counts.stale + counts.unclear + counts.unreadable + counts.failed


def rest_book(token: str, at: int, size: str, bid: str) -> dict[str, Any]:
    return {
        "market": "0x747d", "asset_id": token, "timestamp": str(at), "hash": "a1b2", "min_order_size": "5",
        "bids": [{"price": "0.49", "size": "10"}, {"price": bid, "size": size}],
        "asks": [{"price": "0.52", "size": "30"}], "tick_size": "0.01", "neg_risk": False,
    }  # fmt: skip


async def test_equal_books_are_counted_and_nothing_is_doubted() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.theirs()
        await bench.look()
        assert bench.check.counts.equal >= 2
        assert bench.doubted == []
        await bench.check.close()


async def test_a_level_that_differs_far_from_the_top_doubts_the_market() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.change(AT + 1, "0.10", "99")
        bench.theirs(AT + 2)
        bench.change(AT + 2, "0.11", "5")
        assert bench.markets.by_id[MARKET.id].books[0].state is BookState.VERIFIED
        await bench.look()
        assert set(bench.doubted) == {MARKET.id}
        await bench.check.close()


async def test_what_changed_since_the_rest_books_date_is_left_out() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.theirs()
        bench.change(AT + 5, "0.10", "99")
        bench.change(AT + 7, "0.50", "41")
        await bench.look()
        assert bench.doubted == []
        assert bench.check.counts.equal >= 2
        await bench.check.close()


async def test_a_rest_book_newer_than_all_we_were_told_says_that_we_missed_something() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.theirs(AT + 3_000, bid="0.51")
        await bench.look()
        assert set(bench.doubted) == {MARKET.id}
        await bench.check.close()


async def test_while_the_floor_is_behind_with_what_came_nothing_is_concluded() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.theirs(AT + 3_000, bid="0.51")
        await bench.look(behind=True)
        assert bench.doubted == []
        assert bench.check.counts.unclear >= 1
        await bench.check.close()


async def test_a_stale_rest_book_says_nothing() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours(AT)
        bench.theirs(AT - 60_000, bid="0.01")
        await bench.look()
        assert bench.doubted == []
        assert bench.check.counts.stale >= 2
        await bench.check.close()


async def test_a_witness_that_contradicts_every_fresh_snapshot_is_not_believed_for_ever() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        bench.theirs(bid="0.51")
        running = asyncio.create_task(bench.check.run(lambda: [MARKET], lambda: False, bench.doubted.append))
        await soon(lambda: bench.check.counts.disbelieved >= 2)
        running.cancel()
        await asyncio.wait([running])
        assert bench.doubted == [MARKET.id] * 2
        await bench.check.close()


async def test_an_answer_that_is_no_book_and_no_answer_are_counted() -> None:
    async with hand_gamma() as gamma:
        bench = Bench(gamma)
        bench.ours()
        gamma.books = [{"error": "No orderbook exists"}]
        await bench.look()
        gamma.refuses = 500
        await bench.look()
        assert bench.check.counts.unreadable >= 1
        assert bench.check.counts.failed >= 1
        await bench.check.close()
