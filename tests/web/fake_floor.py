"""A floor made of one value, for looking at."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from polybot.circuit import CircuitSnapshot, CircuitState
from polybot.domain.book import BookState
from polybot.domain.events import AgentState, Severity, Verdict
from polybot.domain.ids import AgentId, MarketId, SeriesId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Money, Price, Shares, parse_units
from polybot.floor.status import (
    AgentStatus,
    BookCheckStatus,
    EquityPoint,
    EventLine,
    FeedHealth,
    FloorStatus,
    LeadStatus,
    LoopHealth,
    MarketStatus,
    MetricsLine,
    PauseStatus,
    PriceSocketStatus,
    PriceStatus,
    QuoteStatus,
    SourceStatus,
    StoreState,
    StoreStatus,
    StoreUnavailable,
    TradeLine,
    WindowLine,
)

START = Millis(1_790_586_000_000)  # 2026-09-28T09:00:00Z
MARKET = MarketId("btc-updown-15m-1790586000")
PAUSE = PauseStatus(scope="floor", breaker="daily_loss", text="lost 10.2 % today, limit 10 %", until=None)


def money(text: str) -> Money:
    return Money(parse_units(text))


def a_trade(number: int = 0, **changes: Any) -> TradeLine:
    trade = TradeLine(
        at=Millis(START + number * 61_000),
        agent=AgentId("momentum"),
        market=MARKET,
        outcome=Outcome.UP,
        shares=Shares(38_460_000),
        price=Price(520_000),
        fees=Money(671_900),
        pnl=money("17.79"),
        reason="moved +0.14 % in 120 s, fair value 0.61 against an ask of 0.52",
    )
    return msgspec.structs.replace(trade, **changes)


def a_market(**changes: Any) -> MarketStatus:
    market = MarketStatus(
        id=MARKET,
        series=SeriesId("BTC-15m"),
        window_start=START,
        window_end=Millis(START + 900_000),
        seconds_left=432.5,
        up=QuoteStatus(bid=Price(510_000), ask=Price(520_000), book_state=BookState.VERIFIED, book_age_ms=240),
        down=QuoteStatus(bid=Price(480_000), ask=None, book_state=BookState.CONTRADICTED, book_age_ms=None),
    )
    return msgspec.structs.replace(market, **changes)


def an_agent(name: str = "momentum", **changes: Any) -> AgentStatus:
    agent = AgentStatus(
        id=AgentId(name),
        name=name,
        role="trader",
        state=AgentState.RUNNING,
        strategy=name,
        last_beat_age_s=0.4,
        restarts=1,
        trades=11,
        wins=6,
        win_rate=6 / 11,
        pnl=money("-3.214999"),
        fees=money("4.02"),
        equity=money("330.118334"),
        exposure=money("20"),
        last_verdict=Verdict.PASSED,
        last_reason="edge 0.012 below the 0.02 asked for",
    )
    return msgspec.structs.replace(agent, **changes)


def an_auditor() -> AgentStatus:
    return AgentStatus(id=AgentId("auditor"), name="auditor", role="auditor", state=AgentState.RUNNING)


def a_circuit(name: str, *, state: CircuitState = CircuitState.CLOSED) -> CircuitSnapshot:
    is_open = state is CircuitState.OPEN
    return CircuitSnapshot(
        name=name,
        state=state,
        since=START,
        failures=7 if is_open else 0,
        trips=1 if is_open else 0,
        next_probe_at=Millis(START + 6_000) if is_open else None,
        error_rate=0.25 if is_open else None,
    )


def a_status(**changes: Any) -> FloorStatus:
    fine = StoreStatus(state=StoreState.OK, since=START)
    status = FloorStatus(
        run="run-7",
        mode="paper",
        source="tape btc15m_l2 at 60x",
        version="0.1.0",
        started_at=START,
        wall_time=Millis(START + 5_000),
        market_time=Millis(START + 467_500),
        fit=True,
        capital=money("1000"),
        equity=money("996.785001"),
        cash=money("976.785001"),
        exposure=money("20"),
        exposure_max=money("400"),
        pnl=money("-3.214999"),
        fees=money("4.02"),
        trades=11,
        wins=6,
        win_rate=6 / 11,
        position=412_345,
        events_total=1_000_000,
        windows_settled=5,
        windows_total=12,
        database=fine,
        redis=StoreStatus(state=StoreState.DOWN, since=START, detail="connection refused", lag_rows=3),
        journal=fine,
        agents=(an_agent(), an_auditor()),
        markets=(a_market(),),
        recent_trades=(a_trade(), a_trade(1, pnl=None, outcome=Outcome.DOWN)),
        equity_curve=tuple(
            EquityPoint(at=Millis(START + i * 60_000), equity=money(text))
            for i, text in enumerate(("1000", "1004.5", "996.785001"))
        ),
        circuits=(a_circuit("database"), a_circuit("redis", state=CircuitState.OPEN)),
        loop=LoopHealth(beats=1_000, longest_stall_s=0.031, stalls=2, stalled_s=0.75, standstills=1),
        leadership=LeadStatus(footing="firm", epoch=7, holder="desk:1", standby=True),
    )
    return msgspec.structs.replace(status, **changes)


def a_feed(*, price_age_ms: int = 800, **changes: Any) -> FeedHealth:
    """Live data by one market socket, and prices of two sources by one price socket; the second has the given age."""
    rtds = PriceSocketStatus(
        name="rtds", connected=True, reconnects=2, unreadable=0, lost=0, repeated=7, future=0, trouble="closed"
    )
    check = BookCheckStatus(equal=40, contradicted=1, disbelieved=0, stale=2, unclear=3, unreadable=0, failed=4)
    sources = SourceStatus(
        sockets=2, sockets_up=1, socket_reconnects=3, unreadable=5, merged=99, early_results=1,
        price_sockets=(rtds,), check=check,
    )  # fmt: skip
    prices = tuple(
        PriceStatus(asset="BTC", source=source, age_ms=age_ms, stale=age_ms > 30_000)
        for source, age_ms in (("rtds-binance", 300), ("rtds-chainlink", price_age_ms))
    )
    feed = FeedHealth(
        connected=True, outage_since=None, silent_ms=120, late_ms=40, followed=4, reconnects=1, refreshes=12,
        duplicates=6, late=0, stale=0, future=0, contradicted=2, prices=prices, sources=sources,
    )  # fmt: skip
    return msgspec.structs.replace(feed, **changes)


class FakeFloor:
    """Holds a status to be changed by the test; `away` makes the store say why it can't be asked."""

    def __init__(self, status: FloorStatus | None = None) -> None:
        self.now = status or a_status()
        self.away = ""
        self.hangs = False
        self.asked: list[tuple[str, int]] = []

    def change(self, **changes: Any) -> None:
        self.now = msgspec.structs.replace(self.now, **changes)

    def status(self) -> FloorStatus:
        return self.now

    async def trades(self, limit: int) -> Sequence[TradeLine]:
        await self._ask("trades", limit)
        return [a_trade(number) for number in range(3)][:limit]

    async def windows(self, limit: int) -> Sequence[WindowLine]:
        await self._ask("windows", limit)
        line = WindowLine(at=START, agent=AgentId("momentum"), market=MARKET, verdict=Verdict.DOWN, reason="crashed")
        return [line]

    async def events(self, limit: int) -> Sequence[EventLine]:
        await self._ask("events", limit)
        return [EventLine(at=START, severity=Severity.ERROR, component="floor", text="momentum crashed")]

    async def metrics_history(self, agent: AgentId | None, limit: int) -> Sequence[MetricsLine]:
        await self._ask(f"metrics of {agent}", limit)
        return []

    async def _ask(self, what: str, limit: int) -> None:
        self.asked.append((what, limit))
        if self.hangs:
            await asyncio.sleep(3600)
        if self.away:
            raise StoreUnavailable(self.away)
