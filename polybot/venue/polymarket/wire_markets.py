"""Gamma's market JSON as domain markets (polymarket.md 2.2); what is not fully understood is refused, not guessed."""

from datetime import datetime
from decimal import Decimal

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.ids import MarketId, SeriesId, TokenId
from polybot.domain.market import UNKNOWN_TERMS, Market
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.venue.polymarket.wire import UNREADABLE
from polybot.venue.polymarket.wire_units import condition_of

TOKEN_FIELD = {"v1": "clobTokenIds", "v2": "positionIds"}
"""The version says which field holds the ids, even where both are there (polymarket.md 1.4)."""
OUTCOMES = ["Up", "Down"]
RULE_SETS = {
    ("15m", 60): "chainlink-twap60-2026-08-07",
    ("4h", 60): "chainlink-twap60-2026-08-07",
    ("5m", 60): "chainlink-twap60-2026-08-14",
    ("5m", 30): "chainlink-twap30-2026-08-07",
}
FEE_TYPES = frozenset((None, "crypto_fees_v2", "crypto_fees", "crypto_15_min"))
"""Fee types of crypto markets whose schedule is the known formula (polymarket.md 5.5; the last two are recorded, from
early 2026). A market that names none is taken by its schedule alone."""
TICK_GUESSED, SIZE_GUESSED, FEES_GUESSED = Price(10_000), Shares(5_000_000), FeeSchedule(rate=250_000)
"""For a market that is listed though its terms are unknown, and never traded."""
REASON_MAX = 160
CHAINLINK = "https://data.chain.link/streams/"
FRAMES_MS = {"5m": 300_000, "15m": 900_000, "4h": 14_400_000}


class MarketRefused(msgspec.Struct, frozen=True, kw_only=True):
    """A market that cannot be traded as served, and why; `slug` is "" where not even that could be read.

    `listed` is the market all the same where it can be told which one it is: its rule set says what is unknown, so it
    can be watched and recorded, and is not traded. What could not be read of its other terms is guessed dearly.
    """

    slug: str
    reason: str
    listed: Market | None = None


class WireFees(msgspec.Struct, rename="camel"):
    rate: Decimal
    exponent: int
    taker_only: bool
    rebate_rate: Decimal = Decimal(0)


class WireConfig(msgspec.Struct, rename="camel"):
    twap_enabled: bool = False
    twap_lookback_seconds: int | None = None


class WireIdentity(msgspec.Struct, rename="camel"):
    """Which market it is; without this there is nothing to list."""

    slug: str
    condition_id: str
    event_start_time: datetime
    end_date: datetime
    version: str = "v1"


class WireMarket(WireIdentity, kw_only=True):
    """The fields used, as served: ids and outcomes are JSON inside strings."""

    outcomes: str
    order_price_min_tick_size: Decimal
    order_min_size: Decimal
    clob_token_ids: str | None = None
    position_ids: list[str] | None = None
    neg_risk: bool = False
    enable_order_book: bool = False
    fees_enabled: bool = False
    fee_type: str | None = None
    fee_schedule: WireFees | None = None
    resolution_source: str | None = None
    crypto_market_config: WireConfig | None = None


class WireTokens(msgspec.Struct, rename="camel"):
    version: str = "v1"
    clob_token_ids: str | None = None
    position_ids: list[str] | None = None


class SlugOnly(msgspec.Struct):
    slug: str = ""


def market_from_gamma(
    body: bytes, *, taker_delay_ms: int, fees_if_unserved: FeeSchedule | None = None
) -> Market | MarketRefused:
    """One market object. Gamma does not serve the taker delay (polymarket.md 5.6), so the caller says what to assume.

    `fees_if_unserved` is for old recordings, whose markets name a fee type but carry no schedule; live, such a market
    is refused.
    """
    try:
        return _market(msgspec.json.decode(body, type=WireMarket), taker_delay_ms, fees_if_unserved)
    except UNREADABLE as error:
        return MarketRefused(slug=_slug(body), reason=str(error), listed=_unknown(body, str(error), taker_delay_ms))


def markets_from_gamma(
    body: bytes, *, taker_delay_ms: int, fees_if_unserved: FeeSchedule | None = None
) -> list[Market | MarketRefused]:
    """An array of market objects, each read or refused by itself."""
    try:
        pieces = msgspec.json.decode(body, type=list[msgspec.Raw])
    except UNREADABLE as error:
        return [MarketRefused(slug="", reason=str(error))]
    return [
        market_from_gamma(bytes(piece), taker_delay_ms=taker_delay_ms, fees_if_unserved=fees_if_unserved)
        for piece in pieces
    ]


def _market(wire: WireMarket, taker_delay_ms: int, fees_if_unserved: FeeSchedule | None) -> Market:
    asset, frame = _asset_and_frame(wire.slug)
    if not wire.enable_order_book:
        raise BadInput("has no order book")
    if wire.neg_risk:
        raise BadInput("is a negative-risk market, which up/down markets are not")
    if strings(wire.outcomes, "outcomes") != OUTCOMES:
        raise BadInput(f"has the outcomes {wire.outcomes[:60]}, not Up and Down in this order")
    return Market(
        id=MarketId(wire.slug),
        condition_id=condition_of(wire.condition_id),
        series=SeriesId(f"{asset}-{frame}"),
        asset=asset,
        window_start=_window(wire, frame)[0],
        window_end=_window(wire, frame)[1],
        tick=Price(exact_units(wire.order_price_min_tick_size, "tick size")),
        size_min=Shares(exact_units(wire.order_min_size, "minimum size")),
        fees=_fees(wire, fees_if_unserved),
        taker_delay_ms=taker_delay_ms,
        rule_set=_rule_set(wire, frame),
        version=wire.version,
        tokens=_tokens(wire),
    )


