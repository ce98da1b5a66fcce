"""A taker against the paper venue: held first, then the book as it then is, level by level, once."""

import pytest

from polybot.domain.events import CancelRefused, FillMatched, Liquidity, OrderAccepted, OrderClosed
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis
from polybot.venue.fill_models import VenueModel
from tests.venue.builders import (
    BUY,
    CONFIRM_MS,
    DELAY_MS,
    DOWN,
    FAK,
    FOK,
    GTC,
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
    bench.book(bids={"0.50": "40", "0.49": "100"}, asks={"0.52": "30", "0.53": "50", "0.60": "500"})
    return bench


def holding(size: str = "30") -> Bench:
    """A bench that has bought so many Up shares at 0.52 and had them confirmed."""
    bench = a_bench()
    bench.take("0.52", size)
    bench.wait(CONFIRM_MS)
    return bench


def test_the_order_that_was_checked_on_chain_costs_what_it_cost_there() -> None:
    bench = Bench()
    bench.book(bids={"0.35": "500"}, asks={"0.36": "500"})
    order = bench.take("0.36", "108")
    (fill,) = bench.answers(order, FillMatched)
    assert (fill.price, fill.shares, fill.fee) == (price("0.36"), 108_000_000, money("1.741820"))
    assert bench.spent == money("38.88") + money("1.74182")


def test_each_level_is_paid_at_its_own_price_so_that_improvement_goes_to_the_taker() -> None:
    bench = a_bench()
    order = bench.take("0.60", "100")
    assert bench.fills(order) == [("0.52", "30"), ("0.53", "50"), ("0.6", "20")]
    assert bench.end(order) == "filled"


def test_no_level_beyond_the_limit_is_touched() -> None:
    bench = a_bench()
    order = bench.take("0.53", "100")
    assert bench.fills(order) == [("0.52", "30"), ("0.53", "50")]


def test_what_a_fill_and_kill_order_does_not_get_is_killed() -> None:
    bench = a_bench()
    assert bench.end(bench.take("0.53", "100", tif=FAK)) == "killed"


def test_a_fill_and_kill_order_that_meets_nobody_is_killed_at_once_and_not_held() -> None:
    bench = a_bench()
    order = bench.place("0.51", "10", tif=FAK)
    bench.wait(LATENCY_MS)
    assert (bench.fills(order), bench.end(order)) == ([], "killed")


def test_a_fill_or_kill_order_is_filled_whole() -> None:
    bench = a_bench()
    order = bench.take("0.53", "80", tif=FOK)
    assert (bench.fills(order), bench.end(order)) == ([("0.52", "30"), ("0.53", "50")], "filled")


def test_a_fill_or_kill_order_one_lot_too_large_takes_nothing_and_leaves_all_of_it_there() -> None:
    bench = a_bench()
    killed = bench.take("0.53", "80.01", tif=FOK)
    assert (bench.fills(killed), bench.end(killed), bench.spent) == ([], "killed", 0)
    assert bench.fills(bench.take("0.53", "80", tif=FOK)) == [("0.52", "30"), ("0.53", "50")]


def test_what_a_good_till_cancelled_order_does_not_get_rests_at_its_limit() -> None:
    bench = a_bench()
    order = bench.take("0.53", "100", tif=GTC)
    assert bench.end(order) is None
    assert [(r.order, r.left) for r in bench.state.resting[bench.market.id]] == [(order, 20_000_000)]


def test_a_remainder_below_the_minimum_size_rests_all_the_same() -> None:
    bench = a_bench()
    order = bench.take("0.53", "81", tif=GTC)
    assert bench.end(order) is None
    bench.trade(SELL, "0.52", "10")
    assert bench.fills(order)[-1] == ("0.53", "1")


def test_a_marketable_order_is_held_for_the_markets_delay() -> None:
    bench = a_bench()
    order = bench.place("0.52", "10")
    bench.wait(LATENCY_MS + DELAY_MS - 1)
    assert bench.answers(order, OrderAccepted)
    assert not bench.fills(order)
    bench.wait(1)
    assert bench.fills(order) == [("0.52", "10")]


def test_a_market_without_delay_matches_on_arrival() -> None:
    bench = a_bench(market=a_market(taker_delay_ms=0))
    order = bench.place("0.52", "10")
    bench.wait(LATENCY_MS)
    assert bench.end(order) == "filled"


def test_after_the_hold_the_book_is_walked_as_it_then_is() -> None:
    bench = a_bench()
    order = bench.place("0.53", "10")
    bench.wait(LATENCY_MS)
    bench.book(bids={"0.50": "40"}, asks={"0.53": "4", "0.54": "100"})
    bench.wait(DELAY_MS)
    assert bench.fills(order) == [("0.53", "4")]


def test_a_held_order_cannot_be_cancelled() -> None:
    bench = a_bench()
    order = bench.place("0.52", "10")
    bench.cancel(order)
    bench.wait(LATENCY_MS + DELAY_MS)
    assert [refused.text for refused in bench.answers(order, CancelRefused)] == [
        "order is pending and cannot be canceled"
    ]
    assert bench.end(order) == "filled"


def test_a_cancel_that_overtakes_its_order_finds_nothing_and_the_order_lives() -> None:
    name = OrderId("tester-000001")
    models = (VenueModel(seed=seed) for seed in range(50))
    model = next(model for model in models if model.latency_ms(name, "cancel") < model.latency_ms(name, "place"))
    bench = a_bench(model=model)
    order = bench.place("0.40", "10", tif=GTC)
    bench.cancel(order)
    bench.wait(5_000)
    assert [refused.text for refused in bench.answers(order, CancelRefused)] == ["order not found"]
    assert bench.end(order) is None


def test_a_grid_that_changed_during_the_hold_ends_the_order() -> None:
    bench = Bench(a_market(tick=price("0.001")))
    bench.book(bids={"0.95": "40"}, asks={"0.965": "30"})
    order = bench.place("0.965", "10")
    bench.wait(LATENCY_MS)
    bench.tick("0.01")
    bench.wait(DELAY_MS)
    assert (bench.fills(order), bench.end(order)) == ([], "cancelled")


def test_what_was_taken_is_not_sold_again() -> None:
    bench = a_bench()
    bench.take("0.52", "20")
    assert bench.fills(bench.take("0.52", "20")) == [("0.52", "10")]
    assert bench.fills(bench.take("0.52", "20")) == []


def test_a_level_that_grows_offers_only_what_is_new() -> None:
    bench = a_bench()
    bench.take("0.52", "30")
    bench.level(SELL, "0.52", "37")
    assert bench.fills(bench.take("0.52", "20")) == [("0.52", "7")]


def test_a_snapshot_of_the_same_level_does_not_bring_back_what_was_taken() -> None:
    bench = a_bench()
    bench.take("0.52", "30")
    bench.book(bids={"0.50": "40"}, asks={"0.52": "30"})
    assert bench.fills(bench.take("0.52", "20")) == []


def test_a_level_that_went_and_came_back_is_new() -> None:
    bench = a_bench()
    bench.take("0.52", "30")
    bench.level(SELL, "0.52", "0")
    bench.level(SELL, "0.52", "30")
    assert bench.fills(bench.take("0.52", "20")) == [("0.52", "20")]


def test_a_level_gone_from_one_outcomes_book_only_is_not_yet_new() -> None:
    bench = Bench(a_market(quoted=(UP, DOWN)))
    bench.book(bids={"0.60": "100"}, asks={"0.62": "100"}, outcome=UP)
    bench.book(bids={"0.38": "100"}, asks={"0.40": "100"}, outcome=DOWN)
    bench.take("0.40", "100", outcome=DOWN)
    bench.level(BUY, "0.60", "0", outcome=UP)  # Up's feed is first; Down's still shows what we took
    assert bench.fills(bench.take("0.40", "50", outcome=DOWN)) == []


@pytest.mark.parametrize("quoted", [(UP,), (UP, DOWN)])
def test_buying_down_takes_the_same_shares_as_selling_up(quoted: tuple[Outcome, ...]) -> None:
    bench = Bench(a_market(quoted=quoted))
    bench.book(bids={"0.60": "40"}, asks={"0.62": "25"})
    if len(quoted) == 2:
        bench.book(bids={"0.38": "25"}, asks={"0.40": "40"}, outcome=DOWN)
    bench.take("0.62", "20")
    bench.wait(CONFIRM_MS)
    assert bench.fills(bench.take("0.40", "30", outcome=DOWN)) == [("0.4", "30")]
    assert bench.fills(bench.take("0.60", "20", side=SELL)) == [("0.6", "10")]


@pytest.mark.parametrize("quoted", [(UP,), (UP, DOWN)])
def test_buying_up_takes_the_same_shares_as_selling_down(quoted: tuple[Outcome, ...]) -> None:
    bench = Bench(a_market(quoted=quoted))
    bench.book(bids={"0.60": "40"}, asks={"0.62": "25"})
    if len(quoted) == 2:
        bench.book(bids={"0.38": "25"}, asks={"0.40": "40"}, outcome=DOWN)
    bench.take("0.40", "20", outcome=DOWN)
    bench.wait(CONFIRM_MS)
    assert bench.fills(bench.take("0.62", "20")) == [("0.62", "20")]
    assert bench.fills(bench.take("0.38", "20", side=SELL, outcome=DOWN)) == [("0.38", "5")]


def test_a_seller_takes_the_bids_from_the_best_down_and_pays_the_fee_from_the_proceeds() -> None:
    bench = holding()
    before = bench.state.account.cash
    order = bench.take("0.49", "30", side=SELL)
    (fill,) = bench.answers(order, FillMatched)
    assert (fill.price, fill.liquidity) == (price("0.50"), Liquidity.TAKER)
    assert bench.state.account.cash - before == money("15") - fill.fee
    assert fill.fee == money("0.525")


def test_a_contradicted_book_offers_nothing() -> None:
    bench = a_bench()
    bench.level(SELL, "0.60", "10", best_bid=price("0.51"), best_ask=price("0.52"))  # our best bid is 0.50
    assert bench.fills(bench.take("0.52", "10")) == []


def test_a_book_nobody_spoke_of_for_too_long_offers_nothing() -> None:
    bench = a_bench()
    bench.wait(STEADY.book_age_ms_max)
    assert bench.fills(bench.take("0.52", "10")) == []


def test_the_dust_of_a_level_stays_where_it_is_and_every_fill_is_an_exact_amount() -> None:
    bench = Bench()
    bench.book(bids={}, asks={"0.55": "5.263157", "0.56": "100"})
    assert bench.fills(bench.take("0.56", "10")) == [("0.55", "5.26"), ("0.56", "4.74")]


def test_an_order_of_any_size_gets_no_more_than_there_is() -> None:
    bench = a_bench(cash="1000000000000")
    order = bench.take("0.99", "1000000000000", tif=FAK)
    assert bench.fills(order) == [("0.52", "30"), ("0.53", "50"), ("0.6", "500")]


@pytest.mark.parametrize(("tick", "low", "high"), [("0.01", "0.01", "0.99"), ("0.001", "0.001", "0.999")])
def test_orders_trade_at_both_ends_of_the_grid(tick: str, low: str, high: str) -> None:
    bench = Bench(a_market(tick=price(tick)))
    bench.book(bids={}, asks={high: "10"})
    assert bench.fills(bench.take(high, "10")) == [(high, "10")]
    bench.book(bids={}, asks={low: "2000"})
    assert bench.fills(bench.take(low, "1500")) == [(low, "1500")]


def test_an_order_that_is_sent_twice_is_one_order() -> None:
    bench = a_bench()
    order = bench.place("0.52", "10", tif=GTC)
    bench.venue.submit(bench.state.travelling[order], bench.now)
    bench.wait(1_000)
    assert bench.fills(order) == [("0.52", "10")]
    assert len(bench.answers(order, OrderAccepted)) == 1


def test_an_order_for_a_market_nobody_listed_finds_no_book() -> None:
    bench = a_bench()
    order = bench.take("0.52", "10", market=MarketId("nowhere"))
    assert bench.end(order) == "No orderbook exists for the requested token id"


def test_the_hold_can_outlast_the_market_and_then_nothing_is_matched() -> None:
    bench = Bench()
    bench.wait_until(bench.market.window_end - LATENCY_MS - 50)
    bench.book(bids={"0.50": "40"}, asks={"0.52": "30"})
    order = bench.place("0.52", "10", tif=GTC)
    bench.wait(1_000)
    assert (bench.fills(order), bench.end(order)) == ([], "market_ended")
    assert bench.answers(order, OrderClosed)[0].at == bench.market.window_end


def test_replies_are_dated_when_things_happened_not_when_somebody_looked() -> None:
    bench = a_bench()
    order = bench.place("0.52", "10")
    bench.wait(10_000)
    assert bench.answers(order, OrderAccepted)[0].at == START + LATENCY_MS
    assert bench.answers(order, FillMatched)[0].at == START + LATENCY_MS + DELAY_MS


def test_a_clock_that_jumps_back_does_not_date_a_reply_before_the_last_one() -> None:
    bench = a_bench()
    first = bench.take("0.52", "10")
    bench.now = Millis(bench.now - 5_000)
    second = bench.place("0.40", "10", tif=GTC)
    bench.wait(10_000)
    assert bench.answers(second, OrderAccepted)[0].at >= bench.answers(first, OrderClosed)[0].at
