"""Gamma's events, series and results as domain values (polymarket.md 2.2, 5.1, 5.3). Terms are read in wire_markets.py.

Nothing here raises for what is served: what cannot be read is `Unreadable`, None or left out.
"""

from datetime import datetime
from decimal import Decimal, InvalidOperation

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import UNIT, Millis, Price
from polybot.venue.polymarket.wire import UNREADABLE
from polybot.venue.polymarket.wire_markets import exact_units, strings

FINAL_STATUSES = frozenset((None, "", "resolved", "settled"))
"""Of `umaResolutionStatus` and `resolutionStatus`; up/down markets are resolved natively and may serve neither."""
PAYOUTS = frozenset((0, UNIT // 2, UNIT))
"""A result pays one side all, or both half (the daily markets' tie); anything else is a price, not a payout."""
SHOWN_MAX = 60
SERIES_FRAMES = ("5m", "15m", "4h")


class Unreadable(msgspec.Struct, frozen=True):
    """An answer that is not what is documented."""

    reason: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's word on a market that is over; `at` None where it does not say when."""

    payout_up: Price
    at: Millis | None


class WireEvent(msgspec.Struct):
    slug: str = ""
    markets: list[msgspec.Raw] = []


class WireSlug(msgspec.Struct):
    slug: str = ""


class WireSeries(msgspec.Struct):
    id: str
    slug: str


class WireResult(msgspec.Struct, rename="camel"):
    closed: bool = False
    closed_time: str = ""
    outcome_prices: str | None = None
    uma_resolution_status: str | None = None
    resolution_status: str | None = None


class ServedTerms(msgspec.Struct, rename="camel", frozen=True):
    """The fields that decide whether a market may be traded, each as its own text, for people to compare."""

    version: msgspec.Raw = msgspec.Raw(b"")
    fee_type: msgspec.Raw = msgspec.Raw(b"")
    fee_schedule: msgspec.Raw = msgspec.Raw(b"")
    fees_enabled: msgspec.Raw = msgspec.Raw(b"")
    crypto_market_config: msgspec.Raw = msgspec.Raw(b"")
    order_min_size: msgspec.Raw = msgspec.Raw(b"")
    neg_risk: msgspec.Raw = msgspec.Raw(b"")
    outcomes: msgspec.Raw = msgspec.Raw(b"")
    resolution_source: msgspec.Raw = msgspec.Raw(b"")


def market_in_event(body: bytes, slug: str) -> bytes | Unreadable:
    """The market of that name: an event may hold another beside it, as a window of the new protocol (1.4)."""
    try:
        markets = msgspec.json.decode(body, type=WireEvent).markets
        for piece in markets:
            if msgspec.json.decode(piece, type=WireSlug).slug == slug:
                return bytes(piece)
    except UNREADABLE as error:
        return Unreadable(str(error))
    return Unreadable(f"the event holds {len(markets)} markets, and none is called {slug}")


def events_by_slug(body: bytes) -> dict[str, bytes] | Unreadable:
    """The events of a listing, each as served, by slug; one that cannot be read is left out."""
    try:
        pieces = msgspec.json.decode(body, type=list[msgspec.Raw])
    except UNREADABLE as error:
        return Unreadable(str(error))
    found = {}
    for piece in pieces:
        try:
            found[msgspec.json.decode(piece, type=WireSlug).slug] = bytes(piece)
        except UNREADABLE:
            continue
    return found


def series_id(body: bytes, slug: str) -> str | None:
    """The number of the series of that name in the answer of `GET /series`; None where it is not there."""
    try:
        found = msgspec.json.decode(body, type=list[WireSeries], strict=False)
    except UNREADABLE:
        return None
    return next((series.id for series in found if series.slug == slug and series.id.isdecimal()), None)


def result_from_gamma(body: bytes) -> Result | None:
    """The payout, once it is final; None before that, and where it cannot be read."""
    try:
        wire = msgspec.json.decode(body, type=WireResult)
        if not wire.closed or not wire.outcome_prices:
            return None
        if wire.uma_resolution_status not in FINAL_STATUSES or wire.resolution_status not in FINAL_STATUSES:
            return None
        up, down = (exact_units(Decimal(text), "payout") for text in strings(wire.outcome_prices, "payouts"))
    except (*UNREADABLE, ValueError, InvalidOperation):
        return None
    if up + down != UNIT or up not in PAYOUTS:
        return None
    return Result(payout_up=Price(up), at=_closed_at(wire.closed_time))


def _closed_at(text: str) -> Millis | None:
    """As served: `2026-09-28 17:46:27+00`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else Millis(int(moment.timestamp() * 1000))


def served_terms(body: bytes) -> ServedTerms | None:
    try:
        return _kept(msgspec.json.decode(body, type=ServedTerms))
    except UNREADABLE:
        return None


def _kept(terms: ServedTerms) -> ServedTerms:
    """A copy that does not hold on to the whole answer."""
    return ServedTerms(*(msgspec.Raw(bytes(getattr(terms, name))) for name in ServedTerms.__struct_fields__))


def differences(was: ServedTerms, now: ServedTerms) -> list[str]:
    """What is served otherwise, each as `field: old -> new` in the venue's own names and words."""
    found = []
    for field in msgspec.structs.fields(ServedTerms):
        old, new = (_shown(bytes(getattr(terms, field.name))) for terms in (was, now))
        if old != new:
            found.append(f"{field.encode_name}: {old[:SHOWN_MAX]} -> {new[:SHOWN_MAX]}")
    return found


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip('"') or "absent"


def series_slug(asset: str, frame: str) -> str:
    """As the venue names it, `btc-up-or-down-15m` (polymarket.md 5.1). Raises BadInput for a frame it has not."""
    if frame not in SERIES_FRAMES:
        raise BadInput(f"there are no up/down windows of {frame!r}; there are {', '.join(SERIES_FRAMES)}")
    return f"{asset.lower()}-up-or-down-{frame}"
