"""Gamma over HTTP (polymarket.md 2.2): events and markets by slug, id and filter, paged by offset or keyset; series."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from polybot.domain.ids import MarketId
from polybot.domain.units import Shares
from polybot.exchange.core.news import News, TradeShown
from polybot.exchange.edge import Refusal
from polybot.exchange.exchange import Exchange
from polybot.exchange.gamma_records import (
    EventRecord,
    MarketRecord,
    MarketView,
    event_record,
    market_record,
    series_record,
)
from polybot.exchange.gamma_texts import series_id, series_slug
from polybot.exchange.price_desk import PriceDesk
from polybot.exchange.query import Query, many, one, query_of, whole
from polybot.exchange.tape_market import ListedWindow, TapeMarket

PAGE_MAX = 100
INVALID = 422
OFFSET_MAX = 2_000
ENCODER = msgspec.json.Encoder(decimal_format="number")
Record = TypeVar("Record", MarketRecord, EventRecord)


class Gamma:
    """Read-only; what it serves is made anew for each request.

    `changes` are the rehearsal's: fields to serve otherwise, by market slug, "" for all; None takes a field away.
    """

    def __init__(self, exchange: Exchange, market: TapeMarket, desks: dict[str, PriceDesk]) -> None:
        self._exchange, self._market, self._desks = exchange, market, desks
        self._volumes: dict[MarketId, int] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        exchange.listeners.append(self._hear)

    def add_to(self, app: web.Application) -> None:
        app.add_routes(
            [
                web.get("/markets", self._markets),
                web.get("/markets/keyset", self._markets_keyset),
                web.get("/markets/slug/{slug}", self._market_by_slug),
                web.get("/markets/{id}", self._market_by_id),
                web.get("/events", self._events),
                web.get("/events/keyset", self._events_keyset),
                web.get("/events/slug/{slug}", self._event_by_slug),
                web.get("/events/{id}", self._event_by_id),
                web.get("/series", self._series),
                web.get("/series/{id}", self._series_by_id),
            ]
        )

    # -- one --------------------------------------------------------------------------------------------------------

    async def _market_by_slug(self, request: web.Request) -> web.Response:
        return self._answer(market_record(self._view(self._window(request.match_info["slug"]))))

    async def _event_by_slug(self, request: web.Request) -> web.Response:
        return self._answer(event_record(self._view(self._window(request.match_info["slug"]))))

    async def _market_by_id(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        return self._answer(_first(m for m in map(self._as_market, self._windows()) if m.id == name))

    async def _event_by_id(self, request: web.Request) -> web.Response:
        return self._answer(_first(e for e in map(self._as_event, self._windows()) if e.id == request.match_info["id"]))

    # -- many -------------------------------------------------------------------------------------------------------

    async def _markets(self, request: web.Request) -> web.Response:
        return self._answer(_offset_page(self._found_markets(query_of(request)), query_of(request)))

    async def _markets_keyset(self, request: web.Request) -> web.Response:
        return self._answer(_keyset_page("markets", self._found_markets(query_of(request)), query_of(request)))

    async def _events(self, request: web.Request) -> web.Response:
        return self._answer(_offset_page(self._found_events(query_of(request)), query_of(request)))

    async def _events_keyset(self, request: web.Request) -> web.Response:
        return self._answer(_keyset_page("events", self._found_events(query_of(request)), query_of(request)))

    async def _series(self, request: web.Request) -> web.Response:
        wanted = many(query_of(request), "slug")
        plans = [plan for plan in self._market.plans if not wanted or series_slug(plan.series) in wanted]
        return self._answer([series_record(plan.series) for plan in plans])

    async def _series_by_id(self, request: web.Request) -> web.Response:
        plans = [plan for plan in self._market.plans if series_id(plan.series) == request.match_info["id"]]
        if not plans:
            raise Refusal(404, "id not found", type="not found error")
        return self._answer(series_record(plans[0].series))

    # -- finding ----------------------------------------------------------------------------------------------------

    def _found_markets(self, query: Query) -> list[MarketRecord]:
        """Open markets only, unless it is asked otherwise (since 2026-04-09)."""
        windows = self._windows(one(query, "closed", "false"))
        return _sorted((m for m in map(self._as_market, windows) if _market_fits(m, query)), query)

    def _found_events(self, query: Query) -> list[EventRecord]:
        windows = self._windows(one(query, "closed"))
        return _sorted((e for e in map(self._as_event, windows) if _event_fits(e, query)), query)

    def _windows(self, closed: str = "") -> list[ListedWindow]:
        """As listed; `closed` "true" or "false" leaves out the others."""
        windows = self._market.windows.values()
        return [w for w in windows if not closed or str(w.settled_at is not None).lower() == closed]

    def _window(self, slug: str) -> ListedWindow:
        window = self._market.windows.get(MarketId(slug))
        if window is None:
            raise Refusal(404, "slug not found", type="not found error")
        return window

    def _as_market(self, window: ListedWindow) -> MarketRecord:
        return market_record(self._view(window))

    def _as_event(self, window: ListedWindow) -> EventRecord:
        return event_record(self._view(window))

    def _view(self, window: ListedWindow) -> MarketView:
        engine, market = self._exchange.engine, window.listing.market
        board = engine.board(market.id)
        bid, ask = board.pool.top
        return MarketView(
            now=self._exchange.now(),
            listing=window.listing,
            listed_at=window.listed_at,
            tick=board.tick,
            is_accepting=board.accepting,
            best_bid=bid,
            best_ask=ask,
            last_trade=None if board.last_trade is None else board.last_trade.price,
            volume=Shares(self._volumes.get(market.id, 0)),
            settled_at=window.settled_at,
            payout_up=board.payout_up,
            prices=self._desks[market.asset].prices(market.window_start) if market.asset in self._desks else None,
        )

    def _answer(self, value: object) -> web.Response:
        body = ENCODER.encode(value)
        if self.changes:
            body = ENCODER.encode(self._changed(msgspec.json.decode(body)))
        return web.Response(body=body, content_type="application/json")

    def _changed(self, value: Any) -> Any:
        """The same JSON with the changes in every market in it."""
        if isinstance(value, list):
            return [self._changed(part) for part in value]
        if not isinstance(value, dict):
            return value
        found = {name: self._changed(part) for name, part in value.items()}
        if "conditionId" in found:
            found |= self.changes.get("", {}) | self.changes.get(found["slug"], {})
            found = {name: part for name, part in found.items() if part is not None}
        return found

    def _hear(self, news: News) -> None:
        if isinstance(news, TradeShown):
            self._volumes[news.market] = self._volumes.get(news.market, 0) + news.shares
            for gone in [name for name in self._volumes if name not in self._market.windows]:
                del self._volumes[gone]


def _market_fits(market: MarketRecord, query: Query) -> bool:
    ids = [*(market.position_ids or []), *msgspec.json.decode(market.clob_token_ids or "[]", type=list[str])]
    return (
        _is_among(query, "id", [market.id])
        and _is_among(query, "slug", [market.slug])
        and _is_among(query, "condition_ids", [market.condition_id])
        and _is_among(query, "question_ids", [market.question_id])
        and _is_among(query, "clob_token_ids", ids if market.version == "v1" else [])
        and _is_among(query, "position_ids", ids if market.version == "v2" else [])
        and _is_among(query, "version", [market.version])
        and _is_between(query, "end_date", market.end_date)
        and _is_between(query, "start_date", market.start_date)
    )


def _event_fits(event: EventRecord, query: Query) -> bool:
    return (
        one(query, "active", "true") == str(event.active).lower()
        and _is_among(query, "id", [event.id])
        and _is_among(query, "slug", [event.slug])
        and _is_among(query, "series_id", [event.series[0].id])
        and _is_among(query, "series_slug", [event.series_slug])
        and _is_between(query, "end_date", event.end_date)
        and _is_between(query, "start_date", event.start_date)
        and _is_between(query, "start_time", event.start_time)
    )


def _is_among(query: Query, name: str, has: Sequence[str]) -> bool:
    wanted = many(query, name)
    return not wanted or any(value in wanted for value in has)


def _is_between(query: Query, name: str, value: str) -> bool:
    """Times are written alike, so text compares as time; a client's "+00:00" and fractions are cut to that form."""
    least, most = (one(query, f"{name}_{end}")[:19] for end in ("min", "max"))
    return (not least or value[:19] >= least) and (not most or value[:19] <= most)


