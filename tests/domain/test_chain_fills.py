"""What the exchange really paid and charged: taker fills read from Polygon's logs.

Source: `OrderFilled` events of the CTF Exchange V2 (standard and neg risk), 2026-09-24 to 2026-09-30, as published with
the tests of nautechsystems/nautilus_trader (crates/adapters/polymarket/test_data/chain_order_filled_taker_fees.json and
the note on its source beside it); price and rate from the account's trades and the markets' `feeSchedule`. The figures
are facts of the chain; rate 0.07 is that of crypto markets.
"""

import pytest

from polybot.domain.fees import FeeSchedule
from polybot.domain.units import Money, Shares, notional_floor, parse_units
from tests.venue.builders import price

BUYS = [  # shares, price, pUSD paid, fee, rate; amounts in millionths
    (7_575_758, "0.66", 5_000_000, 85_000, "0.05"),
    (7_042_251, "0.71", 4_999_998, 72_490, "0.05"),
    (21_126_758, "0.71", 14_999_998, 217_490, "0.05"),
    (1_219_511, "0.82", 999_999, 12_590, "0.07"),
    (2_083_334, "0.48", 1_000_000, 36_400, "0.07"),
    (5_952_381, "0.84", 5_000_000, 0, "0"),
    (8_928_572, "0.56", 5_000_000, 110_000, "0.05"),
    (5_149_310, "0.971", 4_999_980, 10_140, "0.07"),
    (9_321_429, "0.56", 5_220_000, 114_840, "0.05"),
]
SALES = [
    (7_570_000, "0.65", 4_920_500, 86_100, "0.05"),
    (7_590_000, "0.66", 5_009_400, 85_150, "0.05"),
    (5_000_000, "0.31", 1_550_000, 53_470, "0.05"),
    (5_000_000, "0.67", 3_350_000, 55_270, "0.05"),
    (5_000_000, "0.27", 1_350_000, 49_270, "0.05"),
    (7_040_000, "0.70", 4_928_000, 73_920, "0.05"),
    (21_130_000, "0.70", 14_791_000, 221_860, "0.05"),
    (5_950_000, "0.83", 4_938_500, 0, "0"),
    (8_920_000, "0.55", 4_906_000, 110_380, "0.05"),
    (5_140_000, "0.965", 4_960_100, 12_150, "0.07"),
    (9_330_000, "0.55", 5_131_500, 115_450, "0.05"),
    (8_930_000, "0.55", 4_911_500, 110_500, "0.05"),
]


@pytest.mark.parametrize(("size", "at", "cash", "fee", "rate"), BUYS + SALES)
def test_money_and_fee_are_reckoned_as_on_chain(size: int, at: str, cash: int, fee: int, rate: str) -> None:
    assert notional_floor(price(at), Shares(size)) == Money(cash)
    assert FeeSchedule(rate=parse_units(rate)).taker_fee(price(at), Shares(size)) == Money(fee)
