"""Real chaos: the real service on real PostgreSQL and Valkey processes, killed again and again, then compared.

A round is one run of the shipped tape in a folder of its own. Its lives end with `kill -9`; the last process plays to
the end, and then journal, database, venue and page must tell one story.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import msgspec

from polybot.agents.auditor import AUDITOR
from polybot.agents.monitor import MONITOR
from polybot.chaos.real_compare import Compared, compare_all
from polybot.chaos.real_follow import Follower
from polybot.chaos.real_load import SPEED, as_environment, write_load
from polybot.chaos.real_parts import OutsideServers, OwnServers, Servers, Service, ServiceFault
from polybot.chaos.real_plan import Life, Target, plan_lives
from polybot.chaos.real_strike import Striker
from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.ids import AgentId
from polybot.floor.status import FloorStatus, StoreState
from polybot.page import page_note
from polybot.runs import journal_path
from polybot.settings import Settings, load_plans
from polybot.storage.journal import Journal
from polybot.storage.tape import TapeReader
from polybot.web.status_text import fetch_status

LIVES_PER_ROUND = 25
TAPE_SHARE_MAX = 0.9
"""A round takes no further life after this part of the tape: what is left is played to the end."""
RUN_IN_EVENTS = 200
"""The tape's first events are minutes apart: before them there is no telling whether a floor trades."""
TRADING_SECONDS_MAX = 30.0
FINISH_SECONDS_MAX = 240.0
LOOK_SECONDS = 0.015

Tell = Callable[[str], None]


class Comeback(msgspec.Struct, frozen=True, kw_only=True):
    """One restart, in seconds from the kill: until the run was taken up again, and until it traded.

    `servers_s` is the part in which the service started its own servers, 0 with servers of their own.
    """

    killed: str
    servers: str
    started_s: float
    trading_s: float
    servers_s: float


class Outcome(msgspec.Struct, kw_only=True):
    """What a whole run of chaos came to. Nothing was lost or doubled where `findings` is empty."""

    kills: Counter[Target] = msgspec.field(default_factory=Counter)
    freezes: Counter[Target] = msgspec.field(default_factory=Counter)
    missed: Counter[Target] = msgspec.field(default_factory=Counter)
    comebacks: list[Comeback] = []
    launches: int = 0
    given_up: int = 0
    """Starts that the service gave up because a server of its own was killed while it waited for it."""
    rounds: int = 0
    facts: int = 0
    orders: int = 0
    fills: int = 0
    never_sent: int = 0
    records: int = 0
    rows: int = 0
    findings: list[str] = []
    folder: Path


