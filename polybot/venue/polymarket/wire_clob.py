"""The CLOB's compact record of a market, `GET /clob-markets/{condition_id}` (polymarket.md 2.1), as terms.

It is the matching engine's own word on tick, minimum size, fees and the taker delay. How many milliseconds the delay
lasts is served since October 2026 under a name nobody here has seen (polymarket.md 5.6): the likely ones are tried.
"""

from decimal import Decimal

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.fees import FeeSchedule
from polybot.domain.units import Price, Shares
from polybot.venue.polymarket.wire import UNREADABLE
from polybot.venue.polymarket.wire_markets import exact_units

TAKER_DELAY_MS_MAX = 60_000


class ClobTerms(msgspec.Struct, frozen=True, kw_only=True):
    """None: not served. `taker_delay_ms` is None where there is a delay and its length is not served."""

    tick: Price
    size_min: Shares
    fees: FeeSchedule | None
    taker_delay_ms: int | None
    version: str | None
    tokens: tuple[str, ...]


class WireFeeDetails(msgspec.Struct):
    r: Decimal | None = None
    e: int | None = None
    to: bool | None = None


class WireToken(msgspec.Struct):
    t: str = ""
    o: str = ""


class WireClobMarket(msgspec.Struct):
    mts: Decimal
    mos: Decimal
    t: list[WireToken | None] = []
    fd: WireFeeDetails | None = None
    itode: bool = False
    v: str | None = None
    taker_delay_ms: int | None = None
    takerDelayMs: int | None = None  # noqa: N815 - as the venue may write it
    takerOrderDelayMs: int | None = None  # noqa: N815
    itodms: int | None = None


def clob_terms(body: bytes) -> ClobTerms | str:
    """The terms, or why they cannot be read."""
    try:
        return _terms(msgspec.json.decode(body, type=WireClobMarket))
    except UNREADABLE as error:
        return str(error)


def _terms(wire: WireClobMarket) -> ClobTerms:
    return ClobTerms(
        tick=Price(exact_units(wire.mts, "tick size")),
        size_min=Shares(exact_units(wire.mos, "minimum size")),
        fees=_fees(wire.fd),
        taker_delay_ms=_taker_delay(wire),
        version=wire.v,
        tokens=tuple(token.t for token in wire.t if token is not None),
    )


def _fees(details: WireFeeDetails | None) -> FeeSchedule | None:
    if details is None or details.r is None or details.e is None:
        return None
    rate = exact_units(details.r, "fee rate")
    return FeeSchedule(rate=rate, exponent=details.e, taker_only=bool(details.to)) if rate else FeeSchedule(rate=0)


def _taker_delay(wire: WireClobMarket) -> int | None:
    if not wire.itode:
        return 0
    served = (wire.taker_delay_ms, wire.takerDelayMs, wire.takerOrderDelayMs, wire.itodms)
    found = next((value for value in served if value is not None), None)
    if found is not None and not 0 <= found <= TAKER_DELAY_MS_MAX:
        raise BadInput(f"a taker delay of {found} ms is not possible")
    return found
