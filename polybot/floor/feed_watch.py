"""Watches a market data feed that may lie: what is a repetition, what is missing, and what to ask for anew. Pure.

Told of every event and of the time, it answers with commands. The house's rules of what may be asked how often:

* a connection on which nothing came for `silence_ms` is made anew, as is one that for so long told everything late;
  each time in vain doubles the patience, up to `silence_ms_max`;
* a book of an open window that is not verified, or was last known good `refresh_ms` ago, is asked for anew: at once,
  then after 1, 2, 4 ... s in vain, at most `spacing_ms_max` apart. A dead market so costs two requests a minute, a
  quiet one a request every `refresh_ms`. Where that helps nothing, a new connection is tried, once.
"""

from collections import deque
from collections.abc import Collection, Iterable

import msgspec

from polybot.domain.book import BookState
from polybot.domain.events import BookReplaced, LevelsChanged, MarketEvent, SnapshotRequested, TradePrinted
from polybot.domain.ids import MarketId
from polybot.domain.markets import MarketState, Oddities
from polybot.domain.units import Millis
from polybot.floor.status import FeedHealth

REMEMBERED = 64
"""Changes and trades per market among which a repetition is found."""


class WatchTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds throughout. `refresh_ms` is below the gate's bound for a book's age, so that answers are in time."""

    silence_ms: int = 10_000
    silence_ms_max: int = 60_000
    refresh_ms: int = 3_000
    spacing_ms_first: int = 1_000
    spacing_ms_max: int = 30_000
    late_ms: int = 5_000
    requests_in_vain_max: int = 5


class Reconnect(msgspec.Struct, frozen=True):
    """Hang up and connect anew; `reason` is for people."""

    reason: str


class Refresh(msgspec.Struct, frozen=True):
    """Ask for this market's snapshots anew."""

    market: MarketId


Command = Reconnect | Refresh


