"""One seed of the hunt: a world, the service in it, killed and started again as often as the plan says, and the checks.

`run_seed` is the same on every machine: time is virtual, chance comes from the seed, and nothing else is asked.
"""

import asyncio
import gc
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from random import Random

from loguru import logger

from polybot.chaos.book_checks import BookChecks
from polybot.chaos.bugs import BUGS
from polybot.chaos.clock import VirtualClock
from polybot.chaos.disk import SimDisk
from polybot.chaos.disk_faults import DiskFaults
from polybot.chaos.exchange import SimExchange
from polybot.chaos.faults import HOUR_MS, MENU, Episode, Faults
from polybot.chaos.final_checks import require_rest, why_not_at_rest
from polybot.chaos.invariants import Invariants, Violated
from polybot.chaos.life import Life
from polybot.chaos.loop import LoopStuck, VirtualLoop
from polybot.chaos.market import World
from polybot.chaos.plans import hunted_plans
from polybot.chaos.process import Exited, Process
from polybot.chaos.result import EventLog, SeedResult, rss_kb
from polybot.chaos.stores import SimCheckpoints, SimDatabase
from polybot.domain.errors import BadInput
from polybot.domain.events import FillMatched, IntentRecorded, Journaled, MarketSettled, OrderClosed
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Millis, Money, parse_units
from polybot.floor.supervisor import TooManyLeftBehind
from polybot.house import House, HouseTerms
from polybot.risk.limits import Limits
from polybot.storage.journal_file import JournalDamagedError, JournalError, JournalRow
from polybot.storage.journal_place import JournalMissingError

START_MS = Millis(1_790_586_000_000)
"""2026-09-28 09:00 UTC, the beginning of a window, under rules this version knows."""
CAPITAL = Money(parse_units("1000"))
HOURS_SHORT = 3.0
CAPITAL_FOR_DAYS, ORDER_COST_MAX = Money(parse_units("100000")), Money(parse_units("20"))
"""The hunted agents trade as often as they can and lose by it: over days a small floor would be broke, not broken."""
RESTART_S_FIRST, RESTART_S_MAX = 1.0, 60.0
"""What Docker waits before it starts a container anew: doubled while it does not live for LIVED_S."""
LIVED_S = 10.0
REST_S_MAX = 7_200.0
"""After the last fault everything has settled within this: a resolution may be half an hour late."""
REST_LOOK_S = 5.0
STOP_S_MAX = 120.0
MEMORY_EVERY_S = 3_600.0
KILL_ROUNDS = 40
"""A kill comes up to so many rounds of the loop after its moment: anywhere between two awaits."""
KILL_WITHIN_S = 0.02
"""After a fact that matters, a kill that waits for one comes within this."""
KILLS_AT = (IntentRecorded, FillMatched, MarketSettled, OrderClosed)


class WatchedExchange(SimExchange):
    """The exchange, and someone who looks at what is sent to it."""

    on_send: Callable[[OrderIntent], None]

    def send(self, intent: OrderIntent, now: Millis, travel_ms: int | None) -> None:
        self.on_send(intent)
        super().send(intent, now, travel_ms)


