"""Gamma's market, event and series records, typed as served (polymarket.md 2.2): JSON inside strings, numbers as
numbers, times in three spellings. Pure; read here again from the documents, not shared with the client under test.
"""

from decimal import Decimal

import msgspec

from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import SeriesId
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.exchange.core.model import Listing
from polybot.exchange.gamma_texts import (
    asset_and_frame,
    description_of,
    moment,
    number,
    number_or_none,
    plain,
    question_of,
    resolution_source,
    series_id,
    series_slug,
    text_list,
    twap_seconds,
    zulu,
)
from polybot.exchange.price_desk import WindowPrices

FEE_TYPE = "crypto_fees_v2"
TO_BEAT_SHOWN_AFTER_MS = 60_000
"""`priceToBeat` shows up about a minute after the window starts (polymarket.md 5.2)."""
REWARDS_MIN_SIZE = 50
REWARDS_MAX_SPREAD = Decimal("4.5")
"""As BTC 15m is served (polymarket.md 5.5); nothing is rewarded here."""


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine and the price desk know of a listed market at `now`."""

    now: Millis
    listing: Listing
    listed_at: Millis
    tick: Price
    is_accepting: bool
    best_bid: Price | None = None
    best_ask: Price | None = None
    last_trade: Price | None = None
    volume: Shares = Shares(0)
    settled_at: Millis | None = None
    payout_up: Price | None = None
    prices: WindowPrices | None = None


class FeeRecord(msgspec.Struct, rename="camel"):
    exponent: int
    rate: Decimal
    taker_only: bool
    rebate_rate: Decimal


class ConfigRecord(msgspec.Struct, rename="camel"):
    id: str
    asset: str
    duration: str
    twap_enabled: bool
    twap_lookback_seconds: int


class MetadataRecord(msgspec.Struct, rename="camel"):
    price_to_beat: Decimal
    final_price: Decimal


class SeriesRecord(msgspec.Struct, rename="camel"):
    id: str
    ticker: str
    slug: str
    title: str
    recurrence: str
    series_type: str = "single"
    active: bool = True
    closed: bool = False
    archived: bool = False
    requires_translation: bool = False


class MarketRecord(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    id: str
    question: str
    condition_id: str
    slug: str
    resolution_source: str
    end_date: str
    start_date: str
    description: str
    outcomes: str
    outcome_prices: str
    volume: str
    active: bool
    closed: bool
    archived: bool
    restricted: bool
    question_id: str = msgspec.field(name="questionID")
    enable_order_book: bool
    order_price_min_tick_size: Decimal
    order_min_size: Decimal
    version: str
    clob_token_ids: str | None
    position_ids: list[str] | None = None
    accepting_orders: bool
    accepting_orders_timestamp: str
    neg_risk: bool
    event_start_time: str
    fees_enabled: bool
    fee_type: str | None = None
    fee_schedule: FeeRecord | None = None
    seconds_delay: int
    rewards_min_size: int
    rewards_max_spread: Decimal
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    last_trade_price: Decimal | None = None
    spread: Decimal | None = None
    closed_time: str | None = None
    uma_resolution_status: str | None = None
    uma_resolution_statuses: str
    resolution_status: str | None = None
    crypto_market_config: ConfigRecord | None = None
    events: "list[EventRecord] | None" = None


class EventRecord(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    id: str
    ticker: str
    slug: str
    title: str
    description: str
    resolution_source: str
    start_date: str
    creation_date: str
    end_date: str
    start_time: str
    active: bool
    closed: bool
    archived: bool
    restricted: bool
    enable_order_book: bool
    neg_risk: bool
    series_slug: str
    series: list[SeriesRecord]
    volume: Decimal
    closed_time: str | None = None
    event_metadata: MetadataRecord | None = None
    markets: list[MarketRecord] | None = None


def market_record(view: MarketView, *, with_event: bool = True) -> MarketRecord:
    """One market; `with_event` adds its event, without markets, as a market alone is served."""
    market = view.listing.market
    up, down = view.listing.tokens
    is_settled = view.payout_up is not None
    return MarketRecord(
        id=str(view.listing.number),
        question=view.listing.question or question_of(market),
        condition_id=market.condition_id,
        slug=market.id,
        resolution_source=resolution_source(market),
        end_date=zulu(market.window_end),
        start_date=zulu(view.listed_at),
        description=description_of(market),
        outcomes=text_list(*view.listing.outcomes),
        outcome_prices=_outcome_prices(view),
        volume=plain(view.volume),
        active=True,
        closed=is_settled,
        archived=False,
        restricted=True,
        question_id="0x" + market.condition_id[-1:1:-1],
        enable_order_book=True,
        order_price_min_tick_size=number(view.tick),
        order_min_size=number(market.size_min),
        version=market.version,
        clob_token_ids=text_list(up, down) if market.version == "v1" else None,
        position_ids=[up, down] if market.version == "v2" else None,
        accepting_orders=view.is_accepting,
        accepting_orders_timestamp=zulu(view.listed_at),
        neg_risk=view.listing.neg_risk,
        event_start_time=zulu(market.window_start),
        fees_enabled=market.fees.rate > 0,
        fee_type=FEE_TYPE if market.fees.rate else None,
        fee_schedule=fee_record(market.fees) if market.fees.rate else None,
        seconds_delay=0,
        rewards_min_size=REWARDS_MIN_SIZE,
        rewards_max_spread=REWARDS_MAX_SPREAD,
        best_bid=None if is_settled else number_or_none(view.best_bid),
        best_ask=None if is_settled else number_or_none(view.best_ask),
        last_trade_price=number_or_none(view.last_trade),
        spread=_spread(view),
        closed_time=None if view.settled_at is None else moment(view.settled_at).strftime("%Y-%m-%d %H:%M:%S+00"),
        uma_resolution_status="resolved" if is_settled else None,
        uma_resolution_statuses="[]",
        resolution_status=None if market.version == "v1" else "resolved" if is_settled else "active",
        crypto_market_config=config_record(market),
        events=[event_record(view, with_markets=False)] if with_event else None,
    )


def event_record(view: MarketView, *, with_markets: bool = True) -> EventRecord:
    """The event of an up/down market has this one market and the same slug."""
    market = view.listing.market
    title = view.listing.question or question_of(market)
    return EventRecord(
        id=str(event_number(view.listing)),
        ticker=market.id,
        slug=market.id,
        title=title,
        description=description_of(market),
        resolution_source=resolution_source(market),
        start_date=zulu(view.listed_at),
        creation_date=zulu(view.listed_at),
        end_date=zulu(market.window_end),
        start_time=zulu(market.window_start),
        active=True,
        closed=view.payout_up is not None,
        archived=False,
        restricted=True,
        enable_order_book=True,
        neg_risk=view.listing.neg_risk,
        series_slug=series_slug(market.series),
        series=[series_record(market.series)],
        volume=number(view.volume),
        closed_time=None if view.settled_at is None else zulu(view.settled_at),
        event_metadata=_metadata(view),
        markets=[market_record(view, with_event=False)] if with_markets else None,
    )


def series_record(series: SeriesId) -> SeriesRecord:
    asset, frame = asset_and_frame(series)
    slug = series_slug(series)
    return SeriesRecord(series_id(series), slug, slug, f"{asset} Up or Down {frame}", frame)


def event_number(listing: Listing) -> int:
    """Events are numbered apart from markets; here each has its only market's number and a million."""
    return listing.number + 1_000_000


