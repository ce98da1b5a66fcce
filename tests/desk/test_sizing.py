"""From an opinion to an order's terms: what is left of the edge, how far a taker reaches, how much the budget buys."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.desk.sizing import Execution, NoPlan, Plan, Style, make_plan, shares_within
from polybot.domain.book import Book
from polybot.domain.errors import BadInput
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.market import Outcome
from polybot.domain.order import TimeInForce
from polybot.domain.units import LOT, UNIT, Millis, Money, Price, Shares
from tests.builders import wants
from tests.facts import FEES, a_market, money, price, shares

NOW = Millis(1_000_000)


def a_book(bid: str | None = "0.50", ask: str | None = "0.52") -> Book:
    up = Book(Outcome.UP)
    bids = ([price(bid)], [shares("100")]) if bid else ([], [])
    asks = ([price(ask)], [shares("100")]) if ask else ([], [])
    up.replace(bids, asks, NOW, NOW)
    return up


def plan(
    fair: str, *, budget: str = "20", bid: str | None = "0.50", ask: str | None = "0.52", **terms
) -> Plan | NoPlan:
    return make_plan(
        wants(fair=fair), a_book(bid, ask), a_market(), execution=Execution(**terms), budget=money(budget), now=NOW
    )


def test_a_taker_needs_an_ask():
    assert plan("0.70", ask=None) == NoPlan(code="no_ask", value=0, threshold=1)


def test_a_maker_needs_a_bid_to_join():
    assert plan("0.70", bid=None, style=Style.MAKER) == NoPlan(code="no_bid", value=0, threshold=1)


@pytest.mark.parametrize("how", [{"style": Style.MAKER}, {"slippage_ticks": 0}], ids=["maker", "taker"])
def test_a_price_below_the_tick_we_know_of_is_no_price_to_order_at(how):
    """Down to the tick it would be nothing a share, and any number of shares for the money: the floor hung on it."""
    assert plan("0.70", bid="0.002", ask="0.004", **how) == NoPlan(
        code="price_below_tick", value=0.002 if "style" in how else 0.004, threshold=0.01
    )


def test_the_edge_is_what_is_left_after_price_and_fee():
    """0.57 less 0.52 less a fee of 0.07 * 0.52 * 0.48 = 0.01747 a share leaves 0.03253."""
    missed = plan("0.57", edge_min=price("0.04"))
    assert missed == NoPlan(code="edge_too_small", value=0.03253, threshold=0.04)
    assert isinstance(plan("0.57", edge_min=price("0.03253"), slippage_ticks=0), Plan)


def test_an_edge_of_nothing_is_no_edge_even_when_none_is_asked_for():
    assert isinstance(plan("0.52", bid="0.52", style=Style.MAKER), NoPlan)


def test_a_maker_pays_no_fee_joins_the_best_bid_and_rests_for_its_time():
    terms = plan("0.52", style=Style.MAKER, edge_min=price("0.02"), rest_s=200)
    assert isinstance(terms, Plan)
    assert (terms.limit, terms.post_only, terms.time_in_force) == (price("0.50"), True, TimeInForce.GTD)
    assert terms.expires_at == NOW + 200_000


@pytest.mark.parametrize(("ticks", "limit"), [(0, "0.52"), (1, "0.53"), (3, "0.55")])
def test_a_taker_reaches_so_many_ticks_above_the_best_ask(ticks, limit):
    terms = plan("0.90", slippage_ticks=ticks)
    assert isinstance(terms, Plan)
    assert terms.limit == price(limit)
    assert terms.expires_at is None


def test_it_reaches_no_further_than_the_edge_allows():
    terms = plan("0.57", edge_min=price("0.02"), slippage_ticks=5)
    assert isinstance(terms, Plan)
    assert terms.limit == price("0.53")


@given(st.integers(2, 97), st.integers(1, 999_999), st.integers(0, 100_000), st.integers(0, 100))
def test_the_edge_asked_for_is_left_at_the_limit_too(ask_cents, fair, edge_min, ticks):
    book = a_book(None, f"0.{ask_cents:02d}")
    signal = msgspec.structs.replace(wants(), fair_value=Price(fair))
    market = a_market()
    execution = Execution(edge_min=Price(edge_min), slippage_ticks=ticks)
    terms = make_plan(signal, book, market, execution=execution, budget=money("20"), now=NOW)
    if isinstance(terms, Plan):
        assert terms.limit % market.tick == 0
        assert terms.limit <= price(f"0.{ask_cents:02d}") + ticks * market.tick
        assert fair - terms.limit - market.fees.taker_fee(terms.limit, Shares(UNIT)) >= edge_min


def test_a_budget_too_small_for_the_markets_minimum_buys_nothing():
    missed = plan("0.90", budget="2")
    assert isinstance(missed, NoPlan)
    assert (missed.code, missed.threshold) == ("budget_too_small", 5)
    assert missed.value < 5


@given(
    st.integers(0, 500_000_000),
    st.integers(1, 999).map(lambda tenths: Price(tenths * 1_000)),
    st.sampled_from([FEES, NO_FEES, FeeSchedule(rate=1_000_000), FeeSchedule(rate=250_000, exponent=2)]),
)
def test_the_shares_are_the_most_whose_worst_cost_fits_the_budget(budget, limit, fees):
    market = msgspec.structs.replace(a_market(), fees=fees)
    bought = shares_within(Money(budget), limit, market)
    assert bought >= 0
    assert bought % LOT == 0
    assert bought == 0 or fees.buy_cost_max(limit, bought) <= budget
    assert fees.buy_cost_max(limit, Shares(bought + LOT)) > budget


def test_nothing_is_bought_with_less_than_nothing():
    assert shares_within(Money(-1), price("0.5"), a_market()) == 0


def test_sizing_a_large_order_of_cheap_shares_takes_no_time():
    began = time.perf_counter()
    shares_within(money("20000"), price("0.001"), a_market())
    assert time.perf_counter() - began < 0.05


def test_shares_that_cost_nothing_are_not_counted_without_an_end():
    """At no price at all any number of shares would fit the budget."""
    began = time.perf_counter()
    assert shares_within(money("20"), Price(0), a_market()) == 0
    assert time.perf_counter() - began < 0.05


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"orders_per_window": 0}, "orders_per_window"),
        ({"slippage_ticks": 101}, "slippage_ticks"),
        ({"time_in_force": TimeInForce.GTD}, "maker"),
        ({"rest_s": 124}, "rest_s"),
    ],
)
def test_terms_no_venue_takes_are_refused(terms, words):
    with pytest.raises(BadInput, match=words):
        Execution(**terms)
