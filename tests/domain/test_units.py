"""Money is integers of a millionth, read and written without a digit lost, rounded only where the name says how."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.domain.units import (
    LOT,
    UNIT,
    Price,
    Shares,
    ceil_to_tick,
    complement,
    floor_to_lot,
    floor_to_tick,
    format_units,
    notional_ceil,
    notional_floor,
    parse_units,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.51", 510_000),
        ("1", UNIT),
        ("-0.000001", -1),
        (".5", 500_000),
        ("219.217767", 219_217_767),
        ("0.10000000", 100_000),
    ],
)
def test_decimal_text_is_read_exactly(text: str, value: int) -> None:
    assert parse_units(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", ".", "1.", "+1", "--1", "1e5", "nan", " 1", "1_000", "0.0000001", "１", "٣", "9" * 5_000]
)
def test_what_is_no_decimal_number_of_six_places_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_units(text)


@given(st.integers(-(10**18), 10**18), st.integers(0, 6))
def test_what_is_written_is_read_back_the_same(value: int, places: int) -> None:
    assert parse_units(format_units(value, places)) == value


def test_amounts_are_written_with_two_places_or_as_many_as_they_have() -> None:
    assert [format_units(v) for v in (1_741_820, 20_000_000, -10, 0)] == ["1.74182", "20.00", "-0.00001", "0.00"]


@given(st.integers(1, UNIT - 1), st.integers(0, 10**15))
def test_a_buyer_rounds_up_and_a_seller_down_and_never_by_more_than_a_millionth(price: int, shares: int) -> None:
    up, down = notional_ceil(Price(price), Shares(shares)), notional_floor(Price(price), Shares(shares))
    assert down * UNIT <= price * shares <= up * UNIT
    assert up - down <= 1


@given(st.sampled_from([100, 1_000, 2_500, 5_000, 10_000]), st.integers(1, 99), st.integers(1, 10**6))
def test_a_price_on_the_venues_grids_times_whole_lots_is_exact_money(tick: int, steps: int, lots: int) -> None:
    price, shares = Price(tick * steps), Shares(lots * LOT)
    assert notional_ceil(price, shares) == notional_floor(price, shares)


@given(st.integers(0, UNIT), st.sampled_from([100, 1_000, 10_000, 100_000]))
def test_the_grid_is_reached_from_below_and_from_above(price: int, tick: int) -> None:
    low, high = floor_to_tick(price, Price(tick)), ceil_to_tick(price, Price(tick))
    assert low <= price <= high
    assert low % tick == high % tick == 0
    assert high - low in (0, tick)


@given(st.integers(0, 10**15))
def test_a_size_in_lots_is_the_largest_not_above(shares: int) -> None:
    assert 0 <= shares - floor_to_lot(shares) < LOT


@given(st.integers(0, UNIT))
def test_the_other_outcomes_price_of_the_other_outcomes_price_is_the_price(price: int) -> None:
    assert complement(complement(Price(price))) == price
