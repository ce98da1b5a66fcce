"""The rehearsal of rollovers: hundreds of windows one after another under feed, catalogue, venue and store faults.

At the moment a window ends the next one must be known, subscribed, and its books verified; where a fault of the feed
or the catalogue stands in the way, soon after that is over. No window may be missed, and no order may leave for one
outside its time. The world, the floor and every other invariant are the hunt's (seed.py); nothing is killed here.
"""

import gc
from functools import partial

import msgspec
from loguru import logger

from polybot.chaos.faults import MENU
from polybot.chaos.invariants import Violated
from polybot.chaos.seed import START_MS, Seed
from polybot.chaos.window import WINDOW_MS
from polybot.domain.book import BookState
from polybot.domain.ids import MarketId
from polybot.domain.order import OrderIntent

FAULTS = ("feed_", "venue_", "store_", "terms_")
WITHOUT = tuple(name for name in MENU if not name.startswith(FAULTS))
IN_THE_WAY = tuple(name for name in MENU if name.startswith("feed_"))
SOON_MS = 90_000
"""The longest wait between two tries of the feeder (60 s), a read of the catalogue (20 s), and the answers."""
LOOK_S = 1.0


class RolloverResult(msgspec.Struct, frozen=True, kw_only=True):
    """`in_time`: verified when the window before ended. `late_ms`: of the others, how long after that."""

    seed: int
    rollovers: int
    in_time: int
    late_ms: list[int]
    windows_recorded: int
    orders: int
    faults: int
    violation: str | None

    @property
    def is_good(self) -> bool:
        return self.violation is None and self.in_time + len(self.late_ms) == self.rollovers


class RolloverSeed(Seed):
    """A seed of the hunt that looks at every end of a window."""

    def __init__(self, number: int, rollovers: int) -> None:
        self._ends = -(-rollovers // 2)  # of two series
        super().__init__(number, (self._ends + 1) * WINDOW_MS / 3_600_000, without=WITHOUT)
        self.in_time, self.late_ms = 0, list[int]()
        for index in range(1, self._ends + 1):
            at = START_MS + index * WINDOW_MS
            self.loop.call_at((at - START_MS) / 1000, partial(self._look, at), context=self.loop.outside)

    @property
    def rollovers(self) -> int:
        return self._ends * len(self.world.assets)

    def _look(self, at: int) -> None:
        """A window of each series ends now."""
        for asset in self.world.assets:
            market = MarketId(f"{asset.lower()}-updown-15m-{at // 1000}")
            if self._is_verified(market):
                self.in_time += 1
            else:
                self._look_again(market, at)

    def _look_again(self, market: MarketId, began: int) -> None:
        now = self.clock.true_ms()
        if self._is_verified(market):
            self.late_ms.append(now - began)
            self.say(f"rollover {market} late by {now - began} ms")
        elif not self._is_excused(began, now):
            text = f"{market} is not followed and verified {now - began} ms into its window, and nothing was in the way"
            self.fail(Violated("rolled_over", text))
        elif now >= began + WINDOW_MS:
            self.fail(Violated("rolled_over", f"{market} was missed"))
        else:
            self.loop.call_later(LOOK_S, partial(self._look_again, market, began), context=self.loop.outside)

    def _is_verified(self, market: MarketId) -> bool:
        house = None if self._process is None else self._process.house
        state = None if house is None else house.room.markets.by_id.get(market)
        return state is not None and all(book.state is BookState.VERIFIED for book in state.books)

    def _is_excused(self, began: int, now: int) -> bool:
        """A fault of the feed was in force until a little before now."""
        return any(
            episode.start_ms <= now and episode.end_ms + SOON_MS > max(began, now)
            for name in IN_THE_WAY
            for episode in self.faults.of(name)
        )

    def _on_send(self, intent: OrderIntent) -> None:
        super()._on_send(intent)
        market, now = self.world.windows[intent.market].market, self.clock.true_ms()
        if not market.window_start <= now < market.window_end:
            self.fail(Violated("rolled_over", f"{intent.id} leaves for {market.id} outside its time, at {now}"))

    def _require_all_looked_at(self) -> None:
        """Every agent looked at every window: none was missed, however it was recorded."""
        blind = [
            f"{agent} never looked at {market}"
            for (agent, market), record in self.invariants.recorded.items()
            if record.evaluations == 0
        ]
        expected = {
            MarketId(f"{asset.lower()}-updown-15m-{at // 1000}") for asset in self.world.assets for at in self._starts()
        }
        unknown = expected - self.invariants.markets.keys()
        if blind or unknown:
            self.fail(
                Violated(
                    "rolled_over", "; ".join([*blind[:3], *(f"{m} was never opened" for m in sorted(unknown)[:3])])
                )
            )

    def _starts(self) -> range:
        return range(START_MS, START_MS + (self._ends + 1) * WINDOW_MS, WINDOW_MS)

    def rehearse(self) -> RolloverResult:
        result = self.run()
        if result.violation is None:
            self._require_all_looked_at()
        return RolloverResult(
            seed=self.number,
            rollovers=self.rollovers,
            in_time=self.in_time,
            late_ms=self.late_ms,
            windows_recorded=result.window_records,
            orders=result.intents,
            faults=sum(result.faults.values()),
            violation=None if self.violation is None else str(self.violation),
        )


def run_rollovers(seed: int, rollovers: int) -> RolloverResult:
    """So many ends of windows (rounded up to a pair), with their faults. The same everywhere for the same seed."""
    logger.disable("polybot")
    gc.disable()
    try:
        return RolloverSeed(seed, rollovers).rehearse()
    finally:
        gc.enable()
        logger.enable("polybot")
