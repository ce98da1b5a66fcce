"""What the venue refuses on arrival, in its own words (polymarket.md 5.4, 6.1, 6.5)."""

import pytest

from polybot.domain.events import FillMatched, OrderAccepted
from polybot.domain.order import TimeInForce
from polybot.domain.units import Millis
from tests.venue.builders import (
    CONFIRM_MS,
    DOWN,
    FAK,
    FOK,
    GTC,
    GTD,
    LATENCY_MS,
    SELL,
    START,
    Bench,
    a_market,
    money,
    price,
)

NO_ORDERBOOK = "No orderbook exists for the requested token id"
NO_BALANCE = "not enough balance / allowance"


def a_bench(**terms: object) -> Bench:
    bench = Bench(**terms)  # type: ignore[arg-type]
    bench.book(bids={"0.50": "400"}, asks={"0.52": "300"})
    return bench


def arrived(bench: Bench, limit: str, size: str, **terms: object) -> str | None:
    """The venue's refusal, or None if it took the order."""
    order = bench.place(limit, size, **terms)
    bench.wait(LATENCY_MS)
    return None if bench.answers(order, OrderAccepted) else bench.end(order)


# -- price ------------------------------------------------------------------------------------------------------------


def test_a_price_off_the_grid_is_refused() -> None:
    expected = "order tester-000001 is invalid. Price (0.515) breaks minimum tick size rule: 0.01"
    assert arrived(a_bench(), "0.515", "10") == expected


@pytest.mark.parametrize("limit", ["0", "1", "0.001", "0.999"])
def test_a_price_beyond_the_grids_ends_is_refused(limit: str) -> None:
    assert "breaks minimum tick size rule: 0.01" in (arrived(a_bench(), limit, "2000", tif=GTC) or "")


@pytest.mark.parametrize("limit", ["0.01", "0.99"])
def test_the_grids_ends_are_prices(limit: str) -> None:
    assert arrived(a_bench(), limit, "100", tif=GTC) is None


@pytest.mark.parametrize(("best", "between"), [("0.97", "0.965"), ("0.03", "0.035")])
def test_beyond_96_and_4_cents_the_grid_gets_finer_and_orders_may_use_it(best: str, between: str) -> None:
    bench = Bench()
    bench.book(bids={}, asks={best: "100"})
    assert "breaks minimum tick size rule: 0.01" in (arrived(bench, between, "40") or "")
    bench.tick("0.001")
    assert arrived(bench, between, "40") is None


# -- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tif", [GTC, GTD])
def test_a_resting_order_below_five_shares_is_refused(tif: TimeInForce) -> None:
    bench = a_bench()
    expires_at = Millis(bench.now + 300_000) if tif is GTD else None
    expected = "order tester-000001 is invalid. Size (4.99) lower than the minimum: 5.00"
    assert arrived(bench, "0.40", "4.99", tif=tif, expires_at=expires_at) == expected
    assert arrived(bench, "0.40", "5", tif=tif, expires_at=expires_at) is None


@pytest.mark.parametrize("tif", [FAK, FOK])
def test_an_order_that_never_rests_may_be_smaller(tif: TimeInForce) -> None:
    assert arrived(a_bench(), "0.52", "2", tif=tif) is None


def test_a_marketable_buy_of_less_than_a_dollar_is_refused() -> None:
    expected = "invalid amount for a marketable BUY order ($0.9984), min size: $1"
    assert arrived(a_bench(), "0.52", "1.92") == expected
    assert arrived(a_bench(), "0.52", "1.93") is None


def test_a_buy_of_less_than_a_dollar_may_rest() -> None:
    assert arrived(a_bench(), "0.10", "5", tif=GTC) is None


def test_a_small_sale_is_no_marketable_buy() -> None:
    bench = a_bench()
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    assert arrived(bench, "0.50", "1", side=SELL) is None


@pytest.mark.parametrize("size", ["10.001", "0", "-5"])
def test_a_size_that_is_not_in_whole_lots_is_no_order(size: str) -> None:
    assert arrived(a_bench(), "0.52", size) == "Invalid order payload"


# -- terms ------------------------------------------------------------------------------------------------------------


def test_a_good_till_date_order_needs_two_minutes_of_effective_life_on_arrival() -> None:
    # `expiration` >= now + 180 s, and the order dies 60 s before it
    bench = a_bench()
    arrival = bench.now + LATENCY_MS
    assert arrived(bench, "0.40", "10", tif=GTD, expires_at=Millis(arrival + 119_999)) == "invalid expiration"
    bench = a_bench()
    assert arrived(bench, "0.40", "10", tif=GTD, expires_at=Millis(arrival + 120_000)) is None


