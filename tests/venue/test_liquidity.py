"""One pool seen from two tokens, and what is left of it after us."""

import pytest

from polybot.domain.market import Outcome, Side
from polybot.domain.units import Shares
from polybot.venue.liquidity import UsedLiquidity, place_of, takeable
from tests.venue.builders import BUY, DOWN, SELL, UP, Bench, price, shares


def a_bench() -> Bench:
    bench = Bench()
    bench.book(bids={"0.50": "40"}, asks={"0.52": "30", "0.53": "50"})
    return bench


@pytest.mark.parametrize(
    ("outcome", "side", "at", "place"),
    [
        (UP, SELL, "0.60", 600_000),
        (UP, BUY, "0.60", -600_000),
        (DOWN, BUY, "0.40", 600_000),
        (DOWN, SELL, "0.40", -600_000),
    ],
)
def test_a_place_is_named_as_it_stands_in_ups_book(outcome: Outcome, side: Side, at: str, place: int) -> None:
    assert place_of(outcome, side, price(at)) == place


def test_levels_come_best_first_and_end_at_the_limit() -> None:
    found = list(takeable(a_bench().market_state, UsedLiquidity(), UP, BUY, price("0.52")))
    assert found == [(price("0.52"), shares("30"), 520_000)]


def test_down_is_offered_what_bids_for_up() -> None:
    found = list(takeable(a_bench().market_state, UsedLiquidity(), DOWN, BUY, price("0.99")))
    assert found == [(price("0.50"), shares("40"), -500_000)]


def test_what_was_taken_is_missing_and_a_level_taken_whole_is_passed_over() -> None:
    used = UsedLiquidity({520_000: shares("30"), 530_000: shares("1.5")})
    found = list(takeable(a_bench().market_state, used, UP, BUY, price("0.99")))
    assert found == [(price("0.53"), shares("48.5"), 530_000)]


def test_a_level_that_shrank_below_what_was_taken_has_nothing_left() -> None:
    assert UsedLiquidity({520_000: shares("30")}).left(520_000, shares("20")) == Shares(0)


def test_only_a_level_that_is_gone_is_forgotten() -> None:
    used = UsedLiquidity({520_000: shares("30"), 510_000: shares("1"), -500_000: shares("2")})
    used.refresh(a_bench().market_state.books)
    assert used.taken.keys() == {520_000, -500_000}
