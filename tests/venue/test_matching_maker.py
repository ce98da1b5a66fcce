"""A resting order: behind everybody who was there, moved up by trades and cancels, each told once."""

from polybot.domain.events import FillMatched, Liquidity
from polybot.domain.ids import OrderId
from polybot.domain.units import Millis
from tests.venue.builders import (
    BUY,
    CONFIRM_MS,
    DOWN,
    GTD,
    LATENCY_MS,
    SELL,
    START,
    STEADY,
    UP,
    Bench,
    a_market,
    money,
    price,
)


def a_bench(**terms: object) -> Bench:
    bench = Bench(**terms)  # type: ignore[arg-type]
    bench.book(bids={"0.50": "40", "0.49": "100"}, asks={"0.52": "30"})
    return bench


def test_a_resting_order_waits_for_everything_that_stood_there_before_it() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.50", "40")
    assert bench.fills(order) == []
    bench.trade(SELL, "0.50", "4")
    assert bench.fills(order) == [("0.5", "4")]


def test_one_trade_takes_those_ahead_first_and_then_us() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.50", "47")
    assert bench.fills(order) == [("0.5", "7")]


def test_a_maker_pays_no_fee_and_its_rebate_is_kept_apart() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.trade(SELL, "0.51", "10")
    (fill,) = bench.answers(order, FillMatched)
    assert (fill.fee, fill.liquidity, bench.spent) == (0, Liquidity.MAKER, money("5.1"))
    assert fill.rebate_basis == money("0.17493")
    assert bench.end(order) == "filled"


def test_a_trade_through_our_price_means_the_queue_is_gone() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.49", "6")
    assert bench.fills(order) == [("0.5", "6")]


def test_a_trade_at_a_better_price_than_ours_does_not_reach_us() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.51", "500")
    assert bench.fills(order) == []


def test_a_buyers_trade_does_not_fill_a_bid() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.trade(BUY, "0.51", "500")
    assert bench.fills(order) == []


def test_cancels_are_spread_evenly_over_the_queue() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.level(BUY, "0.50", "100")  # sixty more joined behind us
    bench.level(BUY, "0.50", "50")  # half of all went: twenty of those ahead
    bench.wait(5_000)
    bench.trade(SELL, "0.50", "20")
    assert bench.fills(order) == []
    bench.trade(SELL, "0.50", "1")
    assert bench.fills(order) == [("0.5", "1")]


def test_a_trade_and_the_fall_of_the_level_it_caused_count_once() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.50", "15")
    bench.level(BUY, "0.50", "25")
    bench.trade(SELL, "0.50", "25")
    assert bench.fills(order) == []


def test_they_count_once_in_the_other_order_too() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.level(BUY, "0.50", "25")
    bench.trade(SELL, "0.50", "15")
    bench.trade(SELL, "0.50", "25")
    assert bench.fills(order) == []
    bench.trade(SELL, "0.50", "1")
    assert bench.fills(order) == [("0.5", "1")]


def test_a_trade_long_after_a_cancel_is_another_matter() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.level(BUY, "0.50", "25")
    bench.wait(1_001)
    bench.trade(SELL, "0.50", "26")
    assert bench.fills(order) == [("0.5", "1")]


def test_two_orders_at_one_price_share_what_a_trade_leaves_oldest_first() -> None:
    bench = a_bench()
    first, second = bench.rest("0.50", "10"), bench.rest("0.50", "10")
    bench.trade(SELL, "0.50", "53")  # 40 stood before both: 13 are left
    assert (bench.fills(first), bench.fills(second)) == ([("0.5", "10")], [("0.5", "3")])


def test_the_better_priced_of_two_orders_is_filled_first() -> None:
    bench = a_bench()
    low, high = bench.rest("0.49", "10"), bench.rest("0.51", "10")
    bench.trade(SELL, "0.49", "108")
    assert (bench.fills(high), bench.fills(low)) == ([("0.51", "10")], [])
    bench.trade(SELL, "0.49", "3")
    assert bench.fills(low) == [("0.49", "1")]


def test_asks_are_filled_lowest_first() -> None:
    bench = a_bench()
    bench.take("0.52", "20")
    bench.wait(CONFIRM_MS)
    high, low = bench.rest("0.55", "10", side=SELL), bench.rest("0.54", "10", side=SELL)
    bench.trade(BUY, "0.55", "12")
    assert (bench.fills(low), bench.fills(high)) == ([("0.54", "10")], [("0.55", "2")])


def test_a_bid_for_down_is_filled_by_a_buyer_of_up() -> None:
    bench = a_bench()
    order = bench.rest("0.47", "10", outcome=DOWN)  # stands as an ask of Up at 0.53
    bench.trade(BUY, "0.53", "4")
    bench.trade(SELL, "0.47", "2", outcome=DOWN)
    assert bench.fills(order) == [("0.47", "4"), ("0.47", "2")]


def test_an_ask_that_comes_to_our_bid_is_ours_at_our_price_and_up_to_its_size() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.book(bids={"0.49": "10"}, asks={"0.50": "4"})
    assert bench.fills(order) == [("0.51", "4")]
    assert bench.answers(order, FillMatched)[0].fee == 0
    bench.book(bids={"0.49": "10"}, asks={"0.50": "4"})
    assert bench.fills(order) == [("0.51", "4")]


def test_what_a_crossing_ask_sold_us_no_taker_gets_again() -> None:
    bench = a_bench()
    bench.rest("0.51", "10")
    bench.book(bids={"0.49": "10"}, asks={"0.50": "14"})
    assert bench.fills(bench.take("0.50", "10")) == [("0.5", "4")]


