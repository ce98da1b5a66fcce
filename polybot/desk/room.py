"""The trading room: every desk, the markets they share, and the floor-wide numbers that belong to none of them.

Backtest, paper and live differ in who feeds it and who carries out its verdicts; the room is the same. Whatever is
*due* (a market to settle, a window to record, a breaker to open) is found from the state, not from having seen the
moment, so that a restart finds it too.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from polybot.desk.desk import AgentPlan, Desk, DeskVerdict, FloorView
from polybot.desk.intake import Intake, Taken
from polybot.desk.state import DeskState
from polybot.desk.told import Told
from polybot.desk.wallet import WALLET_FACTS, WalletState
from polybot.domain.events import (
    AnyFact,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketEvent,
    MarketOpened,
    MarketSettled,
    MetricsRecorded,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    ReferencePriced,
    RunStarted,
    SignalRefused,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    TradingResumed,
    VenueReply,
    WalletMoved,
)
from polybot.domain.fact import AgentFact
from polybot.domain.ids import AgentId, MarketId, OrderId, SeriesId
from polybot.domain.market import Market
from polybot.domain.markets import Markets, MarketState
from polybot.domain.units import Millis, Money, Price
from polybot.risk.breakers import DayBook, daily_breakers
from polybot.risk.limits import Limits
from polybot.risk.ramp import RampRecord, ramp_order_cost

RETIRE_AFTER_MS = 600_000
"""A market is forgotten this long after its window, once settled and recorded by every desk."""
FOREVER = Millis(2**62)
NOTHING_FALLS_DUE = frozenset(
    (IntentRecorded, OrderAccepted, FillMatched, SignalRefused, TradeAudited, MetricsRecorded, WalletMoved)
)
"""Facts after which nothing is due that was not before: they open or grow something, or only tell."""


ENDS_AN_ORDER = frozenset((FillConfirmed, FillFailed, OrderClosed, OrderRejected))
"""Facts after which something is due only where a window is over and waits for them."""

DUE_AT_ONCE = 100
"""Facts in one go: a window of thousands of trades is settled in steps, between which the loop comes round."""


class RoomState(msgspec.Struct, kw_only=True):
    """All that must survive (D7), as plain data: the checkpoint is this."""

    position: int = 0
    markets: dict[MarketId, Market] = {}
    payouts: dict[MarketId, Price] = {}
    desks: dict[AgentId, DeskState] = {}
    pauses: dict[str, Millis | None] = {}
    began: Millis | None = None
    """When capital was first allotted: windows that ended before were never ours."""
    told: dict[SeriesId, Told] = {}
    """The windows of each series whose story is over: they are not opened again."""
    latest: Millis = Millis(0)
    """The time of the last fact (intents aside): from there to the next start nobody was there."""
    day: DayBook = msgspec.field(default_factory=DayBook)
    ramp: RampRecord = msgspec.field(default_factory=RampRecord)
    wallet: WalletState = msgspec.field(default_factory=WalletState)


class TradingRoom:
    """Owner of the markets, the desks and the treasury's numbers."""

    def __init__(self, plans: Sequence[AgentPlan], limits: Limits, state: RoomState | None = None) -> None:
        self.limits = limits
        self.state = state or RoomState()
        self.markets = Markets(spec for plan in plans for spec in plan.strategy.indicators())
        self.absent: set[AgentId] = set()
        self.fence: Callable[[], bool] = lambda: True
        """Whether this process may trade at all (one floor per account: storage/leadership.py)."""
        view = FloorView(self._position, self.capital_base, self.exposure, self._floor_pause, self.order_cost_max)
        self.desks: dict[AgentId, Desk] = {}
        for plan in plans:
            own = self.state.desks.setdefault(plan.agent, DeskState(agent=plan.agent))
            self.desks[plan.agent] = Desk(plan, limits, view, own)
        self._in_order = tuple(self.desks.values())
        self._looks_again = True
        self._next_due = FOREVER
        self._here_since = Millis(0)
        """When this process began: what happened to its orders before that it learns only now."""

    # -- the floor's numbers ------------------------------------------------------------------------------------------

    def capital(self) -> Money:
        """What has been put in."""
        return Money(sum(desk.state.capital for desk in self._in_order))

    def equity(self) -> Money:
        """Settled equity of all desks."""
        return Money(sum(desk.state.equity for desk in self._in_order))

    def exposure(self) -> Money:
        return Money(sum(desk.state.exposure for desk in self._in_order))

    def capital_base(self) -> Money:
        """What limits are reckoned from: capital, or settled equity where that is lower."""
        return Money(min(self.capital(), self.equity()))

    def order_cost_max(self) -> Money | None:
        """What the ramp lets one order cost now (R20); None: there is none, as with paper money."""
        return None if self.limits.ramp is None else ramp_order_cost(self.state.ramp, self.limits.ramp)

    # -- events and facts ---------------------------------------------------------------------------------------------

    def observe(self, event: MarketEvent) -> MarketState | None:
        """Bring a market event in, once, before any desk looks; the market it was about."""
        self.state.position += 1
        state = self.markets.apply(event)
        if self.absent and state is not None:
            for agent in self.absent:
                self.desks[agent].miss_event(state, event.received)
        if state is not None and (
            state.payout_up is not None or state.market is not self.state.markets.get(state.market.id)
        ):
            self._looks_again = True
        return state

    def affected(self, event: MarketEvent, state: MarketState | None) -> Iterable[MarketState]:
        """The markets desks may want to look at after this event."""
        if state is not None:
            return (state,)
        if isinstance(event, ReferencePriced):
            return tuple(s for s in self.markets.by_id.values() if s.market.asset == event.asset)
        return ()

    def intake(self, replies: Iterable[VenueReply]) -> Taken:
        """What of a venue's replies is news to the desks (intake.py)."""
        return Intake(self.desks).take(replies)

    def proven(self, agent: AgentId, order: OrderId) -> None:
        """The venue's whole account of an ended order is taken in: what waited for it may be due now."""
        self.desks[agent].proven(order)
        self._looks_again = True

    def step(self, event: MarketEvent, state: MarketState, now: Millis) -> list[DeskVerdict]:
        """Ask every desk in turn (a backtest's way; a running floor asks each desk from its own agent)."""
        verdicts: list[DeskVerdict] = []
        event_type = type(event)
        for desk in self._in_order:
            verdicts += desk.step(event_type, state, now)
        return verdicts

    def apply(self, fact: AnyFact) -> None:
        """Take a durable fact in, whether just journaled or read back at start-up."""
        kind = type(fact)
        if kind not in NOTHING_FALLS_DUE and (kind not in ENDS_AN_ORDER or self._something_waits(fact.at)):
            self._looks_again = True
        if isinstance(fact, AgentFact):
            desk = self.desks.get(fact.agent)
            if desk is not None:
                desk.apply(fact)
        else:
            self._take(fact)
        if kind is not IntentRecorded:  # which a running floor does not apply: its desk did, when it decided
            self.state.latest = max(self.state.latest, fact.at)
        if isinstance(fact, CapitalAllocated):
            self.state.began = fact.at if self.state.began is None else self.state.began
            self.state.day.deposit(fact.at, fact.moved)
        if kind in WALLET_FACTS:
            self.state.wallet.take(fact, self.state.markets)
        if isinstance(fact, TradeSettled):
            self.state.ramp.take(fact.at, fact.pnl)
        if kind is TradeSettled or kind is CapitalAllocated or not self.state.day.covers(fact.at):
            self.state.day.note(fact.at, self.equity())

    def _take(self, fact: AnyFact) -> None:
        """What concerns the floor, or every desk."""
        match fact:
            case RunStarted():
                self._here_since = fact.at
                self._missed(self.state.latest, fact.at)
            case MarketOpened():
                self._opened(fact)
            case MarketSettled():
                self.state.payouts[fact.market] = fact.payout_up
                for desk in self._in_order:
                    desk.apply(fact)
            case TradingPaused(agent=None):
                self.state.pauses[fact.breaker] = fact.until
            case TradingResumed(agent=None):
                self.state.pauses.pop(fact.breaker, None)
            case TradingPaused(agent=agent) | TradingResumed(agent=agent) if agent in self.desks:
                self.desks[agent].apply(fact)
            case _:
                pass

    def _opened(self, fact: MarketOpened) -> None:
        market = fact.market
        if market.id not in self.state.markets and market.window_end <= fact.at:
            self._miss(market.id)  # it is heard of only now that it is over
        self.state.markets[market.id] = market

    def _missed(self, since: Millis, until: Millis) -> None:
        """The floor itself was down from `since` to `until`: nobody was there for the windows in between."""
        for market in self.state.markets.values():
            if since <= market.window_start and market.window_end <= until:
                self._miss(market.id)

    def _miss(self, market: MarketId) -> None:
        for desk in self._in_order:
            if market not in desk.state.recorded:
                desk.state.tally(market).missed += 1

    def _something_waits(self, at: Millis) -> bool:
        """Whether a window that is over still waits for a desk's last orders and fills."""
        return any(
            market.id not in desk.state.recorded or market.id in desk.state.positions
            for market in self.state.markets.values()
            if market.window_end <= at or market.id in self.state.payouts
            for desk in self._in_order
        )

    def due(self, now: Millis) -> list[AnyFact]:
        """Facts that the present state calls for, a part of them. Commit them and ask again, until there are none."""
        if not self._looks_again and now < self._next_due:
            return []
        facts = [*self._market_facts(now), *self._window_records(now), *self._pause_facts(now)]
        facts += [settled for desk in self._in_order for settled in desk.settlements(now)]
        if not facts:
            self._retire(now)
            self._looks_again = False
            self._next_due = self._next_deadline(now)
        return facts[:DUE_AT_ONCE]

    def _market_facts(self, now: Millis) -> list[AnyFact]:
        facts: list[AnyFact] = []
        for state in self.markets.by_id.values():
            market = state.market.id
            known = self.state.markets.get(market)
            if known is None and self._is_told(state.market, now):
                continue
            if known != state.market:
                facts.append(MarketOpened(at=now, market=state.market))
                continue
            self.state.markets[market] = state.market  # equal; now also identical, which `observe` asks
            if state.payout_up is not None and market not in self.state.payouts:
                facts.append(MarketSettled(at=now, market=market, payout_up=state.payout_up))
        return facts

    def _is_told(self, market: Market, now: Millis) -> bool:
        """Its story is over, or was never ours: a restart reads the tape, or the catalog, from before its time."""
        return _is_over(market, now) if self.state.began is None else self.is_told(market)

    def is_told(self, market: Market) -> bool:
        """A window whose story is over, or that ended before ours began."""
        told, began = self.state.told.get(market.series), self.state.began or 0
        if market.id in self.state.markets:
            return False
        return market.window_end <= began or (told is not None and told.covers(market.window_start, market.window_end))

    def told_up_to(self, series: SeriesId) -> Millis:
        """The moment after which a window of the series may have ended whose story is not over."""
        began = self.state.began or Millis(0)
        told = self.state.told.get(series)
        return began if told is None else told.up_to(began)

    def _window_records(self, now: Millis) -> list[AnyFact]:
        """A window is recorded once its fills are final, so none is called traded for a fill that came to nothing; or
        when that has been waited for in vain."""
        ended = [market for market in self.state.markets.values() if market.window_end <= now]
        return [
            desk.window_record(market.id, now, down=desk.agent in self.absent)
            for market in ended
            for desk in self._in_order
            if market.id not in desk.state.recorded and (self._record_by(market) <= now or not desk.awaits(market.id))
        ]

    def _record_by(self, market: Market) -> Millis:
        return Millis(max(market.window_end, self._here_since) + RETIRE_AFTER_MS)

    def _pause_facts(self, now: Millis) -> list[AnyFact]:
        opened = [p for p in daily_breakers(self.state.day, now, self.limits) if p.breaker not in self.state.pauses]
        facts: list[AnyFact] = [*opened, *_ended(None, self.state.pauses, now)]
        for desk in self._in_order:
            paused = desk.streak_breaker(now)
            facts += [paused] if paused else []
            facts += _ended(desk.agent, desk.state.pauses, now)
        return facts

    def _retire(self, now: Millis) -> None:
        """Forget markets whose story is over: settled, recorded, nothing held or on its way, and some time past."""
        known = (*self.state.markets.values(), *(listed.market for listed in self.markets.by_id.values()))
        if not any(_is_over(market, now) for market in known):
            return
        held = {lot.market for desk in self._in_order for lot in desk.state.holdings.values()}
        for market in tuple(self.state.markets.values()):
            settled = market.id in self.state.payouts and market.id not in held
            busy = any(desk.awaits(market.id) for desk in self._in_order)
            if settled and not busy and _is_over(market, now):
                del self.state.markets[market.id], self.state.payouts[market.id]
                self.state.told.setdefault(market.series, Told()).add(market.window_start, market.window_end)
                for desk in self._in_order:
                    desk.forget(market.id)
        for listed in tuple(self.markets.by_id.values()):
            if listed.market.id not in self.state.markets:
                self.markets.retire(listed.market.id)

    def _next_deadline(self, now: Millis) -> Millis:
        ends = [m.window_end for m in self.state.markets.values() if m.window_end > now]
        retirements = [Millis(m.window_end + RETIRE_AFTER_MS) for m in self.state.markets.values()]
        records = [self._record_by(m) for m in self.state.markets.values()]
        holders = (self.state.pauses, *(desk.state.pauses for desk in self._in_order))
        pauses = [until for pauses in holders for until in pauses.values()]
        return min((t for t in (*ends, *retirements, *records, *pauses) if t is not None and t > now), default=FOREVER)

    def _position(self) -> int:
        return self.state.position

    def _floor_pause(self) -> str | None:
        return next(iter(self.state.pauses), None) if self.fence() else "not_leader"


def _is_over(market: Market, now: Millis) -> bool:
    return market.window_end + RETIRE_AFTER_MS <= now


def _ended(agent: AgentId | None, pauses: dict[str, Millis | None], now: Millis) -> list[TradingResumed]:
    return [
        TradingResumed(at=now, agent=agent, breaker=breaker, text=f"the {breaker} pause is over")
        for breaker, until in pauses.items()
        if until is not None and until <= now
    ]


def equal_allocation(room: TradingRoom, capital: Money, at: Millis) -> list[CapitalAllocated]:
    """Equal parts of `capital`, in millionths; what does not divide goes to the first desk."""
    agents = tuple(room.desks)
    part, rest = divmod(capital, len(agents))
    return [
        CapitalAllocated(at=at, agent=agent, capital=Money(part + extra), moved=Money(part + extra))
        for agent, extra in zip(agents, (rest, *[0] * (len(agents) - 1)), strict=True)
    ]
