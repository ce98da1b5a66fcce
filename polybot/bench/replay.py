"""How fast the real path is: tape event -> book -> strategies -> gate -> paper venue -> ledger, orders included."""

import gc
import time

import msgspec

from polybot.backtest.replay import Replay
from polybot.bench.busy import CAPITAL, NO_LIMITS, busy_plan
from polybot.desk.room import TradingRoom
from polybot.domain.events import AnyFact, BookReplaced, IntentRecorded, LevelsChanged, MarketEvent
from polybot.domain.units import Millis
from polybot.settings import Settings, load_plans
from polybot.storage.tape import read_tape
from polybot.venue.matching import Simulator, new_simulator_state


class ReplayRun(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over the tape, decoding included. Seconds of this process, events and orders as counted."""

    seconds: float
    decode_seconds: float
    messages: int
    changes: int
    orders: int
    facts: int

    @property
    def messages_per_second(self) -> float:
        return self.messages / self.seconds

    @property
    def changes_per_second(self) -> float:
        return self.changes / self.seconds

    @property
    def decode_share(self) -> float:
        return self.decode_seconds / self.seconds


def count_changes(events: list[MarketEvent]) -> tuple[int, int]:
    """Book messages, and price-level changes: a snapshot counts the levels that differ from the one before."""
    messages = changes = 0
    books: dict[tuple[str, int], dict[int, int]] = {}
    for event in events:
        if isinstance(event, LevelsChanged):
            messages += 1
            changes += len(event.changes)
        elif isinstance(event, BookReplaced):
            messages += 1
            now: dict[int, int] = dict(zip(event.ask_prices, event.ask_sizes, strict=True))
            now.update({-price: size for price, size in zip(event.bid_prices, event.bid_sizes, strict=True)})
            before = books.get((event.market, event.outcome), {})
            changes += sum(before.get(level) != size for level, size in now.items())
            changes += sum(level not in now for level in before)
            books[event.market, event.outcome] = now
    return messages, changes


def run_replay(settings: Settings, *, busy_every: int | None = None) -> ReplayRun:
    """Play the tape once. Decoding is timed by a pass of its own, just before, over the same bytes.

    `busy_every`: one of the three traders is exchanged for one that orders on every so-manieth look.
    """
    counted = count_changes(list(read_tape(settings.tape)))
    gc.collect()
    began = time.perf_counter()
    for _ in read_tape(settings.tape):
        pass
    decode_seconds = time.perf_counter() - began
    plans, limits, capital = load_plans(settings), settings.limits.limits(), settings.capital_money
    if busy_every is not None:
        plans, limits, capital = [*plans[:2], busy_plan(busy_every)], NO_LIMITS, CAPITAL
    facts: list[AnyFact] = []
    room = TradingRoom(plans, limits)
    venue = Simulator(settings.venue.model(settings.seed), room.markets.by_id, new_simulator_state(capital))
    replay = Replay(room, venue, facts.append)
    gc.collect()
    began = time.perf_counter()
    replay.allocate(capital, Millis(0))
    replay.run(read_tape(settings.tape))
    seconds = time.perf_counter() - began
    return ReplayRun(
        seconds=seconds,
        decode_seconds=decode_seconds,
        messages=counted[0],
        changes=counted[1],
        orders=sum(isinstance(fact, IntentRecorded) for fact in facts),
        facts=len(facts),
    )
