"""The venue's decimal strings as integers of one millionth: exact, refused where absurd, and fast by remembering.

Books repeat the same few thousand strings; a dict that fills itself turns most parses into one look-up.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId
from polybot.domain.units import DECIMALS, UNIT, Millis, Price, Shares, parse_units

TEXT_MAX = 32
"""Characters in a number: the largest price or size needs fewer, and endless digits are an attack on `int`."""
SIZE_MAX = 10**15
"""A billion shares, in millionths: nothing real is larger, and the database's NUMERIC(20,6) holds it."""
CACHE_MAX = 65_536
SCALES = tuple(10 ** (DECIMALS - places) for places in range(DECIMALS + 1))
TIME_DIGITS = 13
TIME_MIN = 10**12
TIME_MAX = 10**13
"""September 2001 to November 2286 in milliseconds: seconds or nanoseconds passed as milliseconds fall outside."""
REFERENCE_MAX = Decimal(10**9)
NEW_CONDITION = re.compile(r"0x0[12][0-9a-f]{60}")


Value = TypeVar("Value")


class Remembered(dict[str, Value]):
    """Text -> what `parse` makes of it, kept for the next time; emptied when full: hostile text cannot grow it."""

    def __init__(self, parse: Callable[[str], Value]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> Value:
        value = self._parse(text)
        if len(self) >= CACHE_MAX:
            self.clear()
        self[text] = value
        return value


def price_units(text: str) -> Price:
    """A level's or trade's price, strictly between 0 and 1. Raises BadInput."""
    value = _units(text)
    if not 0 < value < UNIT:
        raise BadInput(f"price {text[:TEXT_MAX]!r} is not between 0 and 1")
    return Price(value)


def size_units(text: str) -> Shares:
    """A level's new size, 0 meaning gone. Raises BadInput for negative and for impossibly large ones."""
    value = _units(text)
    if not 0 <= value <= SIZE_MAX:
        raise BadInput(f"size {text[:TEXT_MAX]!r} is not a possible number of shares")
    return Shares(value)


def top_units(text: str | None) -> Price | None:
    """A served best price; the venue writes an empty side as "", "0" (bid) or "1" (ask). Raises BadInput."""
    if not text:
        return None
    value = _units(text)
    if not 0 <= value <= UNIT:
        raise BadInput(f"best price {text[:TEXT_MAX]!r} is not between 0 and 1")
    return Price(value) if 0 < value < UNIT else None


def millis(value: str | int) -> Millis:
    """A time in milliseconds since 1970, as number or text. Raises BadInput for anything that is clearly not one."""
    text = value if isinstance(value, str) else str(value)
    if len(text) == TIME_DIGITS and text.isdecimal() and text.isascii() and text[0] != "0":
        return Millis(int(text))
    if not (text.isascii() and text.isdecimal() and TIME_MIN <= int(text[:TEXT_MAX]) < TIME_MAX):
        raise BadInput(f"{text[:TEXT_MAX]!r} is not a time in milliseconds")
    return Millis(int(text))


def reference_units(value: Decimal) -> int:
    """An underlying's price in millionths of a dollar, rounded half to even: feeds carry up to 18 decimals."""
    if not value.is_finite() or not 0 < value < REFERENCE_MAX:
        raise BadInput(f"reference price {str(value)[:TEXT_MAX]!r} is not a possible price")
    units = int((value * UNIT).to_integral_value())
    if not units:
        raise BadInput(f"reference price {str(value)[:TEXT_MAX]!r} is less than a millionth of a dollar")
    return units


def _units(text: str) -> int:
    """As `parse_units`, which reads whatever is not plainly digits with at most one point among them."""
    if len(text) > TEXT_MAX:
        raise BadInput(f"{text[:TEXT_MAX]!r}... is too long for a number")
    whole, point, fraction = text.partition(".")
    if len(fraction) <= DECIMALS and whole.isdecimal() and whole.isascii():
        if not point:
            return int(whole) * UNIT
        if fraction.isdecimal() and fraction.isascii():
            scale: int = SCALES[len(fraction)]
            return int(whole + fraction) * scale
    return parse_units(text)


def condition_of(text: str) -> ConditionId:
    """A condition's id in the one form by which the CLOB can be asked: lower case, and 32 bytes long.

    Those of the new protocol are served with 31 bytes at times, and a zero byte fills them up (polymarket.md 1.4); so
    does the official client.
    """
    plain = text.lower()
    return ConditionId(f"{plain}00" if NEW_CONDITION.fullmatch(plain) else plain)