def test_a_trade_and_the_ask_its_remainder_leaves_are_two_different_sizes() -> None:
    """A seller of 60 at 0.50 or better takes 40 that stood before us, then 10 from us; his last 10 are offered."""
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.trade(SELL, "0.50", "40")
    assert bench.fills(order) == []
    bench.book(bids={"0.49": "100"}, asks={"0.50": "20"})
    assert bench.fills(order) == [("0.5", "10")]


def test_an_order_that_rested_while_nobody_knew_the_book_pays_as_a_taker_for_what_was_there() -> None:
    bench = a_bench()
    bench.book(bids={"0.53": "10"}, asks={"0.52": "30"})  # crossed: contradicted
    order = bench.rest("0.52", "10")
    assert bench.fills(order) == []
    bench.book(bids={"0.50": "10"}, asks={"0.52": "30"})
    (fill,) = bench.answers(order, FillMatched)
    assert (fill.liquidity, fill.fee) == (Liquidity.TAKER, bench.market.fees.taker_fee(price("0.52"), fill.shares))


def test_a_post_only_order_in_that_place_is_taken_back() -> None:
    bench = a_bench()
    bench.wait(STEADY.book_age_ms_max + 1)
    order = bench.rest("0.51", "10", post_only=True)
    bench.book(bids={"0.49": "10"}, asks={"0.51": "30"})
    assert (bench.fills(order), bench.end(order)) == ([], "cancelled")


def test_a_contradicted_book_moves_nobody_up() -> None:
    bench = a_bench()
    order = bench.rest("0.50", "10")
    bench.book(bids={"0.60": "1"}, asks={"0.52": "30"})  # crossed, and without our level
    bench.book(bids={"0.50": "40"}, asks={"0.52": "30"})
    bench.trade(SELL, "0.50", "40")
    assert bench.fills(order) == []


def test_the_queue_is_the_longer_of_the_two_tokens_books() -> None:
    bench = Bench(a_market(quoted=(UP, DOWN)))
    bench.book(bids={"0.60": "40"}, asks={"0.62": "100"}, outcome=UP)
    bench.book(bids={"0.38": "100"}, asks={"0.41": "40"}, outcome=DOWN)  # late: shows nothing at 0.40
    order = bench.rest("0.60", "10")
    bench.book(bids={"0.38": "100"}, asks={"0.40": "40"}, outcome=DOWN)
    bench.trade(SELL, "0.60", "40")
    assert bench.fills(order) == []


def test_a_finer_grid_leaves_resting_orders_where_they_are() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.tick("0.001")
    bench.trade(SELL, "0.51", "10")
    assert bench.end(order) == "filled"


def test_a_coarser_grid_leaves_them_too_though_none_could_be_placed_there_now() -> None:
    """What the venue does here is not known; leaving them costs us the queue and nobody a cent."""
    bench = a_bench(market=a_market(tick=price("0.001")))
    order = bench.rest("0.505", "10")
    bench.tick("0.01")
    bench.trade(SELL, "0.505", "10")
    assert bench.end(order) == "filled"


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_cancelled_order_is_out_of_the_queue_and_its_reservation_gone() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.cancel(order)
    bench.wait(LATENCY_MS)
    bench.trade(SELL, "0.51", "10")
    assert (bench.fills(order), bench.end(order)) == ([], "cancelled")
    assert bench.state.account.reserved == {}


def test_a_fill_while_the_cancel_travels_stands() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.cancel(order)
    bench.trade(SELL, "0.51", "4")
    bench.wait(LATENCY_MS)
    assert (bench.fills(order), bench.end(order)) == ([("0.51", "4")], "cancelled")


def test_a_cancel_for_an_order_that_is_over_says_nothing() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.trade(SELL, "0.51", "10")
    said = len(bench.replies)
    bench.cancel(order)
    bench.cancel(OrderId("nobody-000001"))
    assert bench.wait(1_000) == []
    assert len(bench.replies) == said


def test_an_order_still_open_at_the_windows_end_ends_with_it() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10")
    bench.wait_until(START + 900_000)
    assert bench.end(order) == "market_ended"


def test_an_order_that_expires_at_the_very_moment_of_a_trade_is_not_filled() -> None:
    bench = a_bench()
    order = bench.rest("0.51", "10", tif=GTD, expires_at=Millis(START + 200_000))
    bench.now = Millis(START + 200_000)
    bench.trade(SELL, "0.51", "10")
    assert (bench.fills(order), bench.end(order)) == ([], "expired")


def test_an_outcome_that_is_known_before_the_window_ends_closes_what_is_open() -> None:
    bench = a_bench()
    resting = bench.rest("0.51", "10")
    held = bench.place("0.52", "10")
    bench.wait(LATENCY_MS)
    bench.resolve("1")
    bench.wait(1_000)
    assert (bench.end(resting), bench.end(held)) == ("market_ended", "market_ended")
    assert bench.spent == 0
    assert not bench.state.resting
    assert not bench.state.used


def test_the_agenda_does_not_grow_with_orders_that_are_over() -> None:
    bench = a_bench()
    for _ in range(1_000):
        order = bench.place("0.40", "5", tif=GTD, expires_at=Millis(bench.now + 300_000))
        bench.wait(LATENCY_MS)
        bench.cancel(order)
        bench.wait(LATENCY_MS)
    assert bench.state.orders == {}
    assert len(bench.state.agenda) < 300
