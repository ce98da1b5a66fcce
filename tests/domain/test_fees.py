"""The fee schedule against every worked example there is (polymarket.md 5.5, evidence.md 2a)."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.domain.fees import FEE_STEP, NO_FEES, WALK_LEVELS_MAX, FeeSchedule
from polybot.domain.units import LOT, UNIT, Price, Shares, notional_ceil
from tests.venue.builders import FEES, money, price, shares

LAUNCH = FeeSchedule(rate=250_000, exponent=2)
STRUCTURE_V2 = FeeSchedule(rate=72_000)

schedules = st.builds(FeeSchedule, rate=st.integers(0, UNIT), exponent=st.integers(1, 4))
prices = st.integers(1, UNIT - 1).map(Price)
sizes = st.integers(1, 10**6).map(lambda lots: Shares(lots * LOT))


@pytest.mark.parametrize(
    ("at", "fee", "share_of_stake"),
    [
        ("0.50", "1.75", "3.50"),
        ("0.70", "1.47", "2.10"),
        ("0.90", "0.63", "0.70"),
        ("0.95", "0.33", "0.35"),
        ("0.99", "0.07", "0.07"),
    ],
)
def test_the_venues_own_table_per_hundred_shares(at: str, fee: str, share_of_stake: str) -> None:
    charged = FEES.taker_fee(price(at), shares("100"))
    assert round(Fraction(charged, UNIT), 2) == Fraction(fee)
    assert round(Fraction(charged, notional_ceil(price(at), shares("100"))) * 100, 2) == Fraction(share_of_stake)


@pytest.mark.parametrize(
    ("at", "fee", "break_even"),
    [
        ("0.50", "0.0175", "0.5175"),
        ("0.60", "0.0168", "0.6168"),
        ("0.70", "0.0147", "0.7147"),
        ("0.80", "0.0112", "0.8112"),
        ("0.90", "0.0063", "0.9063"),
        ("0.95", "0.0033", "0.9533"),
    ],
)
def test_the_hurdle_of_one_share(at: str, fee: str, break_even: str) -> None:
    charged = FEES.taker_fee(price(at), shares("100"))  # per hundred, so that 5 decimals do not hide the fourth
    assert round(Fraction(charged, 100 * UNIT), 4) == Fraction(fee)
    assert round(Fraction(price(at) * 100 + charged, 100 * UNIT), 4) == Fraction(break_even)


def test_the_fill_that_was_checked_on_chain() -> None:
    assert FEES.taker_fee(price("0.36"), shares("108")) == money("1.741820")


@pytest.mark.parametrize(
    ("schedule", "at", "fee_of_100"),
    [
        (NO_FEES, "0.50", "0"),  # until 2026-01-05
        (LAUNCH, "0.50", "1.5625"),  # 15m since 2026-01-05, 5m since 2026-02-12, all crypto since 2026-03-06: peak 1.56
        (LAUNCH, "0.90", "0.2025"),
        (STRUCTURE_V2, "0.50", "1.8"),  # as served in April 2026
        (FEES, "0.50", "1.75"),  # as served in September 2026
    ],
)
def test_each_schedule_in_the_crypto_markets_history(schedule: FeeSchedule, at: str, fee_of_100: str) -> None:
    assert schedule.taker_fee(price(at), shares("100")) == money(fee_of_100)


def test_a_fee_below_a_hundred_thousandth_is_none() -> None:
    assert FEES.taker_fee(price("0.01"), shares("0.01")) == 0


@given(schedules, prices, sizes)
def test_a_fee_is_the_formula_rounded_down_to_whole_steps(schedule: FeeSchedule, at: Price, size: Shares) -> None:
    exact = Fraction(size * schedule.rate, UNIT) * Fraction(at * (UNIT - at), UNIT * UNIT) ** schedule.exponent
    fee = schedule.taker_fee(at, size)
    assert fee % FEE_STEP == 0
    assert 0 <= exact - fee < FEE_STEP


@given(
    st.sampled_from([NO_FEES, FEES, LAUNCH, STRUCTURE_V2]),
    st.lists(st.tuples(st.integers(1, 99), sizes), min_size=1, max_size=WALK_LEVELS_MAX),
)
def test_no_walk_through_the_book_costs_more_than_was_reserved(
    schedule: FeeSchedule, levels: list[tuple[int, Shares]]
) -> None:
    cents = Price(10_000)
    limit = Price(cents * max(at for at, _ in levels))
    paid = sum(
        notional_ceil(Price(cents * at), size) + schedule.taker_fee(Price(cents * at), size) for at, size in levels
    )
    assert paid <= schedule.buy_cost_max(limit, Shares(sum(size for _, size in levels)))


@pytest.mark.parametrize(
    "terms",
    [
        {"rate": -1},
        {"rate": UNIT + 1},
        {"rate": 1, "exponent": 0},
        {"rate": 1, "exponent": 5},
        {"rate": 1, "rebate_rate": UNIT + 1},
    ],
)
def test_terms_nobody_understands_are_refused(terms: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        FeeSchedule(**terms)  # type: ignore[arg-type]


def test_the_fingerprint_tells_schedules_apart() -> None:
    prints = {s.fingerprint for s in (NO_FEES, LAUNCH, STRUCTURE_V2, FEES, FeeSchedule(rate=70_000))}
    assert len(prints) == 5
