"""What the floor shows: a fold of the facts kept for looking, and the status value made from it on demand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from polybot import __version__
from polybot.circuit import CircuitSnapshot
from polybot.clock import Clock
from polybot.desk.room import TradingRoom
from polybot.desk.state import fill_cost
from polybot.domain.book import Book
from polybot.domain.events import AgentState, WindowRecorded
from polybot.domain.market import Outcome
from polybot.domain.markets import MarketState
from polybot.domain.units import UNIT, Millis, Money
from polybot.floor.board_state import BoardState
from polybot.floor.boss import BOSS, Boss
from polybot.floor.status import (
    ACCOUNT,
    RECENT_TRADES_MAX,
    AccountStatus,
    AgentStatus,
    FeedHealth,
    FloorStatus,
    LeadStatus,
    LoopHealth,
    MarketStatus,
    PauseStatus,
    QuoteStatus,
    StoreState,
    StoreStatus,
)
from polybot.floor.supervisor import Supervisor
from polybot.learning.metrics import Score

FEED_AWAY_S_MAX = 60.0
"""A connection that is made anew in the meantime is no reason to call the floor unfit."""
LEADING = frozenset(("firm", "alone"))
NOT_LEADER = "whether this floor still leads its account is not known: no order is sent until it is"


class Stores(Protocol):
    """The state of what the floor writes to, and why it is not what it should be."""

    def database(self) -> StoreStatus: ...

    def redis(self) -> StoreStatus: ...

    def journal(self) -> StoreStatus: ...

    def circuits(self) -> Sequence[CircuitSnapshot]: ...


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the floor is open. `exposure_share` in millionths of the capital."""

    run: str
    mode: str
    source: str
    started_at: Millis
    capital: Money
    exposure_share: int
    events_total: int | None
    windows_total: int | None