class FeedWatch:
    """Memory of one feed: when it last spoke, what it said lately, and what has been asked of it."""

    def __init__(self, terms: WatchTerms) -> None:
        self.terms = terms
        self.connected = False
        self.duplicates = self.reconnects = self.refreshes = 0
        self.outage_since: Millis | None = None
        self._heard_at: Millis | None = None
        self._lag_ms: int | None = None
        self._late_since: Millis | None = None
        self._patient_since = Millis(0)
        self._in_vain = 0
        self._recent: dict[MarketId, _Recent] = {}
        self._asked: dict[MarketId, _Asked] = {}

    # -- what it is told ----------------------------------------------------------------------------------------------

    def opened(self, now: Millis) -> None:
        """A connection stands; whether anything comes is yet to be seen."""
        self.connected = True
        self._patient_since, self._late_since = now, None

    def closed(self, now: Millis) -> bool:
        """The connection is gone, or given up; returns whether that is the beginning of an outage."""
        self.connected = False
        self.reconnects += 1
        begins = self.outage_since is None
        if begins:
            self.outage_since = self._heard_at or now
        return begins

    def admit(self, event: MarketEvent) -> bool:
        """Take note of an event before anyone sees it; False for one that only repeats another."""
        now = event.received
        self._heard_at = now
        kind = type(event)
        if kind is LevelsChanged or kind is TradePrinted:
            self._note_lag(now - event.at, now)
        if isinstance(event, SnapshotRequested):  # the feed's own doubt
            self.asked(event.markets)
        elif isinstance(event, LevelsChanged | TradePrinted | BookReplaced) and self._repeats(event):
            self.duplicates += 1
            return False
        return True

    def resumed(self, now: Millis) -> int | None:
        """Data flows: how long the outage was that ends with it, in milliseconds; None where there was none."""
        since, self.outage_since = self.outage_since, None
        return None if since is None else max(0, now - since)

    def asked(self, markets: Iterable[MarketId]) -> None:
        """A snapshot was asked for: one that repeats the last is news."""
        for market in markets:
            self._recent.setdefault(market, _Recent()).books.clear()

    def subscribed(self, markets: Iterable[MarketId], now: Millis) -> None:
        """Their first snapshots are on their way: not to be asked for again at once."""
        for market in markets:
            was = self._asked.get(market)
            asked = self._asked[market] = _Asked()
            asked.times, asked.next_at = 1, Millis(now + self.terms.spacing_ms_first)
            asked.hung_up = was is not None and was.hung_up

    def keep_only(self, markets: Collection[MarketId]) -> None:
        """Forget every other market, also what came late of one that was forgotten before."""
        for remembered in (self._recent, self._asked):
            for market in [market for market in remembered if market not in markets]:
                del remembered[market]

    # -- what it answers ----------------------------------------------------------------------------------------------

    def look(self, now: Millis, followed: Iterable[MarketState]) -> list[Command]:
        """What to do now. Call it often: it costs little, and asks for nothing twice in a row."""
        if not self.connected:
            return []
        live = [state for state in followed if now < state.market.window_end and state.payout_up is None]
        is_open = any(state.market.window_start <= now for state in live)
        reason = self._hang_up_for(now) if is_open else None
        if reason is not None:
            self._in_vain += 1
            return [Reconnect(reason)]
        commands = [command for state in live if (command := self._ask_for(state, now)) is not None]
        self.refreshes += sum(isinstance(command, Refresh) for command in commands)
        return commands

    def health(self, now: Millis, oddities: Oddities, followed: int) -> FeedHealth:
        return FeedHealth(
            connected=self.connected,
            outage_since=self.outage_since,
            silent_ms=None if self._heard_at is None else max(0, now - self._heard_at),
            late_ms=self._lag_ms,
            followed=followed,
            reconnects=self.reconnects,
            refreshes=self.refreshes,
            duplicates=self.duplicates,
            late=oddities.late,
            stale=oddities.stale,
            future=oddities.future,
            contradicted=oddities.contradicted,
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _note_lag(self, lag_ms: int, now: Millis) -> None:
        self._lag_ms = lag_ms
        if lag_ms < self.terms.late_ms:
            self._late_since, self._in_vain = None, 0
        elif self._late_since is None:
            self._late_since = now

    def _repeats(self, event: LevelsChanged | TradePrinted | BookReplaced) -> bool:
        recent = self._recent.get(event.market)
        if recent is None:
            recent = self._recent[event.market] = _Recent()
        return recent.repeats(event)

    def _hang_up_for(self, now: Millis) -> str | None:
        patience = min(self.terms.silence_ms * 2 ** min(self._in_vain, 10), self.terms.silence_ms_max)
        silent = now - max(self._heard_at or self._patient_since, self._patient_since)
        if silent >= patience:
            return f"nothing was heard for {silent / 1000:.1f} s"
        if self._late_since is not None and now - self._late_since >= patience:
            return (
                f"everything has come late for {(now - self._late_since) / 1000:.1f} s, by {self._lag_ms} ms just now"
            )
        return None

    def _ask_for(self, state: MarketState, now: Millis) -> Command | None:
        market, terms = state.market.id, self.terms
        if not self._needs(state, now):
            self._asked.pop(market, None)
            return None
        asked = self._asked.setdefault(market, _Asked())
        if now < asked.next_at:
            return None
        spacing = min(terms.spacing_ms_first * 2 ** min(asked.times, 10), terms.spacing_ms_max)
        asked.times, asked.next_at = asked.times + 1, Millis(now + spacing)
        in_vain = asked.times > terms.requests_in_vain_max and now >= state.market.window_start
        if in_vain and not asked.hung_up:  # once: the other markets' books are on that connection too
            asked.hung_up = True
            return Reconnect(f"{market} was asked for {terms.requests_in_vain_max} times in vain")
        return Refresh(market)

    def _needs(self, state: MarketState, now: Millis) -> bool:
        """Before its window a market is quiet, and its books may be as old as they like."""
        if now < state.market.window_start:
            return any(book.needs_snapshot for book in state.books)
        age_max = self.terms.refresh_ms
        return any(book.state is not BookState.VERIFIED or book.age_ms(now) >= age_max for book in state.books)


class _Asked:
    """How often a market was asked for in vain, when it may be asked for next, and whether a new connection was tried.

    It lasts until the market's books are well again.
    """

    __slots__ = ("hung_up", "next_at", "times")

    def __init__(self) -> None:
        self.times, self.next_at, self.hung_up = 0, Millis(0), False


class _Recent:
    """What one market's stream said lately, so that its repetitions are known; the times of receipt do not count."""

    __slots__ = ("books", "changes", "newest_at", "trades")

    def __init__(self) -> None:
        self.newest_at = Millis(0)
        self.changes: deque[LevelsChanged] = deque(maxlen=REMEMBERED)
        self.trades: deque[TradePrinted] = deque(maxlen=REMEMBERED)
        self.books: dict[int, Millis] = {}

    def repeats(self, event: LevelsChanged | TradePrinted | BookReplaced) -> bool:
        if isinstance(event, BookReplaced):
            return self._repeats_book(event)
        if isinstance(event, TradePrinted):
            return self._repeats_trade(event)
        if event.at <= self.newest_at:
            if any(event.at == seen.at and event.changes == seen.changes for seen in self.changes):
                return True
        else:
            self.newest_at = event.at
        self.changes.append(event)
        return False

    def _repeats_trade(self, event: TradePrinted) -> bool:
        """Without a transaction two equal trades of one millisecond are taken for one: rather too little volume."""
        if any(event.at == seen.at and _trade(event) == _trade(seen) for seen in self.trades):
            return True
        self.trades.append(event)
        return False

    def _repeats_book(self, event: BookReplaced) -> bool:
        """A snapshot of the same date, that nobody asked for: what else that millisecond brought, its changes tell."""
        repeated = self.books.get(event.outcome) == event.at
        self.books[event.outcome] = event.at
        return repeated


def _trade(event: TradePrinted) -> tuple[object, ...]:
    return (event.outcome, event.side, event.price, event.size, event.transaction)