def _unknown(body: bytes, reason: str, taker_delay_ms: int) -> Market | None:
    """What is certain of a market whose terms are not; None where not even the market is."""
    try:
        wire = msgspec.json.decode(body, type=WireIdentity)
        asset, frame = _asset_and_frame(wire.slug)
        start, end = _window(wire, frame)
    except UNREADABLE:
        return None
    return Market(
        id=MarketId(wire.slug),
        condition_id=condition_of(wire.condition_id),
        series=SeriesId(f"{asset}-{frame}"),
        asset=asset,
        window_start=start,
        window_end=end,
        tick=TICK_GUESSED,
        size_min=SIZE_GUESSED,
        fees=FEES_GUESSED,
        taker_delay_ms=taker_delay_ms,
        rule_set=UNKNOWN_TERMS + reason[:REASON_MAX],
        version=wire.version[:20],
        tokens=_tokens_if_known(body),
    )


def _tokens_if_known(body: bytes) -> tuple[TokenId, TokenId] | None:
    try:
        return _tokens(msgspec.json.decode(body, type=WireTokens))
    except UNREADABLE:
        return None


def _window(wire: WireIdentity, frame: str) -> tuple[Millis, Millis]:
    start, end = _millis(wire.event_start_time), _millis(wire.end_date)
    if end - start != FRAMES_MS[frame]:
        raise BadInput(f"its window is {end - start} ms long, which is not {frame}")
    return start, end


def _asset_and_frame(slug: str) -> tuple[str, str]:
    parts = slug.split("-")
    if len(parts) != 4 or parts[1] != "updown" or parts[2] not in FRAMES_MS:
        raise BadInput(f"{slug[:60]!r} is not an up/down market of 5m, 15m or 4h")
    return parts[0].upper(), parts[2]


def _tokens(wire: "WireMarket | WireTokens") -> tuple[TokenId, TokenId]:
    if wire.version not in TOKEN_FIELD:
        raise BadInput(f"protocol version {wire.version[:20]!r} is unknown")
    served = wire.position_ids if wire.version == "v2" else strings(wire.clob_token_ids or "[]", "token ids")
    if not served or len(served) != 2 or not all(token.isdecimal() for token in served) or served[0] == served[1]:
        raise BadInput(f"{TOKEN_FIELD[wire.version]} does not hold two token ids")
    return TokenId(served[0]), TokenId(served[1])


def _fees(wire: WireMarket, unserved: FeeSchedule | None) -> FeeSchedule:
    if not wire.fees_enabled:
        return NO_FEES
    if wire.fee_type not in FEE_TYPES:
        raise BadInput(f"fee type {(wire.fee_type or '')[:40]!r} is unknown")
    if wire.fee_schedule is None:
        if unserved is None:
            raise BadInput(f"fee type {wire.fee_type!r} comes without a fee schedule, so its fees are unknown")
        return unserved
    if not wire.fee_schedule.taker_only:
        raise BadInput("charges makers, which this program does not reckon with")
    return FeeSchedule(
        rate=exact_units(wire.fee_schedule.rate, "fee rate"),
        exponent=wire.fee_schedule.exponent,
        taker_only=True,
        rebate_rate=exact_units(wire.fee_schedule.rebate_rate, "rebate rate"),
    )


def _rule_set(wire: WireMarket, frame: str) -> str:
    """What settles it (polymarket.md 5.2): a Chainlink average where the market says so, else Chainlink's spot."""
    config = wire.crypto_market_config
    if config is not None and config.twap_enabled:
        rule_set = RULE_SETS.get((frame, config.twap_lookback_seconds or 0))
        if rule_set is None:
            raise BadInput(f"an average over {config.twap_lookback_seconds} s for {frame} is an unknown rule")
        return rule_set
    source = wire.resolution_source or ""
    if not source.startswith(CHAINLINK) or "twap" in source.lower():  # an average whose length only the config says
        raise BadInput(f"resolution source {source[:80]!r} is unknown")
    return "chainlink-spot"


def strings(text: str, what: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError as error:
        raise BadInput(f"{what} are not a list: {error}") from error


def exact_units(value: Decimal, what: str) -> int:
    """Millionths of a served decimal, with nothing rounded away."""
    if not value.is_finite() or not 0 <= value < UNIT or value * UNIT != int(value * UNIT):
        raise BadInput(f"{what} {str(value)[:30]} is not an amount of at most 6 decimals")
    return int(value * UNIT)


def _millis(moment: datetime) -> Millis:
    if moment.tzinfo is None:
        raise BadInput(f"time {moment.isoformat()} names no zone")
    return Millis(int(moment.timestamp()) * 1000)


def _slug(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=SlugOnly).slug
    except UNREADABLE:
        return ""