SORTS: dict[str, Callable[[MarketRecord | EventRecord], object]] = {
    "id": lambda record: int(record.id),
    "endDate": lambda record: record.end_date,
    "end_date": lambda record: record.end_date,
    "startDate": lambda record: record.start_date,
    "start_date": lambda record: record.start_date,
    "slug": lambda record: record.slug,
}


def _sorted(records: Iterable[Record], query: Query) -> list[Record]:
    by = SORTS.get(one(query, "order", "id"))
    if by is None:
        raise Refusal(INVALID, "order fields are not valid", type="validation error")
    return sorted(records, key=by, reverse=one(query, "ascending", "true") == "false")  # type: ignore[arg-type]


def _offset_page(records: list[Record], query: Query) -> list[Record]:
    offset = whole(query, "offset", 0, INVALID)
    if offset > OFFSET_MAX:
        raise Refusal(INVALID, "offset too large, use /markets/keyset", type="validation error")
    return records[offset : offset + _limit(query)]


def _keyset_page(name: str, records: list[Record], query: Query) -> dict[str, object]:
    """The cursor is opaque to the client: here the id of the last record it was given."""
    begin = 0
    if "after_cursor" in query:
        begin = _place_after(records, one(query, "after_cursor"))
    page = records[begin : begin + _limit(query)]
    more = {"next_cursor": _cursor(page[-1].id)} if begin + len(page) < len(records) else {}
    return {name: page, **more}


def _place_after(records: Sequence[MarketRecord | EventRecord], cursor: str) -> int:
    try:
        last = base64.urlsafe_b64decode(cursor).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Refusal(INVALID, "invalid cursor", type="validation error") from error
    return next((index + 1 for index, record in enumerate(records) if record.id == last), len(records))


def _cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _limit(query: Query) -> int:
    return max(1, min(whole(query, "limit", 20, INVALID), PAGE_MAX))


def _first(found: Iterable[Record]) -> Record:
    for record in found:
        return record
    raise Refusal(404, "id not found", type="not found error")
