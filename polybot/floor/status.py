"""What the floor says about itself: one frozen value per look, and where looks at the past come from.

The floor fills it, the web and the terminal only show it: nothing here is worked out by those who look. Money, prices
and shares are millionths, instants are UTC milliseconds (`Millis`), spans carry their unit at the end of their name.
"""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from polybot.circuit import CircuitSnapshot
from polybot.domain.book import BookState
from polybot.domain.errors import PolybotError
from polybot.domain.events import AgentState, Severity, Verdict
from polybot.domain.ids import AgentId, MarketId, SeriesId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Money, Price, Shares

EQUITY_POINTS_MAX = 400
"""The whole curve goes out with every look, about once a second: thin it to this many points, newest kept."""
RECENT_TRADES_MAX = 25

# -- the present ------------------------------------------------------------------------------------------------------


class StoreState(enum.StrEnum):
    """OK: up and level with the journal. DEGRADED: usable but behind or slow. DOWN: not answering."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`since`: the wall time at which the present trouble began, None without one.

    `lag_rows` counts facts journaled but not yet here; `caught_up_rows` those carried over after the last outage, None
    where there was none, or where rows are not counted.
    """

    state: StoreState
    since: Millis | None = None
    detail: str = ""
    lag_rows: int = 0
    caught_up_rows: int | None = None


ACCOUNT = "account"
"""The breaker that is open while something speaks against trading with this account (live_trading.py)."""
ENDS_BY_ITSELF = frozenset((ACCOUNT, "auditor_away", "not_leader", "venue_calls"))


class PauseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker that is open. `scope` is "floor" or an agent's id; `until` None: until a person resumes (R14), or, of
    those in ENDS_BY_ITSELF, until what opened it is over."""

    scope: str
    breaker: str
    text: str
    until: Millis | None = None


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. The money stays 0 and `strategy` None for those that do not trade (auditor, monitor).

    `last_verdict` and `last_reason` say what it did in its last window and why, in the words of the record (R22).
    """

    id: AgentId
    name: str
    role: str
    state: AgentState
    strategy: str | None = None
    last_beat_age_s: float | None = None
    restarts: int = 0
    trades: int = 0
    wins: int = 0
    win_rate: float | None = None
    pnl: Money = Money(0)
    fees: Money = Money(0)
    equity: Money = Money(0)
    exposure: Money = Money(0)
    last_verdict: Verdict | None = None
    last_reason: str = ""


class QuoteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome's top of book; None where nobody quotes, or nothing has come yet. The age is in market time."""

    bid: Price | None = None
    ask: Price | None = None
    book_state: BookState = BookState.UNVERIFIABLE
    book_age_ms: int | None = None


class MarketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A market the floor follows now; `seconds_left` in market time, 0 while its pay-out is awaited."""

    id: MarketId
    series: SeriesId
    window_start: Millis
    window_end: Millis
    seconds_left: float
    up: QuoteStatus
    down: QuoteStatus


class TradeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One trade as people read it; `price` is the average paid, `pnl` None until its market has settled."""

    at: Millis
    agent: AgentId
    market: MarketId
    outcome: Outcome
    shares: Shares
    price: Price
    fees: Money
    pnl: Money | None = None
    reason: str = ""


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    at: Millis
    equity: Money


class LoopHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the event loop has turned since it is watched. A stall is a beat that came late, whatever the reason.

    `longest_stall_s` is the longest of all, `stalls` and `stalled_s` count and sum those over a quarter of a second;
    `standstills` are the times the whole process did not run for over a second (suspended, or the machine starved).
    """

    beats: int = 0
    longest_stall_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    standstills: int = 0


class LeadStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How firmly this floor leads its account (0004-one-floor.md). `epoch` 0: no database has confirmed it yet.

    `footing`: firm, alone (trades without a lease), asleep or paused (does not trade), deposed. `standby`: another
    instance is ready to take over.
    """

    footing: str
    epoch: int
    holder: str
    standby: bool


class PriceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last reference price of an asset from one source: `age_ms` by its own date, `stale` where that is too old."""

    asset: str
    source: str
    age_ms: int
    stale: bool


class PriceSocketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One price socket. Counts are since the start: `lost` by the server's numbers, `repeated` not newer than the last,
    `future` dated ahead of our clock. `trouble`: why it was last made anew."""

    name: str
    connected: bool
    reconnects: int
    unreadable: int
    lost: int
    repeated: int
    future: int
    trouble: str


class BookCheckStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Books compared with those served over REST, counted by what came of it (venue/polymarket/book_check.py)."""

    equal: int
    contradicted: int
    disbelieved: int
    stale: int
    unclear: int
    unreadable: int
    failed: int


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's own sockets. Counts are since the start; `merged`: repetitions of one market socket by the other.

    `check` None: books are not compared.
    """

    sockets: int
    sockets_up: int
    socket_reconnects: int
    unreadable: int
    merged: int
    early_results: int
    price_sockets: tuple[PriceSocketStatus, ...]
    check: BookCheckStatus | None


class FeedHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The feed at one moment. Counts are since the start; `silent_ms` and `late_ms` None before the first event.

    `outage_since` is when data stopped, None while it flows. `sources` None: a feed process has them (POLYBOT_ROLE).
    """

    connected: bool
    outage_since: Millis | None
    silent_ms: int | None
    late_ms: int | None
    followed: int
    reconnects: int
    refreshes: int
    duplicates: int
    late: int
    stale: int
    future: int
    contradicted: int
    prices: tuple[PriceStatus, ...] = ()
    sources: SourceStatus | None = None


class LineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A feed's line to its floors, counted since the start: events `said` and `lost`, books `asked` for.

    `speaking` False while the line is gone or another feed speaks, for whose end this one `waits`.
    """

    speaking: bool
    waits: bool
    said: int
    lost: int
    asked: int
    trouble: str | None


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Real money at the venue. `wallet` is its pUSD at the last reading, of which `elsewhere` is not the floor's.

    `unpaid`: wins that are settled and not redeemed yet; `dust`: left lying, too little for a transaction. `troubles`:
    why nothing is bought now.
    """

    wallet: Money | None
    elsewhere: Money | None
    unpaid: Money
    dust: Money
    channel_open: bool
    heartbeat_armed: bool
    reading_age_s: float | None
    troubles: tuple[str, ...]


class FloorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The floor at one moment.

    `wall_time` is when this value was made: a looker that sees it stand still knows the floor is frozen. `market_time`
    is the time of the last market event (the tape's own, on a tape), None before the first. The totals are None where
    there is no end, as on a live feed. `reasons` says why the floor is not fit to trade, and is empty when it is.
    `exposure_max` is the floor's limit on open positions (R13).
    """

    run: str
    mode: str
    source: str
    version: str
    started_at: Millis
    wall_time: Millis
    fit: bool
    capital: Money
    equity: Money
    cash: Money
    exposure: Money
    pnl: Money
    database: StoreStatus
    redis: StoreStatus
    journal: StoreStatus
    finished: bool = False
    """There is nothing left to trade: the tape is over, and the page is kept up to look at."""
    exposure_max: Money | None = None
    provisional: Money = Money(0)
    """What of the exposure are fills that are matched and not confirmed yet: they may still fail (D9)."""
    fees: Money = Money(0)
    market_time: Millis | None = None
    position: int = 0
    events_total: int | None = None
    windows_settled: int = 0
    windows_total: int | None = None
    trades: int = 0
    wins: int = 0
    win_rate: float | None = None
    reasons: tuple[str, ...] = ()
    paused: tuple[PauseStatus, ...] = ()
    agents: tuple[AgentStatus, ...] = ()
    markets: tuple[MarketStatus, ...] = ()
    recent_trades: tuple[TradeLine, ...] = ()
    equity_curve: tuple[EquityPoint, ...] = ()
    circuits: tuple[CircuitSnapshot, ...] = ()
    """The breakers on outside dependencies; their times are of the clock each of them goes by."""
    loop: LoopHealth | None = None
    leadership: LeadStatus | None = None
    feed: FeedHealth | None = None
    """The live market data's connection; None on a tape."""
    account: AccountStatus | None = None


# -- the past ---------------------------------------------------------------------------------------------------------


class WindowLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did in one window; the numbers are those of the reason that decided, None where it has none."""

    at: Millis
    agent: AgentId
    market: MarketId
    verdict: Verdict
    reason: str
    value: float | None = None
    threshold: float | None = None
    shortfall: float | None = None
    text: str = ""


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `system_events`."""

    at: Millis
    severity: Severity
    component: str
    text: str


class MetricsLine(msgspec.Struct, frozen=True, kw_only=True):
    """The monitor's figures at one time; agent None is the floor. Ratios are plain numbers, 0.55 is 55 %."""

    at: Millis
    agent: AgentId | None
    trades: int
    wins: int
    pnl: Money
    fees: Money
    equity: Money
    exposure: Money
    win_rate: float | None
    sharpe: float | None
    drawdown: float
    uptime: float


class StoreUnavailable(PolybotError):
    """The store that keeps the past does not answer; the text says which and what still works."""


class SwitchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about somebody's wish to stop or resume; `trouble` is what could not be done, "" where all was."""

    done: str
    trouble: str = ""


class Switch(Protocol):
    """How the floor is stopped by a person: floor-wide, durable, and lifted by `resume` alone (floor/kill_switch.py).

    `by` says who it was, for the record. All may be repeated.
    """

    async def stop(self, *, cancel_all: bool, by: str) -> SwitchReport: ...

    async def pause(self, *, by: str) -> SwitchReport: ...

    async def resume(self, *, by: str) -> SwitchReport: ...


class StatusSource(Protocol):
    """Where looks come from. `status` is cheap and never waits; the others read the database, newest first, at most
    `limit` rows, and raise StoreUnavailable while it is away."""

    def status(self) -> FloorStatus: ...

    async def trades(self, limit: int) -> Sequence[TradeLine]: ...

    async def windows(self, limit: int) -> Sequence[WindowLine]: ...

    async def events(self, limit: int) -> Sequence[EventLine]: ...

    async def metrics_history(self, agent: AgentId | None, limit: int) -> Sequence[MetricsLine]: ...
