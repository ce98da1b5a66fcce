"""The board of markets: one book for both outcomes where one is quoted, and terms as last told."""

from typing import Any

from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    SnapshotRequested,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import MarketId, TokenId
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


# -- what comes late, twice, in the wrong order, or with a wrong date ------------------------------------------------

LATER = 1_000
SAME_TOP = (price("0.50"), price("0.52"))


def book_at(at: int, *, received: int | None = None, bid: str = "0.50", outcome: Outcome = UP) -> BookReplaced:
    bids, asks = split({bid: "40"}), split({"0.52": "30"})
    got = START + (at if received is None else received)
    return BookReplaced(Millis(START + at), Millis(got), MARKET, outcome, *bids, *asks)


def level_at(at: int, size: str, *, received: int | None = None, top: tuple[Price, Price] = SAME_TOP) -> LevelsChanged:
    got = START + (at if received is None else received)
    change = LevelChange(UP, BUY, price("0.45"), shares(size), *top)
    return LevelsChanged(Millis(START + at), Millis(got), MARKET, [change])


def asked(at: int) -> SnapshotRequested:
    return SnapshotRequested(Millis(START + at), Millis(START + at), [MARKET, MarketId("unheard-of")])


def after(*events: MarketEvent) -> Markets:
    markets = listed(a_market())
    for event in events:
        markets.apply(event)
    return markets


def up(markets: Markets) -> Book:
    return markets.by_id[MARKET].books[UP]


def test_a_snapshot_older_than_the_book_is_passed_over() -> None:
    markets = after(book_at(LATER), book_at(500, received=2_000, bid="0.30"))
    assert (up(markets).best_bid, up(markets).state, up(markets).at) == (
        price("0.50"),
        BookState.VERIFIED,
        START + LATER,
    )
    assert markets.oddities.stale == 1


def test_a_change_overtaken_by_another_is_not_taken_in_and_the_book_is_contradicted() -> None:
    markets = after(book_at(0), level_at(200, "7"), level_at(100, "9"))
    assert up(markets).size_at(BUY, price("0.45")) == shares("7")
    assert {book.state for book in markets.by_id[MARKET].books} == {BookState.CONTRADICTED}
    assert markets.oddities.late == 1


def test_a_change_the_snapshot_was_made_with_is_passed_over_and_harms_nothing() -> None:
    markets = after(book_at(LATER), level_at(500, "9", received=1_100))
    assert up(markets).size_at(BUY, price("0.45")) == 0
    assert up(markets).state is BookState.VERIFIED


def test_a_change_twice_is_no_change() -> None:
    markets = after(book_at(0), level_at(100, "7"), level_at(100, "7"))
    assert up(markets).state is BookState.VERIFIED
    assert up(markets).size_at(BUY, price("0.45")) == shares("7")


def test_two_books_of_one_millisecond_that_differ_are_not_to_be_traded_on() -> None:
    markets = after(book_at(0), book_at(0, received=5, bid="0.30"))
    assert up(markets).state is BookState.UNVERIFIABLE
    markets.apply(level_at(10, "1", top=(price("0.45"), price("0.52"))))
    assert up(markets).state is BookState.UNVERIFIABLE  # agreeing at the top does not mend it
    markets.apply(book_at(20))
    assert up(markets).state is BookState.VERIFIED


def test_a_date_ahead_of_our_clock_is_not_believed_and_does_not_make_later_news_look_old() -> None:
    markets = after(book_at(0), level_at(60_000, "7", received=100))
    assert up(markets).state is BookState.UNVERIFIABLE
    assert up(markets).size_at(BUY, price("0.45")) == 0
    markets.apply(book_at(120_000, received=200))
    assert up(markets).state is BookState.UNVERIFIABLE
    markets.apply(book_at(300))
    markets.apply(level_at(310, "7"))
    assert up(markets).state is BookState.VERIFIED
    assert markets.oddities.future == 2


def test_while_the_venues_clock_is_ahead_a_snapshot_is_older_than_it_looks() -> None:
    markets = after(book_at(0), level_at(160_000, "7", received=100_000), book_at(98_000, received=100_000))
    assert up(markets).state is BookState.UNVERIFIABLE, "by the clock that dated it, it is 62 s old"
    markets.apply(level_at(101_000, "7"))
    assert up(markets).state is BookState.VERIFIED, "a change in time agrees with it"
    markets.apply(book_at(102_000, received=104_000))
    assert up(markets).state is BookState.VERIFIED


