"""The windows of the followed series with their terms and results, read from Gamma and the CLOB ahead of time.

A window is looked up by its name, which its start makes (polymarket.md 5.1); one that is not found so is looked for in
its series' listing. What is served and not understood is told at once, with what differs from the window before, and
listed under a rule set that says so: it can be watched, and nobody trades on it (risk/known_terms.py).
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.errors import BadInput
from polybot.domain.events import MarketListed, MarketResolved, Severity
from polybot.domain.ids import MarketId, SeriesId
from polybot.domain.market import UNKNOWN_TERMS, Market
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.rest import Rest
from polybot.venue.polymarket.terms import agreed_terms
from polybot.venue.polymarket.wire_clob import ClobTerms, clob_terms
from polybot.venue.polymarket.wire_gamma import (
    ServedTerms,
    Unreadable,
    differences,
    events_by_slug,
    market_in_event,
    result_from_gamma,
    series_id,
    series_slug,
    served_terms,
)
from polybot.venue.polymarket.wire_markets import FRAMES_MS, MarketRefused, market_from_gamma

TROUBLE = (VenueUnavailable, VenueBusy)
Listing = MarketListed | MarketResolved
NOTES_KEPT = 50
LISTED_BEFORE_MS = 600_000
"""Windows are listed a day ahead (polymarket.md 5.3): one that is not found so shortly before is told."""
GAMMA_AGE_MS = 60_000
"""How old Gamma's page may be: a tick that the socket told of meanwhile holds."""
PAGE = 100
PAGES_MAX = 5


class CatalogPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`series` as `BTC-15m`. `taker_delay_ms` is assumed for a market that has the delay and does not say how long
    (last known: 150, polymarket.md 5.6). At most `reads_max` windows are looked up at a time, those of now first.
    """

    series: tuple[str, ...] = ("BTC-15m", "ETH-15m")
    taker_delay_ms: int = 150
    reads_max: int = 64
    clob_s: float = 60.0
    listing_s: float = 60.0


class CatalogNote(msgspec.Struct, frozen=True):
    """What a person should know of: ERROR where something is not traded for it, else WARNING."""

    severity: Severity
    text: str


class Window(msgspec.Struct, frozen=True):
    """A window that must be, by the calendar alone."""

    series: SeriesId
    slug: str
    start: Millis
    end: Millis


class Read(msgspec.Struct):
    """What came of looking a window up: what was served, nothing (404), or the outage."""

    window: Window
    body: bytes | None = None
    market: Market | None = None
    error: VenueUnavailable | VenueBusy | None = None


class _Known(msgspec.Struct):
    """What is remembered of a window; `entries` once its story is over."""

    end: Millis
    clob: ClobTerms | None = None
    clob_at: Millis = Millis(0)
    told: str = ""
    entries: tuple[Listing, ...] = ()


class Catalog:
    """Call it with a span of time for every window in it. `take_notes` has what people should know of: whoever makes
    one reads them (`LiveData.tell_notes`), for nothing here is logged twice."""

    def __init__(self, gamma: Rest, clob: Rest, clock: Clock, plan: CatalogPlan | None = None) -> None:
        """Raises BadInput for a series whose windows have no known names."""
        self._gamma, self._clob, self._clock, self.plan = gamma, clob, clock, plan or CatalogPlan()
        self._series = [_parts(name) for name in self.plan.series]
        self._known: dict[str, _Known] = {}
        self._usual: dict[SeriesId, ServedTerms] = {}
        self._ids: dict[SeriesId, str] = {}
        self._listing_at: dict[SeriesId, float] = {}
        self._notes: list[CatalogNote] = []
        self._delay_assumed: set[SeriesId] = set()

    async def __call__(self, since: Millis, until: Millis) -> list[Listing]:
        """Every window that ends after `since` and starts before `until`, in order of start, each followed by its
        result where it has one. One that cannot be read now is left out. Raises VenueUnavailable, VenueBusy where
        nothing can be.
        """
        now = self._clock.now_ms()
        windows = [window for part in self._series for window in _windows(*part, since, until)]
        self._known = {slug: known for slug, known in self._known.items() if known.end > since}
        over = [known.entries for window in windows if (known := self._known.get(window.slug)) and known.entries]
        left = [window for window in windows if not self._is_over(window)]
        left = sorted(left, key=lambda window: abs(window.start - now))[: self.plan.reads_max]
        reads = list(await asyncio.gather(*(self._look_up(window) for window in left)))
        await self._look_in_listings([read for read in reads if read.body is None and read.error is None])
        failed = [read.error for read in reads if read.error is not None]
        if failed and len(failed) == len(reads):
            raise failed[0]
        for error in failed[:1]:
            logger.bind(action="catalog").warning("{} of {} windows cannot be read: {}", len(failed), len(reads), error)
        await asyncio.gather(*(self._serve(read) for read in reads))
        found = over + [self._entries(read) for read in sorted(reads, key=lambda read: read.window.start)]
        return [entry for entries in sorted(found, key=_start) for entry in entries]

    def take_notes(self) -> list[CatalogNote]:
        """Since they were last taken: terms that are unknown or new, windows that are missing."""
        notes, self._notes = self._notes, []
        return notes

    async def close(self) -> None:
        await self._gamma.close()
        await self._clob.close()

    # -- looking up ---------------------------------------------------------------------------------------------------

    def _is_over(self, window: Window) -> bool:
        known = self._known.get(window.slug)
        return known is not None and bool(known.entries)

    async def _look_up(self, window: Window) -> Read:
        try:
            body = await self._gamma.get(f"/events/slug/{window.slug}")
        except TROUBLE as error:
            return Read(window, error=error)
        return Read(window, body=body)

    async def _look_in_listings(self, missing: Sequence[Read]) -> None:
        """A name may be new to one of Gamma's caches while the series has it. Asked for seldom: the answer is large."""
        for series in sorted({read.window.series for read in missing}):
            mine = [read for read in missing if read.window.series == series]
            if self._clock.monotonic() >= self._listing_at.get(series, 0.0):
                self._listing_at[series] = self._clock.monotonic() + self.plan.listing_s
                try:
                    events = await self._listing(series, {read.window.slug for read in mine})
                except TROUBLE as error:
                    logger.bind(action="catalog").warning("the listing of {} cannot be read: {}", series, error)
                    continue
                for read in mine:
                    read.body = events.get(read.window.slug)
        for read in missing:
            if read.body is None and read.window.start - LISTED_BEFORE_MS <= self._clock.now_ms() < read.window.end:
                self._tell(read.window, "is not in the catalogue")

    async def _listing(self, series: SeriesId, wanted: set[str]) -> dict[str, bytes]:
        number = await self._series_number(series)
        found: dict[str, bytes] = {}
        for page in range(PAGES_MAX if number is not None else 0):
            query = [
                ("series_id", str(number)),
                ("closed", "false"),
                ("limit", str(PAGE)),
                ("offset", str(page * PAGE)),
            ]
            body = await self._gamma.get("/events", query)
            events = events_by_slug(body or b"[]")
            if isinstance(events, Unreadable):
                logger.bind(action="catalog").warning("the listing of {} cannot be read: {}", series, events.reason)
                break
            found |= {slug: event for slug, event in events.items() if slug in wanted}
            if len(events) < PAGE or found.keys() == wanted:
                break
        return found

    async def _series_number(self, series: SeriesId) -> str | None:
        if series not in self._ids:
            slug = series_slug(*series.split("-"))
            number = series_id(await self._gamma.get("/series", [("slug", slug)]) or b"[]", slug)
            if number is None:
                return None
            self._ids[series] = number
        return self._ids[series]

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _serve(self, read: Read) -> None:
        """Find the market in what was read, and ask the engine about it."""
        if read.body is None:
            return
        body = market_in_event(read.body, read.window.slug)
        if isinstance(body, Unreadable):
            self._tell(read.window, body.reason)
            return
        read.body, read.market = body, self._market(read.window, body)
        if read.market is not None:
            await self._ask_engine(read.market, self._remember(read.window))

    def _entries(self, read: Read) -> tuple[Listing, ...]:
        window, body, market = read.window, read.body, read.market
        if body is None or market is None:
            return ()
        known, now = self._remember(window), self._clock.now_ms()
        if known.clob is not None:
            market = agreed_terms(market, known.clob, taker_delay_ms=self.plan.taker_delay_ms)
            self._note_delay(market, known.clob)
        self._compare(window, market, served_terms(body))
        at = known.clob_at if known.clob is not None else Millis(now - GAMMA_AGE_MS)
        listed = MarketListed(at, now, market)
        result = result_from_gamma(body)
        if result is None or now < window.end:
            return (listed,)
        over_at = now if result.at is None else min(result.at, now)
        known.entries = (listed, MarketResolved(Millis(over_at), now, market.id, result.payout_up))
        return known.entries

    def _market(self, window: Window, body: bytes) -> Market | None:
        market = market_from_gamma(body, taker_delay_ms=self.plan.taker_delay_ms)
        if isinstance(market, MarketRefused):
            if market.listed is None:
                self._tell(window, f"is refused: {market.reason}")
                return None
            market = market.listed
        if (market.window_start, market.window_end) != (window.start, window.end):
            self._tell(window, f"is served with a window from {market.window_start} to {market.window_end}")
            return None
        return market

    async def _ask_engine(self, market: Market, known: _Known) -> None:
        """The engine's own terms, now and then. Its silence changes nothing; after the end it knows nothing more."""
        now = self._clock.now_ms()
        if now >= market.window_end or now - known.clob_at < self.plan.clob_s * 1000:
            return
        try:
            body = await self._engine_record(market.condition_id)
        except TROUBLE as error:
            logger.bind(action="catalog").warning("{}: the CLOB's terms cannot be read: {}", market.id, error)
            return
        terms = clob_terms(body) if body is not None else "it does not know the market"
        if isinstance(terms, ClobTerms):
            known.clob, known.clob_at = terms, now
        else:
            logger.bind(action="catalog").warning("{}: the CLOB's terms cannot be read: {}", market.id, terms)

    async def _engine_record(self, condition: str) -> bytes | None:
        """A condition of the new protocol has 31 bytes, and is asked for as 32 (polymarket.md 1.4)."""
        digits = condition.removeprefix("0x")
        for full in dict.fromkeys((digits.ljust(64, "0"), digits.rjust(64, "0")) if len(digits) == 62 else (digits,)):
            body = await self._clob.get(f"/clob-markets/0x{full}")
            if body is not None:
                return body
        return None

    # -- telling ------------------------------------------------------------------------------------------------------

    def _remember(self, window: Window) -> _Known:
        return self._known.setdefault(window.slug, _Known(end=window.end))

    def _compare(self, window: Window, market: Market, served: ServedTerms | None) -> None:
        """Terms that are served otherwise than for the window before are told, understood or not."""
        usual = self._usual.get(window.series)
        changes = "" if usual is None or served is None else "; ".join(differences(usual, served))
        if market.rule_set.startswith(UNKNOWN_TERMS):
            what = f"is not traded, {market.rule_set}"
            self._tell(window, f"{what}; served otherwise than before: {changes}" if changes else what)
            return
        if changes:
            self._tell(window, f"is served otherwise than the windows before: {changes}", Severity.WARNING)
        if served is not None:
            self._usual[window.series] = served

    def _note_delay(self, market: Market, clob: ClobTerms) -> None:
        """Once for each series, and again where the venue had said how long in the meantime: it is traded all the same,
        by the delay last known."""
        series = market.series
        if clob.taker_delay_ms is not None:
            self._delay_assumed.discard(series)
        elif series not in self._delay_assumed:
            self._delay_assumed.add(series)
            assumed = f"{self.plan.taker_delay_ms} ms are assumed"
            self._note(Severity.WARNING, f"{series} holds takers' orders back and does not say how long: {assumed}")

    def _tell(self, window: Window, text: str, severity: Severity = Severity.ERROR) -> None:
        """Once for each window, unless it changes."""
        known = self._remember(window)
        if known.told != text:
            known.told = text
            self._note(severity, f"{window.slug} {text}")

    def _note(self, severity: Severity, text: str) -> None:
        if len(self._notes) < NOTES_KEPT:
            self._notes.append(CatalogNote(severity, text))


def _parts(series: str) -> tuple[str, str]:
    """Raises BadInput."""
    asset, _, frame = series.partition("-")
    series_slug(asset, frame)
    if not (asset.isascii() and asset.isalnum()):
        raise BadInput(f"series {series!r} names no asset; write it as BTC-15m")
    return asset.upper(), frame


def _windows(asset: str, frame: str, since: Millis, until: Millis) -> Iterable[Window]:
    length, series = FRAMES_MS[frame], SeriesId(f"{asset}-{frame}")
    for start in range(since - since % length, until, length):
        yield Window(series, f"{asset.lower()}-updown-{frame}-{start // 1000}", Millis(start), Millis(start + length))


def _start(entries: tuple[Listing, ...]) -> tuple[int, MarketId]:
    first = entries[0] if entries else None
    return (first.market.window_start, first.market.id) if isinstance(first, MarketListed) else (0, MarketId(""))
