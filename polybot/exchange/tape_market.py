"""The exchange's market, driven by tapes: windows listed ahead, their recorded depth and trades played at their time of
the window, closed at their end, settled 20 to 90 s later with the recorded payout. Pure: the edge calls `step`.

Up and Down are one pool in the engine, so one outcome's recorded books are played and the other is their mirror image.
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, LevelsChanged, MarketEvent, TickSizeChanged, TradePrinted
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Price, Shares
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import STREET, Listing
from polybot.exchange.gamma_texts import question_of
from polybot.exchange.recorded import RecordedWindow
from polybot.exchange.timetable import SERIES_MAX, SeriesPlan

NUMBER_UNIT_MS = 60_000
LISTED_AHEAD_MAX = 500


class MarketTerms(msgspec.Struct, frozen=True, kw_only=True):
    """`listed_ahead` windows are listed before they start (the venue: about a day of them). A settlement comes between
    `settled_after_ms` of the window's end; `settlements_held` keeps all of them back until it is off again.
    `kept` settled windows of each series stay for those who have not redeemed; older ones are forgotten."""

    listed_ahead: int = 8
    settled_after_ms: tuple[int, int] = (20_000, 90_000)
    settlements_held: bool = False
    kept: int = 200

    def __post_init__(self) -> None:
        least, most = self.settled_after_ms
        if not 0 <= least <= most or not 0 <= self.listed_ahead <= LISTED_AHEAD_MAX or self.kept < 1:
            raise BadInput(f"market terms {self} cannot be: see docs/exchange_market.md")


class ListedWindow(msgspec.Struct):
    """A window on the exchange and how far it has been played. Owned by the market."""

    plan: SeriesPlan
    listing: Listing
    recording: RecordedWindow
    played: Outcome
    listed_at: Millis
    position: int = 0
    settled_at: Millis | None = None

    @property
    def start(self) -> Millis:
        return self.listing.market.window_start

    @property
    def end(self) -> Millis:
        return self.listing.market.window_end

    def next_due(self) -> Millis | None:
        """When its next recorded event falls due; None once all are played, or the window has ended."""
        if self.position >= len(self.recording.events):
            return None
        due = Millis(self.start + self.recording.events[self.position].offset_ms)
        return due if due < self.end else None


class TapeMarket:
    """All series. What it does to the engine is dated with the `now` of the call: the engine's time never goes back."""

    def __init__(self, engine: Engine, plans: Sequence[SeriesPlan], now: Millis, terms: MarketTerms | None = None):
        self.terms = terms or MarketTerms()
        self.plans = list(plans)
        self.windows: dict[MarketId, ListedWindow] = {}
        self._engine = engine
        self._playing: dict[MarketId, ListedWindow] = {}
        self._unsettled: dict[MarketId, ListedWindow] = {}
        self._listed_until = [plan.current_start(now) for plan in self.plans]
        self.step(now)

    def step(self, now: Millis) -> None:
        """Everything that is due by `now`: listings, recorded events in their order, settlements."""
        self._list_ahead(now)
        while self._playing:
            window = min(self._playing.values(), key=_due_or_never)
            due = window.next_due()
            if due is None or due > now:
                break
            self._play(window, window.recording.events[window.position].event(), now)
            window.position += 1
        self._drop_played()
        self._settle(now)

    def next_due(self, now: Millis) -> Millis:
        """When `step` has something to do, no later than the next listing."""
        dues = [window.next_due() for window in self._playing.values()]
        dues += [self._settles_at(window) for window in self._unsettled.values() if not self.terms.settlements_held]
        dues += [
            Millis(until - self.terms.listed_ahead * plan.frame_ms)
            for until, plan in zip(self._listed_until, self.plans, strict=True)
        ]
        return min((due for due in dues if due is not None), default=now)

    # -- listing ------------------------------------------------------------------------------------------------------

    def _list_ahead(self, now: Millis) -> None:
        for index, plan in enumerate(self.plans):
            horizon = plan.current_start(now) + (self.terms.listed_ahead + 1) * plan.frame_ms
            # After a long sleep the windows nobody saw are left out rather than listed, played and settled at once.
            start = max(self._listed_until[index], plan.current_start(now))
            for window_start in range(start, horizon, plan.frame_ms):
                self._list(index, plan, Millis(window_start), now)
            self._listed_until[index] = Millis(max(start, horizon))

    def _list(self, index: int, plan: SeriesPlan, start: Millis, now: Millis) -> None:
        market, recording = plan.market(start), plan.recording(start)
        number = start // NUMBER_UNIT_MS * SERIES_MAX + index
        listing = Listing(market=market, number=number, question=question_of(market))
        played = Outcome.UP if Outcome.UP in recording.market.quoted else Outcome.DOWN
        window = ListedWindow(plan, listing, recording, played, now)
        self._engine.list_market(listing, now)
        self.windows[market.id] = self._playing[market.id] = self._unsettled[market.id] = window
        self._catch_up(window, now)
        self._forget_old(plan)

    def _catch_up(self, window: ListedWindow, now: Millis) -> None:
        """Joining a window under way: its book as it stands now, not a minute of past snapshots in one breath."""
        pending: list[MarketEvent] = []
        while (due := window.next_due()) is not None and due <= now:
            event = window.recording.events[window.position].event()
            if isinstance(event, BookReplaced) and event.outcome is window.played:
                pending = [earlier for earlier in pending if isinstance(earlier, TickSizeChanged)]
            if not isinstance(event, TradePrinted):
                pending.append(event)
            window.position += 1
        for event in pending:
            self._play(window, event, now)

    # -- playing ------------------------------------------------------------------------------------------------------

    def _play(self, window: ListedWindow, event: MarketEvent, now: Millis) -> None:
        engine, market = self._engine, window.listing.market.id
        match event:
            case BookReplaced() if event.outcome is window.played:
                bids, asks = _levels(event.bid_prices, event.bid_sizes), _levels(event.ask_prices, event.ask_sizes)
                if not bids or not asks or bids[-1][0] < asks[0][0]:  # six recorded snapshots are crossed: left out
                    engine.replace_depth(market, event.outcome, bids, asks, now)
            case LevelsChanged():
                changes = [change for change in event.changes if change.outcome is window.played]
                if changes:
                    engine.change_depth(market, changes, now)
            case TradePrinted():
                engine.print_trade(market, event.outcome, event.side, event.price, event.size, now)
            case TickSizeChanged():
                engine.change_tick(market, event.tick, now)
            case _:
                pass

    def _drop_played(self) -> None:
        for market in [name for name, window in self._playing.items() if window.next_due() is None]:
            del self._playing[market]

    # -- settling -----------------------------------------------------------------------------------------------------

    def _settles_at(self, window: ListedWindow) -> Millis:
        """Spread over the range by the market's name: the same for the same market, unlike for its neighbours."""
        least, most = self.terms.settled_after_ms
        digest = int.from_bytes(hashlib.sha256(window.listing.market.id.encode()).digest()[:4])
        return Millis(window.end + least + digest % (most - least + 1))

    def _settle(self, now: Millis) -> None:
        if self.terms.settlements_held:
            return
        for window in sorted(self._unsettled.values(), key=lambda w: w.end):
            if window.end > now:
                break
            if self._settles_at(window) <= now:
                self._engine.resolve(window.listing.market.id, window.recording.payout_up, now)
                self.note_settled(window.listing.market.id, now)

    def note_settled(self, market: MarketId, at: Millis) -> None:
        """It was resolved, by the tape or by somebody's hand; the tape has no more say in it."""
        window = self._unsettled.pop(market, None)
        self._playing.pop(market, None)
        if window is not None:
            window.settled_at = at

    def _forget_old(self, plan: SeriesPlan) -> None:
        """Settled windows of the series beyond those kept, unless a client still holds their shares."""
        settled = [w for w in self.windows.values() if w.plan is plan and w.settled_at is not None]
        for window in settled[: max(0, len(settled) - self.terms.kept)]:
            if not self._is_held(window.listing):
                self._engine.retire_market(window.listing.market.id)
                del self.windows[window.listing.market.id]

    def _is_held(self, listing: Listing) -> bool:
        accounts = self._engine.bank.accounts.items()
        return any(account.shares_of(t) for name, account in accounts if name != STREET for t in listing.tokens)


def _due_or_never(window: ListedWindow) -> float:
    due = window.next_due()
    return float("inf") if due is None else due


def _levels(prices: Iterable[Price], sizes: Iterable[Shares]) -> list[tuple[Price, Shares]]:
    return list(zip(prices, sizes, strict=True))
