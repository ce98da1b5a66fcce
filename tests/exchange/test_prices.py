"""The reference prices the exchange makes or replays, and what they have to agree with."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import MarketEvent
from polybot.domain.units import UNIT, Millis
from polybot.exchange.price_desk import PriceDesk
from polybot.exchange.price_path import path_of
from polybot.exchange.timetable import plan_series
from tests.exchange.tapes import FRAME_MS, PRESENT_START, book, plain_windows, recorded_market, reference, window


def desk_of(windows_count: int = 2, *, at: int = 0) -> PriceDesk:
    (plan,) = plan_series(plain_windows(windows_count), ["BTC"])
    return PriceDesk(plan, Millis(PRESENT_START + at), 84_000 * UNIT)


def test_the_final_price_of_a_window_is_the_price_to_beat_of_the_next() -> None:
    desk = desk_of()
    desk.advance(Millis(PRESENT_START + 3 * FRAME_MS))
    windows = [desk.prices(Millis(PRESENT_START + number * FRAME_MS)) for number in range(3)]
    assert windows[0] is not None
    assert windows[1] is not None
    assert windows[2] is not None
    assert windows[0].final == windows[1].to_beat
    assert windows[1].final == windows[2].to_beat


def test_the_final_price_is_the_average_that_was_streamed_in_the_windows_last_second() -> None:
    desk = desk_of()
    points = desk.advance(Millis(PRESENT_START + FRAME_MS + 1000))
    last = next(point for point in points if point.at == PRESENT_START + FRAME_MS - 1000)
    prices = desk.prices(PRESENT_START)
    assert prices is not None
    assert last.twap60 == prices.final


@given(mids=st.lists(st.integers(2, 98), min_size=1, max_size=8), up_wins=st.booleans())
@settings(max_examples=25, deadline=None)
def test_whatever_the_books_say_the_final_price_is_on_the_side_of_the_payout(mids: list[int], up_wins: bool) -> None:
    market = recorded_market()
    events: list[MarketEvent] = [book(market, 100_000 * number, mid - 1, mid + 1) for number, mid in enumerate(mids)]
    (plan,) = plan_series([window(market, events, up_wins=up_wins)], ["BTC"])
    desk = PriceDesk(plan, PRESENT_START)
    desk.advance(Millis(PRESENT_START + FRAME_MS + 1000))
    prices = desk.prices(PRESENT_START)
    assert prices is not None
    assert prices.final is not None
    assert (prices.final >= prices.to_beat) is up_wins


def test_an_up_book_above_a_half_stands_for_a_price_above_the_one_to_beat() -> None:
    path = path_of(plain_windows(1)[0])
    assert path[0] == 0  # 45/55
    assert path[400] > 0  # 60/62
    assert path[700] > path[400]


def test_recorded_prices_are_replayed_where_the_tape_has_them() -> None:
    market = recorded_market()
    events: list[MarketEvent] = [
        reference(market, -30_000, 100.0),
        book(market, 0, 45, 55),
        reference(market, 60_000, 101.0),
    ]
    path = path_of(window(market, events, up_wins=True))
    assert path[59] == 0
    assert math.isclose(math.exp(path[60]), 1.01)


def test_a_desk_that_starts_in_the_middle_of_a_window_knows_its_price_to_beat_and_the_last_two_minutes() -> None:
    desk = desk_of(at=400_000)
    assert desk.prices(PRESENT_START) is not None
    assert len(desk.recent) == 120
    assert desk.recent[-1].at == PRESENT_START + 399_000


def test_seconds_come_once_each_and_in_order_however_often_it_is_asked() -> None:
    desk = desk_of()
    times = [point.at for step in range(0, 5_000, 300) for point in desk.advance(Millis(PRESENT_START + step))]
    assert times == [PRESENT_START + 1000 * number for number in range(len(times))]