class Round:
    """One run, and what was done to it."""

    def __init__(self, settings: Settings, servers: Servers, outcome: Outcome, seed: int, tell: Tell) -> None:
        self._settings, self._servers, self._outcome, self._tell = settings, servers, outcome, tell
        self._clock = SystemClock()
        self._service = Service(settings.data_dir, as_environment(settings) | servers.settings)
        self._striker = Striker(self._service, servers, random.Random(seed))
        agents = {AgentId(plan.agent) for plan in load_plans(settings)} | {AUDITOR, MONITOR}
        self._follower = Follower(journal_path(settings.data_dir), frozenset(agents))
        totals = TapeReader(settings.tape).totals
        self._events = totals.events if totals else 0
        self._killed: tuple[float, str] | None = None
        self._following: asyncio.Task[None]

    async def run(self, lives: deque[Life]) -> FloorStatus:
        """Live and die until the tape is nearly over or no life is left, then play to the end; the page's last word."""
        self._following = asyncio.create_task(self._follow(), name="follow")
        try:
            for _ in range(LIVES_PER_ROUND):
                if not lives or self._follower.position > TAPE_SHARE_MAX * self._events:
                    break
                life = lives.popleft()
                if not await self._live(life):
                    lives.append(life)
            await self._striker.settle()
            return await self._finish()
        finally:
            self._following.cancel()
            await asyncio.wait([self._following])
            self._service.kill()
            await self._striker.settle()
            for name in ("kills", "freezes", "missed"):
                getattr(self._outcome, name).update(getattr(self._striker, name))
            self._outcome.findings += self._follower.missing()

    async def _follow(self) -> None:
        while True:
            self._follower.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _live(self, life: Life) -> bool:
        """One process from launch to kill; False where it gave up before, for a good reason."""
        gone_before = self._striker.missed[Target.SERVICE]
        self._launch(SPEED, POLYBOT_CHECKPOINT_S=f"{life.checkpoint_s:g}")
        if life.patient:
            await self._until_trading()
        began = self._clock.monotonic()
        for after_s, strikes in groupby(life.strikes, key=lambda strike: strike.after_s):
            await self._watch(began + after_s - self._clock.monotonic())
            await self._striker.strike(list(strikes))
        if self._striker.missed[Target.SERVICE] > gone_before:
            self._require_good_reason()
            return False
        self._note_comeback()
        who = "while it started" if not life.patient else ", ".join(sorted(life.ends_with))
        self._killed = (self._striker.service_killed_at, who)
        self._tell(f"{sum(self._striker.kills.values())} kills, {self._follower.rows} facts, last: {who}")
        return True

    def _require_good_reason(self) -> None:
        """It ended by itself. A start whose own server is killed under it may be given up, and is tried again."""
        if "ended at its start" not in self._service.log_tail() or not isinstance(self._servers, OwnServers):
            self._require_alive()
        self._outcome.given_up += 1
        self._killed = None

    def _launch(self, speed: float, **settings: str) -> None:
        self._outcome.launches += 1
        self._service.launch(speed=speed, **settings)
        self._follower.launched()

    async def _until_trading(self) -> None:
        end = self._clock.monotonic() + TRADING_SECONDS_MAX
        while self._follower.progress.trading is None or self._follower.position < RUN_IN_EVENTS:
            if self._clock.monotonic() > end:
                raise ServiceFault(f"not trading {TRADING_SECONDS_MAX:g} s after a kill; {self._service.log_tail()}")
            await self._watch(LOOK_SECONDS)

    async def _watch(self, seconds: float) -> None:
        """Wait. Raises ServiceFault when the service ends by itself, and what the follower has found."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            self._require_alive()
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def _require_alive(self) -> None:
        if self._following.done():
            self._following.result()
        if self._service.exit_code is not None:
            raise ServiceFault(f"the service ended with {self._service.exit_code}; {self._service.log_tail()}")

    def _note_comeback(self) -> None:
        self._follower.look()
        progress = self._follower.progress
        if self._killed is None or progress.started is None or progress.trading is None:
            return
        if progress.position < RUN_IN_EVENTS:
            return
        at, who = self._killed
        self._outcome.comebacks.append(
            Comeback(
                killed=who,
                servers=self._servers.name,
                started_s=progress.started - at,
                trading_s=progress.trading - at,
                servers_s=self._servers.start_seconds(),
            )
        )

    async def _finish(self) -> FloorStatus:
        """Play the rest as fast as it goes, until every store is level; then stop in order."""
        self._launch(0, POLYBOT_AT_END="hold")
        end = self._clock.monotonic() + FINISH_SECONDS_MAX
        status = None
        while self._clock.monotonic() < end:
            await self._watch(0.25)
            status = await self._status()
            if status is not None and status.finished and _level(status):
                break
        else:
            raise ServiceFault(f"the run did not end level with its stores: {status}; {self._service.log_tail()}")
        self._note_comeback()
        code = await self._service.stop()
        if code != 0:
            raise ServiceFault(f"the service stopped with {code}; {self._service.log_tail()}")
        return status

    async def _status(self) -> FloorStatus | None:
        try:
            return await fetch_status(page_note(self._settings.data_dir).read_text().strip())
        except (OSError, PolybotError):
            return None


def _level(status: FloorStatus) -> bool:
    stores = (status.database.state, status.redis.state)
    return stores == (StoreState.OK, StoreState.OK) and status.database.lag_rows == 0


async def run_chaos(kills: int, seed: int, folder: Path, tell: Tell, tape: Path | None = None) -> Outcome:
    """`kills` kills under `seed`, in rounds with outside and own servers by turns; `folder` holds all of it after.

    `tape`: another than the shipped one.
    """
    outcome = Outcome(folder=folder)
    lives = deque(plan_lives(kills, seed))
    per_round = min(LIVES_PER_ROUND, -(-len(lives) // 2))
    while lives and not outcome.findings:
        outcome.rounds += 1
        own = outcome.rounds % 2 == 0
        portion = deque(lives.popleft() for _ in range(min(per_round, len(lives))))
        place = folder / f"round-{outcome.rounds}"
        try:
            await _round(write_load(place, tape=tape), portion, outcome, own=own, seed=seed, tell=tell)
        except PolybotError as error:
            outcome.findings.append(f"round {outcome.rounds}: {error}")
        lives.extendleft(reversed(portion))
    return outcome


async def _round(settings: Settings, lives: deque[Life], outcome: Outcome, *, own: bool, seed: int, tell: Tell) -> None:
    async with _servers(settings.data_dir, random.Random(seed), own=own) as servers:
        where = f"round {outcome.rounds}, {servers.name}"
        one = Round(settings, servers, outcome, seed, lambda text: tell(f"{where}: {text}"))
        status = await one.run(lives)
        tell(f"{where}: comparing")
        await _compare(settings, servers, status, outcome)


async def _compare(settings: Settings, servers: Servers, status: FloorStatus, outcome: Outcome) -> None:
    with Journal.open(journal_path(settings.data_dir)) as journal:
        async with servers.database() as database_url:
            books, compared = await compare_all(settings, journal, database_url, status)
    _add(outcome, compared)
    outcome.facts += books.facts
    outcome.orders += books.orders
    outcome.fills += books.fills
    outcome.never_sent += books.never_sent
    outcome.records += books.records


def _add(outcome: Outcome, compared: Compared) -> None:
    outcome.rows += compared.rows
    outcome.findings += [f"round {outcome.rounds}: {finding}" for finding in compared.findings]


@asynccontextmanager
async def _servers(data_dir: Path, chance: random.Random, *, own: bool) -> AsyncIterator[Servers]:
    if own:
        yield OwnServers(data_dir)
        return
    servers = OutsideServers(data_dir.with_name("servers"), chance)
    try:
        for target in (Target.DATABASE, Target.CACHE):
            await servers.restore(target)
        yield servers
    finally:
        await servers.stop()