class Board:
    """Answers how things stand, from the fold of the facts and a look at the room."""

    def __init__(self, room: TradingRoom, clock: Clock, wall_ms: Callable[[], Millis], state: BoardState) -> None:
        self.room, self._clock, self._wall_ms, self.state = room, clock, wall_ms, state
        self.info: RunInfo | None = None
        self.finished = False
        self.boss: Boss | None = None
        self.supervisor: Supervisor | None = None
        self.stores: Stores | None = None
        self.circuit_looks: list[Callable[[], CircuitSnapshot]] = []
        """The breakers on outside dependencies besides the stores: the venue's calls, the market feed."""
        self.loop_health: Callable[[], LoopHealth] | None = None
        self.lead: Callable[[], LeadStatus] | None = None
        self.feed: Callable[[], FeedHealth | None] = lambda: None
        self.account: Callable[[], AccountStatus | None] = lambda: None

    # -- answering ----------------------------------------------------------------------------------------------------

    def status(self) -> FloorStatus:
        """The floor as it is now. Cheap: it reads, it works nothing out."""
        info, stores, room = self.info, self.stores, self.room
        if info is None or stores is None:
            raise RuntimeError("the board is asked before the floor is open")
        floor = self.state.performance.floor
        reasons = tuple(self._unfit(stores))
        return FloorStatus(
            run=info.run,
            mode=info.mode,
            source=info.source,
            version=__version__,
            started_at=info.started_at,
            wall_time=self._wall_ms(),
            fit=not reasons,
            finished=self.finished,
            reasons=reasons,
            capital=info.capital,
            equity=room.equity(),
            cash=Money(sum(desk.state.cash for desk in room.desks.values())),
            exposure=room.exposure(),
            exposure_max=Money(room.capital_base() * info.exposure_share // UNIT),
            provisional=self._provisional(),
            pnl=floor.pnl,
            fees=floor.fees,
            market_time=self._clock.now_ms() or None,
            position=room.state.position,
            events_total=info.events_total,
            windows_settled=self.state.windows_settled,
            windows_total=info.windows_total,
            trades=floor.trades,
            wins=floor.wins,
            win_rate=floor.win_rate,
            paused=tuple(self._pauses()),
            agents=tuple(self._agents()),
            markets=tuple(self.market_lines()),
            recent_trades=tuple(reversed(self.state.trades.values()))[:RECENT_TRADES_MAX],
            equity_curve=tuple(self.state.curve),
            database=stores.database(),
            redis=stores.redis(),
            journal=stores.journal(),
            circuits=tuple(self.circuits()),
            loop=self.loop_health() if self.loop_health is not None else None,
            leadership=self.lead() if self.lead is not None else None,
            feed=self.feed(),
            account=self.account(),
        )

    def _unfit(self, stores: Stores) -> list[str]:
        """Why the floor should not trade. A pause is not unfitness: it is the floor doing its work."""
        reasons = []
        journal = stores.journal()
        if journal.state is StoreState.DOWN:  # on a slow disk everything takes longer, and nothing is less true
            reasons.append(f"journal: {journal.detail}")
        keepers = self.supervisor.keepers if self.supervisor is not None else []
        if self.finished:
            return reasons  # the agents have gone home in order
        if not keepers:
            reasons.append("the agents have not been started")
        feed = self.feed()
        if feed is not None and feed.outage_since is not None:
            away_s = (self._clock.now_ms() - feed.outage_since) / 1000
            if away_s > FEED_AWAY_S_MAX:
                reasons.append(f"market data stopped {away_s:.0f} s ago: nothing is traded until it is back")
        reasons += [
            f"{keeper.spec.name} is {keeper.state}: {keeper.text}"
            for keeper in keepers
            if keeper.state in (AgentState.CRASHED, AgentState.BENCHED, AgentState.STOPPED)
        ]
        return reasons

    def _pauses(self) -> list[PauseStatus]:
        scopes: list[tuple[str, Mapping[str, Millis | None]]] = [("floor", self.room.state.pauses)]
        scopes += [(desk.agent, desk.state.pauses) for desk in self.room.desks.values()]
        open_now = [
            PauseStatus(scope=scope, breaker=breaker, text=self._why(breaker), until=until)
            for scope, pauses in scopes
            for breaker, until in pauses.items()
        ]
        if not self.room.fence() and not self._leads():
            open_now.append(PauseStatus(scope="floor", breaker="not_leader", text=NOT_LEADER))
        return open_now

    def _why(self, breaker: str) -> str:
        account = self.account()
        if breaker == ACCOUNT and account is not None and account.troubles:
            return "; ".join(account.troubles)
        return f"the {breaker} breaker is open"

    def _leads(self) -> bool:
        """The fence is shut by the account and the kill switch as well, which are pauses of their own."""
        return self.lead is not None and self.lead().footing in LEADING

    def _provisional(self) -> Money:
        fills = (fill for desk in self.room.desks.values() for fill in desk.state.provisional.values())
        return Money(sum(fill_cost(fill) + fill.fee for fill in fills))

    def _agents(self) -> list[AgentStatus]:
        keepers = self.supervisor.keepers if self.supervisor is not None else []
        lines = [self._boss_line(self.boss)] if self.boss is not None else []
        for keeper in keepers:
            name = keeper.spec.name
            desk, score = self.room.desks.get(name), self.state.performance.agents.get(name, Score())
            record = self.state.last_records.get(name)
            beat = None if keeper.agent is None else self._clock.monotonic() - keeper.agent.heart.last_beat
            lines.append(
                AgentStatus(
                    id=name,
                    name=name,
                    role=keeper.spec.role,
                    state=keeper.state,
                    strategy=desk.strategy.name if desk is not None else None,
                    last_beat_age_s=beat,
                    restarts=keeper.restarts,
                    trades=score.trades,
                    wins=score.wins,
                    win_rate=score.win_rate,
                    pnl=score.pnl,
                    fees=score.fees,
                    equity=desk.state.equity if desk is not None else Money(0),
                    exposure=desk.state.exposure if desk is not None else Money(0),
                    last_verdict=record.verdict if record is not None else None,
                    last_reason=_reason(record) if record is not None else "",
                )
            )
        return lines

    def _boss_line(self, boss: Boss) -> AgentStatus:
        """The boss has no keeper: while it is open it runs, and if it stops looking, the process ends."""
        beat = self._clock.monotonic() - boss.last_look
        return AgentStatus(id=BOSS, name=BOSS, role="boss", state=AgentState.RUNNING, last_beat_age_s=beat)

    def market_lines(self) -> list[MarketStatus]:
        now = self._clock.now_ms()
        shown = [s for s in self.room.markets.by_id.values() if s.payout_up is None]
        return [self._market(state, now) for state in sorted(shown, key=lambda s: s.market.window_end)]

    def circuits(self) -> list[CircuitSnapshot]:
        """Breakers on outside dependencies, as /health, the metrics and Redis show them (R9)."""
        stores = self.stores.circuits() if self.stores is not None else ()
        return [*stores, *(look() for look in self.circuit_looks)]

    @staticmethod
    def _market(state: MarketState, now: Millis) -> MarketStatus:
        market = state.market
        return MarketStatus(
            id=market.id,
            series=market.series,
            window_start=market.window_start,
            window_end=market.window_end,
            seconds_left=max(0.0, (market.window_end - now) / 1000),
            up=_quote(state.books[Outcome.UP], now),
            down=_quote(state.books[Outcome.DOWN], now),
        )


def _quote(book: Book, now: Millis) -> QuoteStatus:
    age = book.age_ms(now) if book.received else None
    return QuoteStatus(bid=book.best_bid, ask=book.best_ask, book_state=book.state, book_age_ms=age)


def _reason(record: WindowRecorded) -> str:
    if record.value is None or record.threshold is None:
        return record.reason
    return f"{record.reason}: {record.value:.4g}, needed {record.threshold:.4g}"
