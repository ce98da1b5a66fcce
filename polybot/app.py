"""The composition root: settings in, a wired floor out. The only place that knows paper from live, tape from feed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from loguru import logger

from polybot import __version__
from polybot.backtest.replay import Replay
from polybot.clock import SystemClock
from polybot.control import control_of, fit_kill_switch
from polybot.desk.room import TradingRoom
from polybot.domain.errors import BadInput
from polybot.domain.events import AnyFact, MarketEvent, RunEnded, RunStarted, Severity
from polybot.domain.units import Millis, Money
from polybot.floor.board import Board, RunInfo
from polybot.floor.closing import Closing
from polybot.floor.status import LeadStatus
from polybot.floor.teller import tell
from polybot.floor.together import until_one_ends
from polybot.floor.watchdog import Vital
from polybot.house import House, HouseTerms, restore
from polybot.page import open_page
from polybot.recovery import FloorMemory, decode_memory, new_memory
from polybot.risk.audit import Auditor
from polybot.runs import TakenUp, journal_path, take_up
from polybot.settings import Settings, load_plans, public_settings, require_startable
from polybot.standby import Standby, account_of
from polybot.standby_switch import wishes_of_standbys
from polybot.storage.embedded import EmbeddedServers, embedded_servers
from polybot.storage.embedded_keeper import kept_running
from polybot.storage.fenced_journal import FencedJournal
from polybot.storage.journal import Journal
from polybot.storage.leadership import Leadership
from polybot.storage.tape import TapeReader, merge_tapes
from polybot.stores import FloorStores
from polybot.upkeep import Note
from polybot.venue.matching import Simulator, new_simulator_state
from polybot.web.source import FloorSource
from polybot.world import TapeWorld, World


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: `finished` when the tape is over, else it can go on. `facts`: the journal of a finished one."""

    finished: bool
    reason: str
    facts: list[AnyFact]
    data_dir: Path
    tape: Path