def test_a_recorders_clock_may_be_a_little_behind_the_venues() -> None:
    assert up(after(book_at(2_000, received=0))).state is BookState.VERIFIED


def test_a_level_no_book_can_have_costs_the_book_its_word_and_does_not_stop_the_floor() -> None:
    absurd = LevelChange(UP, BUY, Price(0), shares("1"), *SAME_TOP)
    markets = after(book_at(0), LevelsChanged(START, START, MARKET, [absurd]))
    assert up(markets).state is BookState.CONTRADICTED
    assert markets.oddities.impossible == 1


def test_after_a_request_nothing_counts_before_its_answer() -> None:
    markets = after(book_at(0), asked(100), level_at(150, "7"))
    assert up(markets).state is BookState.UNVERIFIABLE
    markets.apply(book_at(160, received=200))
    assert up(markets).state is BookState.VERIFIED


def test_an_answer_is_as_fresh_as_the_question_however_long_the_market_has_been_quiet() -> None:
    markets = after(book_at(0), asked(8_000), book_at(0, received=8_100))
    assert (up(markets).state, up(markets).as_of) == (BookState.VERIFIED, START + 8_000)
    markets.apply(asked(15_000))
    markets.apply(book_at(0, received=15_100))  # quiet for 15 s, and said again: known
    assert (up(markets).state, up(markets).as_of) == (BookState.VERIFIED, START + 15_000)


def test_what_is_said_again_unasked_makes_nothing_fresher() -> None:
    markets = after(book_at(0), book_at(0, received=8_000))
    assert (up(markets).as_of, up(markets).received) == (START, START + 8_000)


def test_an_old_snapshot_that_is_new_to_us_is_believed_once_a_change_fits_it() -> None:
    markets = after(asked(20_000), book_at(0, received=20_100))
    assert up(markets).state is BookState.UNVERIFIABLE
    markets.apply(level_at(20_200, "7"))
    assert up(markets).state is BookState.VERIFIED


def test_data_is_as_old_as_its_date_where_it_reached_us_late() -> None:
    markets = after(book_at(0), level_at(1_000, "7", received=4_000))
    assert up(markets).age_ms(Millis(START + 4_100)) == 3_100


# -- terms that change ------------------------------------------------------------------------------------------------


def listed_at(at: int, **changes: Any) -> MarketListed:
    moment = Millis(START + at)
    return MarketListed(moment, moment, a_market(**changes))


def test_changed_terms_are_taken_in_and_the_books_kept() -> None:
    markets = after(book_at(0), listed_at(10, fees=FeeSchedule(rate=72_000), taker_delay_ms=50))
    state = markets.by_id[MARKET]
    assert (state.market.fees.rate, state.market.taker_delay_ms) == (72_000, 50)
    assert books(markets)[UP] == SAME_TOP


def test_an_old_page_of_the_catalogue_does_not_bring_old_terms_back() -> None:
    markets = after(listed_at(10, taker_delay_ms=50), listed_at(5, taker_delay_ms=500))
    assert markets.by_id[MARKET].market.taker_delay_ms == 50


def test_a_market_keeps_its_ids_when_it_is_served_unreadably() -> None:
    ids = (TokenId("11"), TokenId("22"))
    markets = after(
        listed_at(10, tokens=ids, version="v2"), listed_at(20, tokens=None, version="v9", rule_set="unknown: v9")
    )
    market = markets.by_id[MARKET].market
    assert (market.tokens, market.version, market.rule_set) == (ids, "v2", f"{a_market().rule_set} -> unknown: v9")


def test_a_tick_the_stream_told_of_later_stays() -> None:
    fine = TickSizeChanged(Millis(START + 20), Millis(START + 20), MARKET, price("0.001"))
    assert after(fine, listed_at(10, taker_delay_ms=50)).by_id[MARKET].market.tick == price("0.001")
    assert after(fine, listed_at(30, taker_delay_ms=50)).by_id[MARKET].market.tick == price("0.01")


def test_a_settlement_rule_that_changes_in_the_window_leaves_the_market_with_both_for_good() -> None:
    first, other = a_market().rule_set, "chainlink-spot"
    markets = Markets()
    markets.apply(listed_at(-20))
    markets.apply(listed_at(-10, rule_set=other))
    assert markets.by_id[MARKET].market.rule_set == other  # before it opens, a rule may change
    markets.apply(listed_at(10, rule_set=first))
    assert markets.by_id[MARKET].market.rule_set == f"{other} -> {first}"
    markets.apply(listed_at(20, rule_set=other))
    assert markets.by_id[MARKET].market.rule_set == f"{other} -> {first}"
