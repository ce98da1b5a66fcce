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
from polybot.clock import ReplayClock, SystemClock
from polybot.desk.room import TradingRoom
from polybot.domain.errors import BadInput
from polybot.domain.events import AnyFact, MarketEvent, RunEnded, RunStarted, Severity
from polybot.domain.units import Millis, Money
from polybot.floor.board import Board, RunInfo
from polybot.floor.closing import Closing
from polybot.floor.player import play
from polybot.floor.status import LeadStatus
from polybot.floor.teller import tell
from polybot.floor.watchdog import Vital
from polybot.house import House, HouseTerms, restore
from polybot.recovery import FloorMemory, decode_memory, new_memory
from polybot.risk.audit import Auditor
from polybot.runs import TakenUp, journal_path, take_up
from polybot.settings import Settings, agent_files, load_plans
from polybot.standby import Standby
from polybot.storage.embedded import EmbeddedServers, embedded_servers
from polybot.storage.embedded_keeper import kept_running
from polybot.storage.fenced_journal import FencedJournal
from polybot.storage.journal import Journal
from polybot.storage.leadership import Leadership
from polybot.storage.tape import TapeReader, merge_tapes
from polybot.stores import FloorStores
from polybot.upkeep import Note
from polybot.venue.matching import Simulator, new_simulator_state
from polybot.venue.paper import PaperVenue
from polybot.web.server import CannotListen, WebServer, create_app, serve
from polybot.web.source import FloorSource


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
    """Open the floor on a tape, play it, close it in order; `closing` is told how far that is.

    Where another floor runs on its folder or leads its account, it waits first (standby.py). Raises FloorFailed where
    only a restart can help, Deposed when another leads, StoppedWaiting when asked to stop before it led.
    """
    tape = TapeReader(settings.tape)
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
        house, clock = await _house(settings, tape, journal, stores, leadership)
        board = _board(house, stores, tape, leadership)
        url = await _open_page(settings, FloorSource(board, stores), stack, closing)
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
        events = tape.events(start=house.room.state.position)
        finished, reason = await house.run(
            lambda dispatcher, stopped: play(events, dispatcher, clock, settings.speed, stopped),
            stop,
            at_end=lambda: closing.begin("the agents"),
        )
        if finished and settings.at_end == "hold":
            closing.done()
            await _hold_page(board, stop, leadership)
        closing.begin("PostgreSQL's catching up")
        await stores.drain()
        await leadership.release()
        facts = await asyncio.to_thread(_all_facts, journal) if finished else []
    return RunOutcome(finished=finished, reason=reason, facts=facts, data_dir=settings.data_dir, tape=settings.tape)


def _all_facts(journal: Journal) -> list[AnyFact]:
    """For the report. In a thread: the page is still up, and a long journal takes seconds to read."""
    return [entry.fact for entry in journal.read()]


async def _house(
    settings: Settings, tape: TapeReader, journal: Journal, stores: FloorStores, leadership: Leadership
) -> tuple[House, ReplayClock]:
    """The floor as it was, on paper, on the tape's time; fenced by the lease."""
    terms = house_terms(settings, source_name(tape))
    memory = await _newest_memory(stores) or new_memory(settings.capital_money)
    was = await asyncio.to_thread(restore, terms, memory, journal, tape.events())  # the lease is renewed meanwhile
    clock = ReplayClock(was.now or Millis(tape.totals.first_ms if tape.totals else 0))
    venue = PaperVenue(was.paper_venue(settings.venue.model(settings.seed)))
    house = House(terms, was, venue, FencedJournal(journal, leadership.hold), clock, stores.keep_checkpoint)
    _fence(house, leadership)
    house.dispatcher.follow(tell)
    return house, clock


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
    house.room.fence = leadership.may_trade
    house.beside(lambda: leadership.watch(house.dispatcher.note))


async def _open_page(settings: Settings, source: FloorSource, stack: AsyncExitStack, closing: Closing) -> str:
    """Serve, and note the address for `polybot status`; the address."""
    web = await _serve(settings, source)
    stack.push_async_callback(web.close)
    stack.callback(closing.begin, "the page")
    page = page_note(settings.data_dir)
    page.write_text(web.url + "\n")
    stack.callback(page.unlink, missing_ok=True)
    return web.url


async def _hold_page(board: Board, stop: asyncio.Event, leadership: Leadership) -> None:
    """Until stopped. Raises Deposed when another floor goes on with the account."""
    logger.bind(action="held").info("the tape is over; the page stays up until this is stopped")
    board.finished = True
    stopping = asyncio.create_task(stop.wait(), name="hold")
    try:
        await asyncio.wait([stopping, leadership.task], return_when=asyncio.FIRST_COMPLETED)
        if leadership.task.done():
            leadership.task.result()
    finally:
        stopping.cancel()


async def _serve(settings: Settings, source: FloorSource) -> WebServer:
    """On the port asked for. Where nobody asked and the usual one is taken, on any free one: the page comes up."""
    try:
        return await serve(create_app(source, extra_hosts=settings.web_hosts), settings.web_host, settings.web_port)
    except CannotListen as error:
        if "web_port" in settings.model_fields_set:
            raise
        logger.bind(action="open").warning("{}; another port is used", error)
        return await serve(create_app(source, extra_hosts=settings.web_hosts), settings.web_host, 0)


def page_note(data_dir: Path) -> Path:
    """Where a running floor writes the address of its page, for `polybot status`."""
    return data_dir / "page.url"


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


def house_terms(settings: Settings, source: str) -> HouseTerms:
    return HouseTerms(
        plans=load_plans(settings),
        limits=settings.limits.limits(),
        capital=settings.capital_money,
        seed=settings.seed,
        mode=settings.mode,
        source=source,
        settings=public_settings(settings),
        agent_hang_s=settings.agent_hang_s,
        checkpoint_s=settings.checkpoint_s,
        lockstep=True,
    )


def _board(house: House, stores: FloorStores, tape: TapeReader, leadership: Leadership) -> Board:
    """What is shown of the floor."""
    board = Board(house.room, house.clock, SystemClock().now_ms, house.was.memory.board)
    board.boss, board.supervisor, board.stores = house.boss, house.supervisor, stores
    board.circuit_looks.append(house.dispatcher.calls.snapshot)
    board.lead = lambda: _lead(leadership)
    board.info = RunInfo(
        run=house.journal.genesis.hex()[:12],
        mode=house.terms.mode,
        source=house.terms.source,
        started_at=SystemClock().now_ms(),
        capital=house.terms.capital,
        exposure_share=house.room.limits.floor_capital_share,
        events_total=tape.totals.events if tape.totals else None,
        windows_total=len(tape.totals.markets) if tape.totals else None,
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


def source_name(tape: TapeReader) -> str:
    return f"tape {tape.header.name}"


def public_settings(settings: Settings) -> dict[str, object]:
    """The settings as they may be written down: no URLs, which can hold passwords, and no paths of this machine."""
    hidden = {"database_url", "redis_url", "data_dir", "config_dir", "strategies_dir", "tape"}
    plain: dict[str, object] = settings.model_dump(mode="json", exclude=hidden)
    return plain | {"agents": msgspec.to_builtins(agent_files(settings))}  # `polybot replay` does it again with these


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
