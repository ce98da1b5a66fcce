"""Money, prices and shares as integers of one millionth, the venue's own unit on chain (design.md D2).

pUSD and outcome tokens both have 6 decimals (polymarket.md 1.3), so every amount the venue can express is exact here.
Rounding never happens silently: the direction is part of the function's name.
"""

from typing import NewType

from polybot.domain.errors import BadInput

Price = NewType("Price", int)
"""Millionths of a pUSD per share; 510_000 is $0.51."""
Shares = NewType("Shares", int)
"""Millionths of an outcome token; 5_000_000 is 5 shares."""
Money = NewType("Money", int)
"""Millionths of a pUSD; 20_000_000 is $20."""
Millis = NewType("Millis", int)
"""Milliseconds since 1970-01-01 UTC, or a span of them."""

UNIT = 1_000_000
DECIMALS = 6
LOT = 10_000
"""Order sizes have two decimals on every tick (polymarket.md 6.2), so a lot is 0.01 share."""
DAY_MS = 86_400_000
DIGITS_MAX = 30
"""No amount of anything has more digits; longer text is somebody's mistake, or an attack on the parser."""


def parse_units(text: str) -> int:
    """Read decimal text exactly: "0.51" -> 510_000. Raises BadInput for anything else, 7 decimals included."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, fraction = digits.partition(".")
    if len(digits) > DIGITS_MAX:
        raise BadInput(f"a number of {len(digits)} characters ({text[:DIGITS_MAX]}...) is not an amount")
    if not (whole + fraction).isascii() or not (whole + fraction).isdecimal() or (fraction == "" and "." in digits):
        raise BadInput(f"{text!r} is not a decimal number such as 0.51")
    significant = fraction.rstrip("0")
    if len(significant) > DECIMALS:
        raise BadInput(f"{text!r} has more than {DECIMALS} decimals; the venue's unit is one millionth")
    return sign * (int(whole or "0") * UNIT + int(significant.ljust(DECIMALS, "0")))


def format_units(value: int, places: int = 2) -> str:
    """Write millionths as decimal text with at least `places` decimals and no digit lost: 1_741_820 -> "1.74182"."""
    sign, magnitude = ("-", -value) if value < 0 else ("", value)
    whole, fraction = divmod(magnitude, UNIT)
    digits = f"{fraction:06d}".rstrip("0").ljust(places, "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def notional_floor(price: Price, shares: Shares) -> Money:
    """Price times shares, rounded down to a millionth of a pUSD: what is paid and got in a match.

    So the exchange reckons on chain, for buyers too (tests/domain/test_chain_fills.py).
    """
    return Money(price * shares // UNIT)


def notional_ceil(price: Price, shares: Shares) -> Money:
    """Price times shares, rounded up to a millionth of a pUSD: what certainly suffices for a buyer."""
    return Money(-(-price * shares // UNIT))


def floor_to_tick(price: int, tick: Price) -> Price:
    """The highest price on the tick grid that is not above `price`."""
    return Price(price - price % tick)


def ceil_to_tick(price: int, tick: Price) -> Price:
    """The lowest price on the tick grid that is not below `price`."""
    return Price(price + -price % tick)


def floor_to_lot(shares: int) -> Shares:
    """The largest size with two decimals that is not above `shares`."""
    return Shares(shares - shares % LOT)


def complement(price: Price) -> Price:
    """The same price seen from the other outcome: a Down bid at q is an Up ask at 1 - q (polymarket.md 2.1)."""
    return Price(UNIT - price)