def fee_record(fees: FeeSchedule) -> FeeRecord:
    return FeeRecord(fees.exponent, number(fees.rate), fees.taker_only, number(fees.rebate_rate))


def config_record(market: Market) -> ConfigRecord | None:
    """What names the averaging rule, "chainlink-twap60-..."; a market settled on spot has none (polymarket.md 5.2)."""
    lookback = twap_seconds(market)
    if lookback is None:
        return None
    asset, frame = market.asset.lower(), asset_and_frame(market.series)[1]
    return ConfigRecord(f"{asset}-{frame}-twap-{lookback}", asset, frame, True, lookback)


def _outcome_prices(view: MarketView) -> str:
    up = view.payout_up
    if up is None:
        bid, ask = view.best_bid or 0, view.best_ask or UNIT
        up = Price((bid + ask) // 2)
    return text_list(plain(up), plain(UNIT - up))


def _spread(view: MarketView) -> Decimal | None:
    if view.best_bid is None or view.best_ask is None or view.payout_up is not None:
        return None
    return number(view.best_ask - view.best_bid)


def _metadata(view: MarketView) -> MetadataRecord | None:
    """Served once the window has run a minute; `finalPrice` is 0 until the market is settled (polymarket.md 2.2)."""
    prices, market = view.prices, view.listing.market
    if prices is None or view.now < market.window_start + TO_BEAT_SHOWN_AFTER_MS:
        return None
    final = prices.final if view.payout_up is not None else None
    return MetadataRecord(number(prices.to_beat), number(final or 0))
