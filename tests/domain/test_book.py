"""The book: ordered whatever order it was served in, absolute sizes, and honest about how far it can be trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.book import Book, BookState
from polybot.domain.errors import BookError
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares
from tests.venue.builders import BUY, SELL, UP, Levels, price, shares, split

NOW = Millis(1_000)


def a_book(bids: Levels, asks: Levels) -> Book:
    book = Book(UP)
    book.replace(split(bids), split(asks), NOW, NOW)
    return book


def test_the_best_bid_is_the_highest_and_the_best_ask_the_lowest() -> None:
    # the venue's own example serves bids ascending and asks descending (polymarket.md 2.1)
    book = a_book({"0.01": "2151131.59", "0.02": "139963.89"}, {"0.99": "218442.27", "0.98": "13229.55"})
    assert (book.best_bid, book.best_ask) == (price("0.02"), price("0.98"))
    assert [p for p, _ in book.levels(BUY)] == [price("0.02"), price("0.01")]
    assert [p for p, _ in book.levels(SELL)] == [price("0.98"), price("0.99")]


def test_a_change_sets_the_new_size_and_zero_takes_the_level_away() -> None:
    book = a_book({"0.50": "40"}, {"0.52": "30"})
    book.change(BUY, price("0.50"), shares("7"))
    book.change(BUY, price("0.51"), shares("1"))
    book.change(SELL, price("0.52"), Shares(0))
    book.change(SELL, price("0.60"), Shares(0))
    assert (book.size_at(BUY, price("0.50")), book.best_bid, book.best_ask) == (shares("7"), price("0.51"), None)


@pytest.mark.parametrize(("at", "size"), [(0, 1), (UNIT, 1), (-1, 1), (500_000, -1)])
def test_a_level_no_book_can_have_is_an_error(at: int, size: int) -> None:
    with pytest.raises(BookError):
        a_book({}, {}).change(BUY, Price(at), Shares(size))


def test_depth_counts_what_a_taker_could_reach() -> None:
    book = a_book({"0.50": "40", "0.49": "100"}, {"0.52": "30", "0.53": "50"})
    assert book.depth_within(SELL, price("0.52")) == shares("30")
    assert book.depth_within(BUY, price("0.49")) == shares("140")


def test_a_snapshot_is_the_venues_own_word_unless_it_is_crossed() -> None:
    assert a_book({"0.50": "1"}, {"0.51": "1"}).state is BookState.VERIFIED
    assert a_book({"0.51": "1"}, {"0.51": "1"}).state is BookState.CONTRADICTED


@pytest.mark.parametrize(
    ("best_bid", "best_ask", "state"),
    [
        (price("0.50"), price("0.52"), BookState.VERIFIED),
        (price("0.49"), price("0.52"), BookState.CONTRADICTED),
        (price("0.50"), None, BookState.CONTRADICTED),
        (None, None, BookState.UNVERIFIABLE),
    ],
)
def test_the_venues_best_prices_verify_or_contradict_ours(
    best_bid: Price | None, best_ask: Price | None, state: BookState
) -> None:
    book = a_book({"0.50": "40"}, {"0.52": "30"})
    book.check(best_bid, best_ask)
    assert book.state is state


def test_agreeing_at_the_top_does_not_mend_a_contradicted_book() -> None:
    book = a_book({"0.50": "40"}, {"0.52": "30"})
    book.contradict()
    book.check(price("0.50"), price("0.52"))
    assert book.state is BookState.CONTRADICTED


def test_a_snapshot_mends_a_contradicted_book() -> None:
    book = a_book({"0.51": "1"}, {"0.51": "1"})
    book.replace(split({"0.50": "1"}), split({}), NOW, NOW)
    assert book.state is BookState.VERIFIED


changes = st.lists(st.tuples(st.sampled_from((BUY, SELL)), st.integers(1, 99), st.integers(0, 3)), max_size=60)


@given(changes)
def test_after_any_changes_the_book_is_what_a_dictionary_says(story: list[tuple[Side, int, int]]) -> None:
    book, expected = Book(UP), {BUY: dict[int, int](), SELL: dict[int, int]()}
    for side, at, size in story:
        book.change(side, Price(at * 10_000), Shares(size))
        expected[side].pop(at * 10_000, None)
        if size:
            expected[side][at * 10_000] = size
    assert list(book.levels(BUY)) == sorted(expected[BUY].items(), reverse=True)
    assert list(book.levels(SELL)) == sorted(expected[SELL].items())


@given(changes)
def test_the_mirror_of_the_mirror_is_the_book(story: list[tuple[Side, int, int]]) -> None:
    book = Book(UP)
    for side, at, size in story:
        book.change(side, Price(at * 10_000), Shares(size))
    down = Book(Outcome.DOWN)
    down.replace(*book.mirrored(), NOW, NOW)
    assert down.mirrored() == ((book.bid_prices, book.bid_sizes), (book.ask_prices, book.ask_sizes))
    assert (down.best_ask or 0) == (UNIT - book.best_bid if book.best_bid else 0)


def test_an_answer_that_may_be_to_the_first_of_two_questions_is_no_fresher_than_that() -> None:
    book = a_book({"0.50": "40"}, {"0.52": "30"})
    book.ask(Millis(5_000))
    book.ask(Millis(8_000))
    book.replace(split({"0.50": "40"}), split({"0.52": "30"}), Millis(2_000), Millis(8_200))
    assert (book.state, book.age_ms(Millis(8_200))) == (BookState.VERIFIED, 3_200)
    book.ask(Millis(9_000))
    book.replace(split({"0.50": "40"}), split({"0.52": "30"}), Millis(2_000), Millis(9_100))
    assert book.age_ms(Millis(9_100)) == 100
