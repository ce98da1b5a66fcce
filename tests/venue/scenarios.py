"""Random stories for the paper venue, as plain data: one story can be played twice, cut in two, told elsewhere."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from polybot.domain.events import (
    BookReplaced,
    IntentRecorded,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    TickSizeChanged,
    TradePrinted,
    VenueReply,
)
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.ids import AgentId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.markets import Markets, MarketState
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import LOT, UNIT, Millis, Money, Price, Shares
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, SimulatorState, new_simulator_state
from tests.venue.builders import FEES, START, WINDOW_MS, a_market, an_intent

CENT = 10_000
CASH = Money(60 * UNIT)
AGENTS = (AgentId("ann"), AgentId("bob"))
SCHEDULES = (FEES, NO_FEES, FeeSchedule(rate=250_000, exponent=2))
LONG_AFTER = WINDOW_MS + 600_000

Action = tuple[Any, ...]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of the world, and what happens in it. An action is (milliseconds passed, what, its numbers...)."""

    seed: int
    both_quoted: bool
    delay_ms: int
    schedule: int
    ghosts: float
    payout: int
    actions: list[Action]


PAUSES = (0, 0, 1, 20, 100, 250, 250, 1_100, 3_200)
LONG_PAUSES = (31_000, 125_000, 400_000)
SIZES = (100, 500, 500, 777, 1_000, 2_500, 6_000)  # lots of 0.01 share
DEPTHS = (0, 3, 500_000, 5_000_000, 5_263_157, 12_000_000, 40_000_000)  # millionths; some of them dust


def random_action(draw: random.Random) -> Action:
    """One thing that happens; orders and the market's moves about equally often."""
    pause = draw.choice(PAUSES) if draw.random() < 0.97 else draw.choice(LONG_PAUSES)
    outcome, side = draw.randrange(2), draw.choice(("BUY", "SELL"))
    cents = draw.choice((1, 4, 96, 99)) if draw.random() < 0.04 else draw.randrange(46, 55)
    size = draw.choice(DEPTHS)
    match draw.choice("oooobbbllllttttcck"):
        case "o":
            tif, post_only = draw.choice(("FOK", "FAK", "GTC", "GTC", "GTD")), draw.random() < 0.2
            life = draw.choice((119_000, 121_000, 300_000)) if tif == "GTD" else 0
            return (pause, "order", outcome, side, cents, draw.choice(SIZES), tif, post_only, life)
        case "b":
            best, gap = draw.randrange(46, 54), draw.choice((1, 1, 2, 3, 0)) if draw.random() < 0.3 else 1
            bids = [(best - n, draw.choice(DEPTHS)) for n in range(3)]
            asks = [(best + gap + n, draw.choice(DEPTHS)) for n in range(3)]
            return (pause, "book", outcome, bids, asks)
        case "l":
            return (pause, "level", outcome, side, cents, size)
        case "t":
            return (pause, "trade", outcome, side, cents, max(1, size))
        case "c":
            return (pause, "cancel", draw.randrange(8))
        case _:
            return (pause, "tick", draw.choice((1_000, 10_000, 10_000)))