class OpenFloor(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown while it runs."""

    board: Board
    url: str
    psql: str | None
    redis_cli: str | None
    resumed_at: int
    vitals: tuple[Vital, ...]
    """What must get on, or the process is better started again."""


async def run_floor(
    settings: Settings, stop: asyncio.Event, on_open: Callable[[OpenFloor], None], closing: Closing
) -> RunOutcome:
    """Open the floor on its world, play that, close it in order; `closing` is told how far that is.

    Where another floor runs on its folder or leads its account, it waits first (standby.py). Raises FloorFailed where
    only a restart can help, Deposed when another leads, StoppedWaiting when asked to stop before it led.
    """
    require_startable(settings)
    world = open_world(settings)
    async with AsyncExitStack() as stack:
        ground = await _take_ground(settings, stop, stack, closing)
        leadership, servers = ground.leadership, ground.servers
        journal = await asyncio.to_thread(Journal.open, journal_path(settings.data_dir))
        stack.callback(journal.close)
        stack.callback(closing.begin, "the journal")
        stores = await FloorStores.open(ground.database_url, ground.redis_url, journal, settings.data_dir)
        stores.guard_writes(leadership.guard)
        stack.push_async_callback(stores.close)
        stack.callback(closing.begin, "PostgreSQL and Redis")
        house = await _house(settings, world, journal, stores, leadership, stack)
        _obey_standbys(house, settings)
        board = _board(house, stores, world, leadership)
        url = await open_page(settings, FloorSource(board, stores), control_of(settings, house), stack, closing)
        on_open(
            OpenFloor(
                board=board,
                url=url,
                psql=servers.psql_command,
                redis_cli=servers.redis_cli_command,
                resumed_at=house.room.state.position,
                vitals=_vitals(house, journal, settings.stall_exit_s),
            )
        )
        await stack.enter_async_context(_at_work(stores, servers, board, house))
        await _note_taken_up(house, ground.taken_up)
        finished, reason = await house.run(world.play(house), stop, at_end=lambda: closing.begin("the agents"))
        if finished and settings.at_end == "hold":
            closing.done()
            await _hold_page(house, board, stop, leadership)
        closing.begin("PostgreSQL's catching up")
        await stores.drain()
        await leadership.release()
        facts = await asyncio.to_thread(_all_facts, journal) if finished else []
    return RunOutcome(finished=finished, reason=reason, facts=facts, data_dir=settings.data_dir, tape=settings.tape)


def _all_facts(journal: Journal) -> list[AnyFact]:
    """For the report. In a thread: the page is still up, and a long journal takes seconds to read."""
    return [entry.fact for entry in journal.read()]


def open_world(settings: Settings) -> World:
    """What POLYBOT_SOURCE names."""
    if settings.source == "tape":
        return TapeWorld(settings)
    from polybot.live import LiveWorld  # noqa: PLC0415 - a tape needs no sockets, and starts sooner without

    return LiveWorld(settings)


async def _house(
    settings: Settings,
    world: World,
    journal: Journal,
    stores: FloorStores,
    leadership: Leadership,
    stack: AsyncExitStack,
) -> House:
    """The floor as it was, in its world; fenced by the lease."""
    terms = house_terms(settings, world.name, lockstep=world.lockstep)
    memory = await _newest_memory(stores) or new_memory(settings.capital_money)
    was = await asyncio.to_thread(restore, terms, memory, journal, world.market_events())  # the lease is renewed
    clock, venue = await world.open(was, stack)
    house = House(terms, was, venue, FencedJournal(journal, leadership.hold), clock, stores.keep_checkpoint)
    _fence(house, leadership)
    fit_kill_switch(house, settings.data_dir)
    house.dispatcher.follow(tell)
    world.wire(house)
    return house


class _Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a floor stands on: its folder and its account are its own, the run in the folder is the account's."""

    servers: EmbeddedServers
    database_url: str
    redis_url: str | None
    leadership: Leadership
    taken_up: TakenUp


async def _take_ground(settings: Settings, stop: asyncio.Event, stack: AsyncExitStack, closing: Closing) -> _Ground:
    """Folder, servers, account, run: in this order. Raises StoppedWaiting."""
    standby = Standby(settings, stop)
    seat = await standby.seat()
    stack.callback(seat.close)
    servers = await _servers(settings, stack)
    stack.callback(closing.begin, "its own servers")
    own = settings.database_url is None
    database_url = settings.database_url or servers.database_url
    assert database_url is not None, "an own server, or a URL"
    taken_up = TakenUp(warnings=[])
    if own:  # nobody but this folder's floor reaches it, and it may be emptied
        taken_up = await take_up(settings.data_dir, database_url, own=True)
    leadership = await standby.lead(database_url, seat)
    stack.push_async_callback(leadership.close)
    if not own:
        after_another = not leadership.is_heir
        taken_up = await take_up(settings.data_dir, database_url, own=False, after_another=after_another)
    _tell_taken_up(taken_up)
    return _Ground(
        servers=servers,
        database_url=database_url,
        redis_url=settings.redis_url or servers.redis_url,
        leadership=leadership,
        taken_up=taken_up,
    )


def _tell_taken_up(found: TakenUp) -> None:
    for warning in found.warnings:
        logger.bind(action="journal_restored").warning("{}", warning)
    if found.put_away is not None:
        logger.bind(action="put_away").info("the finished run before this one is kept in {}", found.put_away)


@asynccontextmanager
async def _at_work(stores: FloorStores, servers: EmbeddedServers, board: Board, house: House) -> AsyncIterator[None]:
    """Facts and ticks go out, and our own servers are kept running, while the block runs."""
    note = _noting(house)
    stores.start(board, note)
    async with kept_running(servers.running, note, house.clock.monotonic, random.Random(house.terms.seed)):
        yield


def _noting(house: House) -> Note:
    """Writes system events; into the log alone once the tape is over, for that is the journal's last word."""

    async def note(severity: Severity, component: str, text: str) -> None:
        if house.was.memory.finished:
            logger.bind(action=component).log(severity.value, "{}", text)
        else:
            await house.dispatcher.note(severity, component, text)

    return note


async def _note_taken_up(house: House, found: TakenUp) -> None:
    """Facts that came from the database are for people to know of, also later, in system_events."""
    for warning in found.warnings:
        await house.dispatcher.note(Severity.WARNING, "journal", warning)


def _vitals(house: House, journal: Journal, limit_s: float) -> tuple[Vital, ...]:
    """A disk that never answers, and a boss that does not look any more: the loop may turn on all the same."""
    monotonic = house.clock.monotonic
    return (
        Vital(name="the journal", stuck_for=lambda: journal.oldest_pending_s(monotonic()), limit_s=limit_s),
        Vital(name="the boss", stuck_for=house.boss.silent_for, limit_s=limit_s),
        Vital(name="the reconciler", stuck_for=house.reconciler.silent_for, limit_s=limit_s),
    )


def _fence(house: House, leadership: Leadership) -> None:
    """No order without a lease, and no floor for the deposed. What is journaled is fenced by its FencedJournal."""
    house.room.fence = house.leads = leadership.may_trade
    house.beside(lambda: leadership.watch(house.dispatcher.note))


def _obey_standbys(house: House, settings: Settings) -> None:
    """What is asked of a standby is done here. Our own server has no others that wait at it."""
    if settings.database_url is not None:
        assert house.kill_switch is not None, "it is fitted first"
        chance = random.Random(settings.seed)
        work = wishes_of_standbys(settings.database_url, account_of(settings), house.kill_switch, chance)
        house.beside(work)


async def _hold_page(house: House, board: Board, stop: asyncio.Event, leadership: Leadership) -> None:
    """Until stopped. Raises Deposed when another floor goes on with the account."""
    logger.bind(action="held").info("the tape is over; the page stays up until this is stopped")
    board.finished = True
    assert house.kill_switch is not None, "it is fitted first"

    async def leads() -> None:
        await asyncio.shield(leadership.task)  # it is let go of later, and in order

    await until_one_ends(
        [
            asyncio.create_task(stop.wait(), name="hold"),
            asyncio.create_task(house.kill_switch.watch(), name="kill-switch"),  # `polybot stop` is answered still
            asyncio.create_task(leads(), name="leads"),
        ]
    )


async def _servers(settings: Settings, stack: AsyncExitStack) -> EmbeddedServers:
    """Our own servers for what no URL is given for. Raises BadInput where that is forbidden."""
    postgres, valkey = settings.database_url is None, settings.redis_url is None
    if not postgres and not valkey:
        return EmbeddedServers()
    if settings.embedded == "never":
        missing = "POLYBOT_DATABASE_URL" if postgres else "POLYBOT_REDIS_URL"
        raise BadInput(f"{missing} is not set, and POLYBOT_EMBEDDED=never forbids a server of our own: set the URL")
    own = embedded_servers(settings.data_dir / "servers", postgres=postgres, valkey=valkey)
    return await stack.enter_async_context(own)


def house_terms(settings: Settings, source: str, *, lockstep: bool) -> HouseTerms:
    return HouseTerms(
        plans=load_plans(settings),
        limits=settings.floor_limits,
        capital=settings.capital_money,
        seed=settings.seed,
        mode=settings.mode,
        source=source,
        settings=public_settings(settings),
        agent_hang_s=settings.agent_hang_s,
        checkpoint_s=settings.checkpoint_s,
        lockstep=lockstep,
    )


def _board(house: House, stores: FloorStores, world: World, leadership: Leadership) -> Board:
    """What is shown of the floor."""
    board = Board(house.room, house.clock, SystemClock().now_ms, house.was.memory.board)
    board.boss, board.supervisor, board.stores = house.boss, house.supervisor, stores
    board.circuit_looks += [house.dispatcher.calls.snapshot, *world.circuit_looks()]
    board.feed, board.account = world.feed, world.account
    board.lead = lambda: _lead(leadership)
    board.info = RunInfo(
        run=house.journal.genesis.hex()[:12],
        mode=house.terms.mode,
        source=house.terms.source,
        started_at=SystemClock().now_ms(),
        capital=house.terms.capital,
        exposure_share=house.room.limits.floor_capital_share,
        events_total=world.events_total,
        windows_total=world.windows_total,
    )
    return board


def _lead(leadership: Leadership) -> LeadStatus:
    now = leadership.status()
    return LeadStatus(footing=now.footing.value, epoch=now.epoch, holder=now.holder, standby=now.standby)


async def _newest_memory(stores: FloorStores) -> FloorMemory | None:
    found = await stores.newest_checkpoint()
    if found is None:
        return None
    try:
        return decode_memory(found.state)
    except BadInput as error:
        logger.bind(action="checkpoint").warning("{}", error)
        return None


# -- backtest ---------------------------------------------------------------------------------------------------------


class Backtest:
    """One pass of the same desks over tapes, in memory: the facts, and how far it is."""

    def __init__(self, settings: Settings, tapes: list[Path], strategies: list[str]) -> None:
        plans = [p for p in load_plans(settings) if not strategies or {p.strategy.name, p.agent} & {*strategies}]
        if not plans:
            known = ", ".join(sorted(plan.agent for plan in load_plans(settings)))
            raise BadInput(f"no agent runs {', '.join(strategies)}; configured are {known}")
        self.settings, self.tapes, self.plans = settings, tapes, plans
        self.facts: list[AnyFact] = []
        self.position = 0

    def run(self, on_progress: Callable[[int, Millis, Money, Money], None], every: int = 500) -> list[AnyFact]:
        """Play everything; `on_progress` is told event number, tape time, equity and P&L."""
        settings = self.settings
        room = TradingRoom(self.plans, settings.limits.limits())
        capital = settings.capital_money
        model = settings.venue.model(settings.seed)
        venue = Simulator(model, room.markets.by_id, new_simulator_state(capital))
        replay = Replay(room, venue, self.facts.append)
        now = Millis(0)
        for event in self._events():
            if not self.position:
                self.facts.append(self._started(event))
                replay.allocate(capital, event.received)
            replay.play(event)
            self.position += 1
            now = event.received
            if self.position % every == 0:
                on_progress(self.position, now, room.equity(), Money(room.equity() - room.capital()))
        self.facts.append(RunEnded(at=now, reason="the tape is over", finished=True))
        self.facts += self._audit(now, room)
        on_progress(self.position, now, room.equity(), Money(room.equity() - room.capital()))
        return self.facts

    def _audit(self, now: Millis, room: TradingRoom) -> list[AnyFact]:
        """The auditor's word on all of it, from the facts alone, and on the desks' cash."""
        auditor = Auditor(limits=room.limits)
        verdicts: list[AnyFact] = [verdict for fact in self.facts for verdict in auditor.apply(fact)]
        return [*verdicts, *auditor.balances(now, {desk.agent: desk.state.cash for desk in room.desks.values()})]

    def _events(self) -> Iterable[MarketEvent]:
        return merge_tapes(self.tapes)

    def _started(self, event: MarketEvent) -> RunStarted:
        settings = self.settings
        return RunStarted(
            at=event.received,
            run="backtest",
            source=", ".join(f"tape {TapeReader(path).header.name}" for path in self.tapes),
            mode="backtest",
            capital=settings.capital_money,
            seed=settings.seed,
            version=__version__,
            settings=public_settings(settings),
        )