def test_a_good_till_date_order_dies_at_its_effective_end() -> None:
    bench = a_bench()
    order = bench.rest("0.40", "10", tif=GTD, expires_at=Millis(START + 130_000))
    bench.wait_until(START + 129_999)
    assert bench.end(order) is None
    bench.wait(1)
    assert bench.end(order) == "expired"


def test_a_good_till_date_order_without_a_date_and_a_date_without_such_an_order_are_refused() -> None:
    assert arrived(a_bench(), "0.40", "10", tif=GTD) == "invalid expiration"
    assert arrived(a_bench(), "0.40", "10", tif=GTC, expires_at=Millis(START + 300_000)) == "invalid expiration"


@pytest.mark.parametrize("limit", ["0.52", "0.53"])
def test_a_post_only_order_that_crosses_is_refused_not_repriced(limit: str) -> None:
    refusal = arrived(a_bench(), limit, "10", tif=GTC, post_only=True)
    assert refusal == "invalid post-only order: order crosses book"


def test_a_post_only_order_below_the_ask_rests() -> None:
    assert arrived(a_bench(), "0.51", "10", tif=GTC, post_only=True) is None


def test_a_post_only_order_must_be_able_to_rest() -> None:
    assert arrived(a_bench(), "0.40", "10", tif=FAK, post_only=True) == "Invalid order payload"


# -- balance ----------------------------------------------------------------------------------------------------------


def test_an_order_that_could_cost_more_than_there_is_is_refused_fee_included() -> None:
    assert arrived(a_bench(cash="5.2"), "0.52", "10") == NO_BALANCE
    assert arrived(a_bench(cash="5.4"), "0.52", "10") is None


def test_open_orders_hold_their_money_back() -> None:
    bench = a_bench(cash="10")
    assert arrived(bench, "0.40", "20", tif=GTC) is None
    assert arrived(bench, "0.40", "20", tif=GTC) == NO_BALANCE


def test_a_cancelled_orders_money_is_free_again() -> None:
    bench = a_bench(cash="10")
    order = bench.rest("0.40", "20")
    bench.cancel(order)
    bench.wait(LATENCY_MS)
    assert arrived(bench, "0.40", "20", tif=GTC) is None


def test_nobody_sells_what_he_does_not_have() -> None:
    bench = a_bench()
    assert arrived(bench, "0.50", "10", side=SELL) == NO_BALANCE
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    assert arrived(bench, "0.50", "10", side=SELL, outcome=DOWN) == NO_BALANCE
    assert arrived(bench, "0.60", "6", side=SELL, tif=GTC) is None
    assert arrived(bench, "0.60", "6", side=SELL, tif=GTC) == NO_BALANCE


def test_shares_of_a_fill_that_may_yet_fail_cannot_be_sold() -> None:
    bench = a_bench()
    bench.take("0.52", "10")
    assert arrived(bench, "0.50", "10", side=SELL) == NO_BALANCE
    bench.wait(CONFIRM_MS)
    assert arrived(bench, "0.50", "10", side=SELL) is None


def test_proceeds_of_a_sale_that_may_yet_fail_cannot_be_spent() -> None:
    bench = a_bench(cash="5.4")
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    sale = bench.take("0.50", "10", side=SELL)
    assert bench.answers(sale, FillMatched)[0].fee == money("0.175")
    assert arrived(bench, "0.30", "10", tif=GTC) == NO_BALANCE
    bench.wait(CONFIRM_MS)
    assert arrived(bench, "0.30", "10", tif=GTC) is None


# -- the market -------------------------------------------------------------------------------------------------------


def test_at_the_windows_end_there_is_no_book_any_more() -> None:
    bench = a_bench()
    bench.wait_until(bench.market.window_end - LATENCY_MS)
    assert arrived(bench, "0.40", "10", tif=GTC) == NO_ORDERBOOK


def test_a_market_whose_outcome_is_known_has_no_book_even_before_its_end() -> None:
    bench = a_bench()
    bench.resolve("1")
    assert arrived(bench, "0.52", "10") == NO_ORDERBOOK


def test_before_the_window_starts_the_market_trades_already() -> None:
    later = a_market(window_start=Millis(START + 3_600_000), window_end=Millis(START + 4_500_000))
    assert arrived(a_bench(market=later), "0.52", "10") is None


def test_the_grids_own_terms_come_from_the_market() -> None:
    fine = a_market(tick=price("0.0025"), size_min=price("20"))
    assert arrived(a_bench(market=fine), "0.5025", "20", tif=GTC) is None
    assert "minimum: 20.00" in (arrived(a_bench(market=fine), "0.5025", "19.99", tif=GTC) or "")
