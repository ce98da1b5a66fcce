"""The board of markets: one book for both outcomes where one is quoted, and terms as last told."""

from polybot.domain.book import BookState
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketListed,
    MarketResolved,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import Millis, Price
from tests.venue.builders import BUY, DOWN, MARKET, SELL, START, UP, a_market, listed, price, shares, split


class Counting:
    """An indicator that counts what it is told."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.mids: list[int] = []
        self.trades = 0

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        self.mids.append(twice_mid)

    def on_trade(self, trade: TradePrinted) -> None:
        self.trades += 1


def snapshot(outcome: Outcome = UP, market: MarketId = MARKET) -> BookReplaced:
    bids, asks = split({"0.50": "40"}), split({"0.52": "30"})
    return BookReplaced(START, Millis(START + 5), market, outcome, *bids, *asks)


def changed(*changes: LevelChange) -> LevelsChanged:
    return LevelsChanged(START, Millis(START + 9), MARKET, list(changes))


def listing() -> MarketListed:
    return MarketListed(START, START, a_market())


def books(markets: Markets) -> tuple[tuple[Price | None, Price | None], ...]:
    return tuple((book.best_bid, book.best_ask) for book in markets.by_id[MARKET].books)


def test_where_one_outcome_is_quoted_the_other_is_its_mirror() -> None:
    markets = listed(a_market(quoted=(DOWN,)))
    markets.apply(snapshot(DOWN))
    assert books(markets) == ((price("0.48"), price("0.50")), (price("0.50"), price("0.52")))
    markets.apply(changed(LevelChange(DOWN, BUY, price("0.51"), shares("1"))))
    assert books(markets)[UP] == (price("0.48"), price("0.49"))


def test_where_both_are_quoted_each_has_its_own_word() -> None:
    markets = listed(a_market(quoted=(UP, DOWN)))
    markets.apply(snapshot(UP))
    assert books(markets)[DOWN] == (None, None)


def test_a_message_with_many_changes_is_compared_when_all_of_it_is_in() -> None:
    markets = listed(a_market())
    markets.apply(snapshot())
    top = {"best_bid": price("0.51"), "best_ask": price("0.53")}
    first = LevelChange(UP, BUY, price("0.51"), shares("1"), **top)
    second = LevelChange(UP, SELL, price("0.52"), shares("0"), **top)
    third = LevelChange(UP, SELL, price("0.53"), shares("1"), **top)
    markets.apply(changed(first, second, third))
    assert markets.by_id[MARKET].books[UP].state is BookState.VERIFIED
    assert markets.by_id[MARKET].books[DOWN].state is BookState.VERIFIED


def test_a_change_the_venues_top_contradicts_spoils_both_views() -> None:
    markets = listed(a_market())
    markets.apply(snapshot())
    markets.apply(changed(LevelChange(UP, BUY, price("0.49"), shares("1"), price("0.49"), price("0.52"))))
    assert {book.state for book in markets.by_id[MARKET].books} == {BookState.CONTRADICTED}


def test_a_book_remembers_when_the_venue_last_spoke() -> None:
    markets = listed(a_market())
    markets.apply(snapshot())
    markets.apply(changed(LevelChange(UP, BUY, price("0.49"), shares("1"))))
    assert [book.received for book in markets.by_id[MARKET].books] == [START + 9, START + 9]


def test_events_of_unknown_markets_change_nothing() -> None:
    markets = listed()
    assert markets.apply(snapshot(market=MarketId("nowhere"))) is None
    assert markets.by_id == {}


def test_a_market_listed_again_keeps_its_books() -> None:
    markets = listed(a_market())
    markets.apply(snapshot())
    markets.apply(listing())
    assert books(markets)[UP] == (price("0.50"), price("0.52"))


def test_tick_and_outcome_are_as_last_told() -> None:
    markets = listed(a_market())
    markets.apply(TickSizeChanged(START, START, MARKET, price("0.001")))
    markets.apply(MarketResolved(START, START, MARKET, price("1")))
    state = markets.by_id[MARKET]
    assert (state.market.tick, state.payout_up) == (1_000, 1_000_000)


def test_a_retired_market_is_forgotten() -> None:
    markets = listed(a_market())
    markets.retire(MARKET)
    markets.retire(MARKET)
    assert markets.by_id == {}


def test_an_indicator_is_told_once_however_many_asked_for_it() -> None:
    class Spec:
        def start(self) -> Counting:
            return counting

    counting, spec = Counting(), Spec()
    markets = Markets([spec, spec])
    markets.apply(listing())
    markets.apply(snapshot())
    markets.apply(TradePrinted(START, START, MARKET, UP, BUY, price("0.52"), shares("1")))
    assert (counting.mids, counting.trades) == ([1_020_000], 1)
