"""The paper wallet: reservations, provisional fills, and their undoing, before the settlement and after it."""

import pytest

from polybot.domain.events import FillFailed, FillMatched
from polybot.domain.units import Price
from polybot.venue.account import SETTLED_MAX, Account
from polybot.venue.fill_models import VenueModel
from tests.venue.builders import (
    CONFIRM_MS,
    DELAY_MS,
    LATENCY_MS,
    MARKET,
    SELL,
    STEADY,
    Bench,
    money,
    shares,
)

GHOSTLY = VenueModel(latency_median_ms=LATENCY_MS, latency_spread=0.0, confirm_ms=CONFIRM_MS, ghost_fill_share=1.0)


def a_bench(**terms: object) -> Bench:
    bench = Bench(**terms)  # type: ignore[arg-type]
    bench.book(bids={"0.50": "40"}, asks={"0.52": "30"})
    return bench


def test_a_buy_reserves_its_worst_cost_and_lets_go_what_it_did_not_need() -> None:
    bench = a_bench()
    order = bench.place("0.60", "10")
    bench.wait(LATENCY_MS)
    assert bench.state.account.reserved[order] == bench.state.orders[order].intent.cost_max
    bench.wait(DELAY_MS)
    assert bench.state.account.reserved == {}
    assert bench.spent == money("5.2") + money("0.17472")


def test_a_partly_filled_order_reserves_the_rest() -> None:
    bench = a_bench()
    order = bench.rest("0.52", "50")
    (fill,) = bench.answers(order, FillMatched)
    paid = money("15.6") + fill.fee
    assert bench.state.account.reserved[order] == bench.state.orders[order].intent.cost_max - paid


def test_an_open_sale_reserves_its_shares() -> None:
    bench = a_bench()
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    order = bench.rest("0.60", "8", side=SELL)
    assert bench.state.account.reserved_shares == {order: shares("8")}


@pytest.mark.parametrize(("payout", "paid"), [("1", "10"), ("0", "0"), ("0.5", "5")])
def test_settlement_pays_what_the_venue_says(payout: str, paid: str) -> None:
    bench = a_bench()
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    before = bench.state.account.cash
    bench.resolve(payout)
    bench.resolve(payout)
    assert bench.state.account.cash - before == money(paid)
    assert bench.state.account.shares == {}


def test_a_failed_fill_leaves_no_trace_fee_included() -> None:
    bench = a_bench(model=GHOSTLY)
    order = bench.take("0.52", "10")
    assert bench.spent > 0
    bench.wait(CONFIRM_MS)
    assert bench.answers(order, FillFailed)
    assert bench.spent == 0
    assert bench.state.account.shares == bench.state.account.pending_shares == {}


def test_a_fill_that_fails_after_the_settlement_is_undone_too() -> None:
    bench = a_bench(model=GHOSTLY)
    bench.take("0.52", "10")
    bench.resolve("1")
    bench.wait(CONFIRM_MS)
    assert bench.spent == 0


def test_a_fill_confirmed_after_the_settlement_is_paid_then_and_not_before() -> None:
    bench = a_bench()
    order = bench.take("0.52", "10")
    (fill,) = bench.answers(order, FillMatched)
    bench.resolve("1")
    assert bench.spent == money("5.2") + fill.fee
    bench.wait(CONFIRM_MS)
    assert bench.spent == money("5.2") + fill.fee - money("10")


def test_a_sale_that_fails_after_the_settlement_brings_back_shares_that_are_paid() -> None:
    bench = a_bench()
    bench.take("0.52", "10")
    bench.wait(CONFIRM_MS)
    bench.take("0.50", "10", side=SELL)
    (sale,) = bench.state.unconfirmed.values()
    account = bench.state.account
    before = account.cash
    bench.resolve("1")
    account.undo(sale)
    assert account.cash == before - (money("5") - sale.fee) + money("10")
    assert account.shares == {}


def test_payouts_of_long_ago_are_forgotten() -> None:
    account = Account(cash=money("1"))
    for number in range(SETTLED_MAX + 5):
        account.settle(type(MARKET)(f"m{number}"), Price(0))
    assert len(account.settled) == SETTLED_MAX


def test_chance_is_drawn_per_order_and_not_by_what_was_drawn_before() -> None:
    model = VenueModel(seed=7, ghost_fill_share=0.5)
    names = [f"a-{n:06d}" for n in range(50)]
    forwards = {n: (model.latency_ms(n, "place"), model.fails_on_chain(n)) for n in names}  # type: ignore[arg-type]
    backwards = {n: (model.latency_ms(n, "place"), model.fails_on_chain(n)) for n in reversed(names)}  # type: ignore[arg-type]
    assert forwards == backwards
    assert len({latency for latency, _ in forwards.values()}) > 10
    assert {fails for _, fails in forwards.values()} == {True, False}


def test_another_seed_another_world() -> None:
    assert STEADY.latency_ms("a-000001", "place") == LATENCY_MS  # type: ignore[arg-type]
    drawn = {VenueModel(seed=seed).latency_ms("a-000001", "place") for seed in range(20)}  # type: ignore[arg-type]
    assert len(drawn) > 5