class Seed:
    """The world of one seed and everything that outlives a process in it."""

    def __init__(self, number: int, hours: float, without: Collection[str] = ()) -> None:
        """`without`: faults that never happen."""
        self.number, self.hours = number, hours
        span_ms = int(hours * HOUR_MS)
        self.end_ms = Millis(START_MS + span_ms)
        self.log = EventLog()
        self.loop = VirtualLoop(collect_at_death=True)
        self.clock = VirtualClock(self.loop, START_MS)
        self.faults = Faults(
            number, START_MS, span_ms, without=without, log=lambda name, text: self.say(f"fault {name} {text}")
        )
        self.world = World(number, START_MS, self.faults)
        capital = CAPITAL if hours <= HOURS_SHORT else CAPITAL_FOR_DAYS
        self.exchange = WatchedExchange(self.world, self.faults, capital)
        self.exchange.on_send = self._on_send
        self.disk = SimDisk(Random(f"{number}/disk"), sha256(f"{number}/genesis".encode()).digest())
        self.disk.on_rows = self._on_rows
        self.database = SimDatabase(self.faults, self.clock.true_ms)
        self.disk_faults = DiskFaults(self.faults, self.clock.true_ms)
        self.disk_faults.plant(self.disk, self.database)
        self.checkpoints = SimCheckpoints(self.disk, self.database)
        self.terms = HouseTerms(
            plans=hunted_plans(ORDER_COST_MAX),
            limits=_limits(number),
            capital=capital,
            seed=number,
            mode="paper",
            source="chaos",
            checkpoint_s=60.0,
            watch_s=5.0,
            reconcile_s=2.0,
        )
        books = BookChecks(self.world, self.faults, self.clock.true_ms)
        self.invariants = Invariants(self.terms.limits, self.world.payout_up, books)
        self.exchange.on_call_begins = self.invariants.breakers.calls.begin
        self.exchange.on_call_ends = self._on_call_ends
        self.may_trade = True
        self.violation: Violated | None = None
        self.result = SeedResult(seed=number, hours=hours)
        self._durable: set[str] = set()
        self._kills_waiting = 0
        self._process: Process | None = None
        self._life: Life | None = None
        self._ended: asyncio.Future[str] | None = None
        self._down_since: float | None = None

    def say(self, line: str) -> None:
        self.log.add(self.clock.true_ms(), line)

    def fail(self, violated: Violated) -> None:
        """The first violation counts; the hunt of this seed ends with it."""
        if self.violation is None:
            self.violation = violated
            self.say(f"VIOLATED {violated}")
            self._end("violated")

    # -- what is watched ----------------------------------------------------------------------------------------------

    def _on_rows(self, rows: Sequence[JournalRow]) -> None:
        """Rows are durable: fold them, and perhaps kill whoever wrote them before he can act on it."""
        for row in rows:
            entry = row.journaled()
            self.log.add_row(self.clock.true_ms(), row, entry.fact)
            try:
                self.invariants.take(entry.seq, entry.fact)
            except Violated as violated:
                self.fail(violated)
            if isinstance(entry.fact, IntentRecorded):
                self._durable.add(entry.fact.intent.id)
            if self._kills_waiting and isinstance(entry.fact, KILLS_AT):
                self._kills_waiting -= 1
                delay = KILL_WITHIN_S * self.faults.draw("kill after", entry.seq)
                self.loop.call_later(delay, self._kill, context=self.loop.outside)

    def _on_send(self, intent: OrderIntent) -> None:
        if intent.id not in self._durable:
            self.fail(Violated("intent_first", f"{intent.id} is sent and its intent is not durable"))
        history = self.exchange.orders.get(intent.id)
        if history is not None and history.sent_at:
            self.fail(Violated("sent_once", f"{intent.id} is sent a second time"))

    def _on_call_ends(self, number: int, failed: bool) -> None:
        house = None if self._process is None else self._process.house
        if house is not None:
            self.invariants.breakers.calls.end(number, house.clock.now_ms, failed=failed)

    def compare_books(self, house: House, facts: list[Journaled]) -> None:
        """After every batch the floor took in: what it acts on is durable, and its money is what the facts say."""
        last = facts[-1].seq
        if last > len(self.disk.rows):
            self.fail(Violated("no_fact_lost", f"row {last} is acted on, and the disk has {len(self.disk.rows)}"))
        if last != self.invariants.seq:
            return
        for agent, desk in house.room.desks.items():
            fold = self.invariants.agents.get(agent)
            if fold is not None and (desk.state.cash, desk.state.invested) != (fold.posted, fold.held):
                found = f"{agent}'s desk has {desk.state.cash} and {desk.state.invested} at risk, the facts {fold}"
                self.fail(Violated("money_conserved", found))

    # -- the service's lives ------------------------------------------------------------------------------------------

    def run(self) -> SeedResult:
        """All of it. The result says what was violated, if anything was."""
        try:
            self._plan_strikes()
            if self.hours * 3_600 > 2 * MEMORY_EVERY_S:
                self._sample_memory()
            end = self.hours * 3_600.0
            while self.violation is None and not self._lived(end):
                self._wait_for_restart()
                if self.loop.time() > end + REST_S_MAX:
                    raise Violated("never_stuck", f"after {self.result.lives} lives it still does not stop in order")
        except LoopStuck as stuck:
            self.fail(Violated("never_stuck", str(stuck)))
        except Violated as violated:
            self.fail(violated)
        result = self._sum_up()
        if self._life is not None:
            self.loop.kill(self._life)
        self.loop.close()
        return result

    def _sample_memory(self) -> None:
        """For the slope over days; the numbers are the machine's, and nothing depends on them."""
        now = int(self.loop.time() * 1000)
        self.result.memory_kb.append((now, rss_kb()))
        if self.state_bytes:
            self.result.state_bytes.append((now, self.state_bytes))
        self.loop.call_later(MEMORY_EVERY_S, self._sample_memory, context=self.loop.outside)

    def _plan_strikes(self) -> None:
        """Kills and jumps of the clock come by the world's own timers."""
        for episode in self.faults.of("process_kill"):
            self._at(episode, partial(self._strike, episode))
        for episode in self.faults.of("process_away"):
            self._at(episode, partial(self._switch_off, episode))
        for episode in self.faults.of("clock_jump"):
            self._at(episode, partial(self._jump, episode))

    def _at(self, episode: Episode, act: Callable[[], None]) -> None:
        self.loop.call_at((episode.start_ms - START_MS) / 1000, act, context=self.loop.outside)

    def _strike(self, episode: Episode) -> None:
        """Half of the kills wait for a fact that matters; the others come after some rounds of the loop."""
        if episode.intensity < 0.5:
            self._kills_waiting += 1
        else:
            self._count_down(int((episode.intensity - 0.5) * 2 * KILL_ROUNDS))

    def _count_down(self, rounds: int) -> None:
        if rounds:
            self.loop.call_soon(self._count_down, rounds - 1, context=self.loop.outside)
        else:
            self._kill()

    def _kill(self) -> None:
        life = self._life
        if life is not None and not life.dead:
            self.faults.note("process_kill", f"life {life.number}")
            self.result.kills += 1
            self.loop.kill(life)
            self._end("killed")

    def _switch_off(self, episode: Episode) -> None:
        """The machine is off for so long that whole windows pass."""
        self._off_until = (episode.end_ms - START_MS) / 1000
        self.faults.note("process_away", f"{self._off_until - self.loop.time():.0f} s")
        self._kill()

    def _jump(self, episode: Episode) -> None:
        """Somebody sets the machine's clock wrong, and a time server sets it right some minutes later."""
        by_ms = int(episode.intensity * 60_000)
        self.faults.note("clock_jump", f"{by_ms} ms")
        self.clock.jump(by_ms)
        right_again = (episode.end_ms - START_MS) / 1000
        self.loop.call_at(right_again, partial(self.clock.jump, -by_ms), context=self.loop.outside)

    def _lived(self, end: float) -> bool:
        """One life, from start to end; True if it stopped in order at the end of it all."""
        loop = self.loop
        life = self._life = loop.begin_life()
        process = self._process = Process(self, life)
        self._ended = loop.create_future()
        self.result.lives += 1
        self.say(f"life {life.number} begins")
        began = loop.time()
        task = loop.start(life, process.main())
        task.add_done_callback(self._on_exit, context=loop.outside)
        loop.run(until=self._ended, until_time=max(end, began))
        if not self._ended.done():
            self.may_trade = False
            self._come_to_rest(process)
        why = self._ended.result() if self._ended.done() else "stopped"
        self._note_recovery(process, began)
        self.say(f"life {life.number} ends: {why}")
        if not life.dead:
            loop.kill(life)
        self._short_lives = 0 if loop.time() - began > LIVED_S else self._short_lives + 1
        return why == "stopped"

    state_bytes = 0
    _short_lives = 0
    _off_until = 0.0

    def _on_exit(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JournalDamagedError | JournalMissingError):
            self._operate(error)
        if error is not None and not _is_expected(error):
            self.fail(Violated("no_surprise", f"the process ends with {type(error).__name__}: {error}"))
        self._end("stopped" if error is None else f"exit {type(error).__name__}: {error}")

    def _operate(self, error: JournalError) -> None:
        """What a person does who is told that the journal is damaged: `polybot journal repair`."""
        self.say(f"repair: {error}")
        self.result.repairs += 1
        self.database.repair(self.disk)

    def _end(self, why: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(why)

    def _wait_for_restart(self) -> None:
        self.disk_faults.between_lives()
        if self.database.catch_up(self.disk):
            self.say("the folder is made anew from the database")
        wait = min(RESTART_S_FIRST * 2.0 ** min(self._short_lives, 10), RESTART_S_MAX)
        wait = max(wait, self._off_until - self.loop.time())
        self._down_since = self.loop.time() if self._down_since is None else self._down_since
        self.loop.run(until_time=self.loop.time() + wait)
        self._down_since = max(self._down_since, self._off_until)  # while the machine is off nobody can recover

    def _note_recovery(self, process: Process, began: float) -> None:
        if process.trading_at is None:
            return
        since = began if self._down_since is None else self._down_since
        if self._down_since is not None:
            self.result.recoveries.append(process.trading_at - START_MS - int(since * 1000))
        self._down_since = None

    # -- the end ------------------------------------------------------------------------------------------------------

    def _come_to_rest(self, process: Process) -> None:
        """No new orders; everything settles; the floor stops in order; and all books are compared."""
        loop, ended = self.loop, self._ended
        assert ended is not None
        until = loop.time() + REST_S_MAX
        while (waits := why_not_at_rest(self, process)) and not ended.done():
            if loop.time() > until:
                raise waits
            loop.run(until=ended, until_time=loop.time() + REST_LOOK_S)
        if ended.done():
            return
        process.stop.set()
        loop.run(until=ended, until_time=loop.time() + STOP_S_MAX)
        if not ended.done():
            raise Violated("never_stuck", f"the floor does not stop within {STOP_S_MAX:g} s")
        if ended.result() == "stopped":
            require_rest(self, process)

    def _sum_up(self) -> SeedResult:
        seen, result = self.invariants, self.result
        result.event_log_hash = self.log.digest()
        result.violation = None if self.violation is None else str(self.violation)
        result.last_events = self.log.last()
        result.faults = {name: self.faults.counts[name] for name in MENU if name in self.faults.counts}
        result.windows = len(seen.markets)
        result.window_records = len(seen.recorded)
        result.intents = len(seen.orders)
        result.fills = len(seen.fills) + len(seen.fills_over)
        result.trades = seen.trades
        result.facts = seen.seq
        result.steps = self.loop.steps
        house = None if self._process is None else self._process.house
        result.market_events = 0 if house is None else house.room.state.position
        result.virtual_s = self.loop.time()
        return result


def _is_expected(error: BaseException) -> bool:
    """Whether a process may end so: its disk failed it, or too many agents cling to it."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return any(isinstance(cause, JournalError | Exited | TooManyLeftBehind) for cause in causes)


def _limits(number: int) -> Limits:
    """In every other seed the daily breakers stay shut, so that losses do not end the trading.

    In one of eight the day's loss alone does not, or one would never see what the drawdown does.
    """
    if number % 8 == 5:
        return Limits(daily_loss_share=UNIT)
    if number % 2:
        return Limits()
    return Limits(daily_loss_share=UNIT, daily_drawdown_share=UNIT, loss_streak_max=1_000)


def run_seed(seed: int, *, hours: float, bug: str | None = None) -> SeedResult:
    """Hunt one seed. `bug` plants one of bugs.BUGS first. Raises BadInput for one that is not there."""
    if bug is not None and bug not in BUGS:
        raise BadInput(f"no such bug: {bug}; there are {', '.join(BUGS)}")
    logger.disable("polybot")
    gc.disable()
    try:
        with BUGS[bug].planted() if bug is not None else nullcontext():
            return Seed(seed, hours).run()
    finally:
        gc.enable()
        logger.enable("polybot")