def random_scenario(seed: int) -> Scenario:
    draw = random.Random(seed)
    return Scenario(
        seed=seed,
        both_quoted=draw.random() < 0.5,
        delay_ms=draw.choice((0, 150, 150, 500)),
        schedule=draw.randrange(len(SCHEDULES)),
        ghosts=draw.choice((0.0, 0.0, 0.3, 1.0)),
        payout=draw.choice((0, UNIT, UNIT // 2)),
        actions=[random_action(draw) for _ in range(draw.randrange(5, 70))],
    )


def _shrinkable(seed: int, kept: list[bool]) -> Scenario:
    """The seed's story with some of its actions left out, so that hypothesis can look for the shortest that fails."""
    scenario = random_scenario(seed)
    actions = [a for n, a in enumerate(scenario.actions) if n >= len(kept) or kept[n]]
    return msgspec.structs.replace(scenario, actions=actions)


scenarios: st.SearchStrategy[Scenario] = st.builds(
    _shrinkable, st.integers(0, 2**32), st.lists(st.sampled_from((True, True, True, False)), max_size=70)
)


class Play:
    """A scenario on its stage. `watch` is told of every order, market event and reply, as they come."""

    def __init__(self, scenario: Scenario, watch: "Watcher | None" = None) -> None:
        self.scenario, self.watch = scenario, watch
        self.market = market_of(scenario)
        self.model = VenueModel(seed=scenario.seed, ghost_fill_share=scenario.ghosts)
        self.markets = Markets()
        self.venue = Simulator(self.model, self.markets.by_id, new_simulator_state(CASH))
        self.now, self.orders = START, 0
        self.sent: list[OrderIntent] = []
        self.facts: list[VenueReply | IntentRecorded] = []
        self.moved: Callable[[], None] = lambda: None
        self._event(MarketListed(at=START, received=START, market=self.market))

    def run(self, cut: int | None = None, at_cut: Callable[["Play"], None] | None = None) -> "Play":
        """All of it, to the market's settlement and the last confirmation; `at_cut` is called before that action."""
        for number, action in enumerate(self.scenario.actions):
            if number == cut and at_cut is not None:
                at_cut(self)
            self.act(action)
        self.finish()
        return self

    def finish(self) -> None:
        self.pass_time(WINDOW_MS + 60_000)
        self._event(MarketResolved(self.now, self.now, self.market.id, Price(self.scenario.payout)))
        self.pass_time(LONG_AFTER)

    def act(self, action: Action) -> None:
        pause, what, *numbers = action
        self.pass_time(pause)
        getattr(self, f"_{what}")(*numbers)
        self.moved()

    def pass_time(self, span_ms: int) -> None:
        self.now = Millis(self.now + span_ms)
        self._hear(self.venue.advance(self.now), None)

    def swap_venue(self, state: SimulatorState) -> None:
        """Go on with another venue that has this memory."""
        self.venue = Simulator(self.model, self.markets.by_id, state)

    def _order(self, outcome: int, side: str, cents: int, lots: int, *terms: Any) -> None:
        tif, post_only, life = terms
        self.orders += 1
        intent = an_intent(
            self.orders,
            limit=Price(cents * CENT),
            size=Shares(lots * LOT),
            at=self.now,
            outcome=Outcome(outcome),
            side=Side(side),
            tif=TimeInForce(tif),
            post_only=post_only,
            expires_at=Millis(self.now + life) if life else None,
            fees=self.market.fees,
            agent=AGENTS[self.orders % 2],
        )
        self.sent.append(intent)
        self.facts.append(IntentRecorded(at=self.now, agent=intent.agent, intent=intent))
        if self.watch is not None:
            self.watch.sent(intent)
        self.venue.submit(intent, self.now)

    def _cancel(self, back: int) -> None:
        if back < len(self.sent):
            self.venue.cancel(self.sent[-1 - back].id, self.now)

    def _book(self, outcome: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> None:
        sides = [sorted((Price(c * CENT), Shares(s)) for c, s in side if s) for side in (bids, asks)]
        lists = [[[p for p, _ in side], [s for _, s in side]] for side in sides]
        quoted = Outcome(outcome) if self.scenario.both_quoted else Outcome.UP
        self._event(BookReplaced(self.now, self.now, self.market.id, quoted, *lists[0], *lists[1]))  # type: ignore[arg-type]

    def _level(self, outcome: int, side: str, cents: int, size: int) -> None:
        quoted = Outcome(outcome) if self.scenario.both_quoted else Outcome.UP
        change = LevelChange(quoted, Side(side), Price(cents * CENT), Shares(size))
        self._event(LevelsChanged(self.now, self.now, self.market.id, [change]))

    def _trade(self, outcome: int, side: str, cents: int, size: int) -> None:
        trade = (self.market.id, Outcome(outcome), Side(side), Price(cents * CENT), Shares(size))
        self._event(TradePrinted(self.now, self.now, *trade))

    def _tick(self, tick: int) -> None:
        self._event(TickSizeChanged(self.now, self.now, self.market.id, Price(tick)))

    def _event(self, event: MarketEvent) -> None:
        self._hear(self.venue.advance(self.now), None)
        state = self.markets.apply(event)
        if self.watch is not None and state is not None:
            self.watch.market_moved(event, state)
        self._hear(self.venue.observe(event, state), event)

    def _hear(self, replies: list[VenueReply], event: MarketEvent | None) -> None:
        self.facts += replies
        if self.watch is not None:
            self.watch.heard(replies, event)
            self.watch.agrees(self.venue.state)


class Watcher:
    """Told of everything in a play; the oracle (oracle.py) is one."""

    def sent(self, intent: OrderIntent) -> None: ...

    def market_moved(self, event: MarketEvent, state: MarketState) -> None: ...

    def heard(self, replies: list[VenueReply], event: MarketEvent | None) -> None: ...

    def agrees(self, state: SimulatorState) -> None: ...


def market_of(scenario: Scenario) -> Market:
    return a_market(
        fees=SCHEDULES[scenario.schedule],
        taker_delay_ms=scenario.delay_ms,
        quoted=(Outcome.UP, Outcome.DOWN) if scenario.both_quoted else (Outcome.UP,),
    )


def told(play: Play) -> bytes:
    """Every fact of a play, as bytes that can be compared."""
    return msgspec.json.encode(play.facts)
