"""The composition root: settings in, a wired floor out. The only place that knows paper from live, tape from feed."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from loguru import logger

from polybot import __version__
from polybot.agents.auditor import AUDITOR, AuditorAgent
from polybot.agents.base import Heart
from polybot.agents.monitor import MONITOR, MonitorAgent
from polybot.agents.trader import Trader
from polybot.backtest.replay import Replay
from polybot.clock import ReplayClock, SystemClock
from polybot.desk.desk import Desk
from polybot.desk.room import TradingRoom
from polybot.domain.errors import BadInput
from polybot.domain.events import AnyFact, Journaled, MarketEvent, RunEnded, RunStarted
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis, Money, format_units
from polybot.floor.board import Board, RunInfo
from polybot.floor.boss import Boss
from polybot.floor.dispatch import Dispatcher
from polybot.floor.player import play
from polybot.floor.supervisor import AgentSpec, Supervisor
from polybot.floor.teller import tell
from polybot.recovery import FloorMemory, Recovered, decode_memory, encode_memory, new_memory, recover, unanswered
from polybot.risk.audit import Auditor
from polybot.settings import Settings, load_plans
from polybot.storage.embedded import EmbeddedServers, embedded_servers
from polybot.storage.journal import Journal
from polybot.storage.tape import TapeReader, merge_tapes
from polybot.stores import FloorStores, journal_path, make_room
from polybot.venue.matching import Simulator, new_simulator_state
from polybot.venue.paper import PaperVenue
from polybot.web.server import CannotListen, WebServer, create_app, serve
from polybot.web.source import FloorSource

LOCKSTEP_PATIENCE_FACTOR = 2.0


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


async def run_floor(settings: Settings, stop: asyncio.Event, on_open: Callable[[OpenFloor], None]) -> RunOutcome:
    """Open the floor on a tape, play it, close it in order. Raises FloorFailed where only a restart can help."""
    tape = TapeReader(settings.tape)
    async with AsyncExitStack() as stack:
        servers = await _servers(settings, stack)
        database_url = settings.database_url or servers.database_url
        redis_url = settings.redis_url or servers.redis_url
        went = await make_room(settings.data_dir, servers.database_url)
        if went is not None:
            logger.bind(action="put_away").info("the finished run before this one is kept in {}", went)
        journal = Journal.open(journal_path(settings.data_dir))
        stack.callback(journal.close)
        stores = await FloorStores.open(database_url, redis_url, journal, settings.data_dir)
        stack.push_async_callback(stores.close)
        floor = await _Floor.restore(settings, tape, journal, stores)
        web = await _serve(settings, FloorSource(floor.board, stores))
        stack.push_async_callback(web.close)
        page = page_note(settings.data_dir)
        page.write_text(web.url + "\n")
        stack.callback(page.unlink, missing_ok=True)
        on_open(
            OpenFloor(
                board=floor.board,
                url=web.url,
                psql=servers.psql_command,
                redis_cli=servers.redis_cli_command,
                resumed_at=floor.recovered.room.state.position,
            )
        )
        finished, reason = await floor.run(stop)
        if finished and settings.at_end == "hold":
            logger.bind(action="held").info("the tape is over; the page stays up until this is stopped")
            floor.board.finished = True
            await stop.wait()
        await stores.drain()
        facts = [entry.fact for entry in journal.read()] if finished else []
    return RunOutcome(finished=finished, reason=reason, facts=facts, data_dir=settings.data_dir, tape=settings.tape)


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


class _Floor:
    """The wired parts of one open floor."""

    def __init__(self, settings: Settings, tape: TapeReader, journal: Journal, stores: FloorStores, was: Recovered):
        self.settings, self.tape, self.journal, self.stores, self.recovered = settings, tape, journal, stores, was
        self.clock = ReplayClock(was.now or Millis(tape.totals.first_ms if tape.totals else 0))
        self.room: TradingRoom = was.room
        self.room.absent.update(self.room.desks)  # until their agents run: nobody has looked at anything yet
        self.dispatcher = Dispatcher(
            was.room,
            PaperVenue(was.venue),
            journal,
            self.clock,
            lockstep=True,
            patience_s=LOCKSTEP_PATIENCE_FACTOR * settings.agent_hang_s,
        )
        self.board = Board(was.room, self.clock, SystemClock().now_ms, was.memory.board)
        self.dispatcher.follow(self._remember)
        self.dispatcher.follow(tell)
        self.boss = Boss(was.room, self.dispatcher, self.clock, self._keep_checkpoint, settings.checkpoint_s)
        self.supervisor = Supervisor(self._specs(), self.clock, self.boss.on_agent_change, random.Random(settings.seed))
        self.board.boss, self.board.supervisor, self.board.stores = self.boss, self.supervisor, stores
        self.board.info = RunInfo(
            run=journal.genesis.hex()[:12],
            mode=settings.mode,
            source=source_name(tape),
            started_at=SystemClock().now_ms(),
            capital=settings.capital_money,
            exposure_share=was.room.limits.floor_capital_share,
            events_total=tape.totals.events if tape.totals else None,
            windows_total=len(tape.totals.markets) if tape.totals else None,
        )

    @classmethod
    async def restore(cls, settings: Settings, tape: TapeReader, journal: Journal, stores: FloorStores) -> "_Floor":
        """Recovery is start-up: the same path for a first start and for the next after any end."""
        plans = load_plans(settings)
        memory = await _newest_memory(stores) or new_memory(settings.capital_money)
        was = recover(
            memory,
            journal.read(memory.seq),
            tape.events(),
            plans,
            settings.limits.limits(),
            settings.venue.model(settings.seed),
        )
        if was.memory.source not in ("", source_name(tape)):
            raise BadInput(
                f"{settings.data_dir} holds a run on {was.memory.source}, and this is {source_name(tape)}: "
                "set POLYBOT_DATA_DIR to another folder, or type `polybot reset` to put that run away"
            )
        if was.room.capital() not in (0, settings.capital_money):
            raise BadInput(
                f"the run in {settings.data_dir} began with {format_units(was.room.capital())}, and POLYBOT_CAPITAL "
                f"is now {format_units(settings.capital_money)}: set it back, or put that run away: `polybot reset`"
            )
        gone = [agent for agent in was.memory.room.desks if agent not in was.room.desks]
        if gone:
            raise BadInput(
                f"{', '.join(gone)} took part in the run in {settings.data_dir} and is not configured any more: "
                "give back its file in configs/strategies, or type `polybot reset` to put that run away"
            )
        return cls(settings, tape, journal, stores, was)

    async def run(self, stop: asyncio.Event) -> tuple[bool, str]:
        """Play until the tape ends, somebody stops it, or something vital fails."""
        self.stores.start(self.board, self.dispatcher.note)
        missing = unanswered(self.room, self.recovered.venue, self.clock.now_ms())
        await self.boss.open(self.supervisor, self._started(), self.settings.capital_money, missing)
        watching = asyncio.create_task(self.boss.watch(self.supervisor), name="boss-watch")
        playing = asyncio.create_task(self._play(stop), name="tape-player")
        in_order = False
        try:
            done, _ = await asyncio.wait([watching, playing], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a fault ends the floor here
            finished = playing.result()
            reason = "the tape is over" if finished else "stopped by request"
            await self.boss.close(self.supervisor, reason, finished=finished)
            in_order = True
        finally:
            for task in (watching, playing):
                task.cancel()
            await asyncio.wait([watching, playing])
            if not in_order:  # whatever failed, what is running must not go on trading
                await self.supervisor.stop()
        return finished, reason

    async def _play(self, stop: asyncio.Event) -> bool:
        position = self.room.state.position
        events = self.tape.events(start=position)
        return await play(events, self.dispatcher, self.clock, self.settings.speed, stop)

    def _started(self) -> RunStarted:
        settings = self.settings
        return RunStarted(
            at=self.clock.now_ms(),
            run=self.journal.genesis.hex()[:12],
            source=source_name(self.tape),
            mode=settings.mode,
            capital=settings.capital_money,
            seed=settings.seed,
            version=__version__,
            settings=public_settings(settings),
        )

    # -- what the agents need -----------------------------------------------------------------------------------------

    def _specs(self) -> list[AgentSpec]:
        """Auditor and monitor first, so that nothing is traded unseen; they stop last."""
        hang_s = self.settings.agent_hang_s
        specs = [
            AgentSpec(name=AUDITOR, role="auditor", build=self._auditor, hang_s=hang_s),
            AgentSpec(name=MONITOR, role="monitor", build=self._monitor, hang_s=hang_s),
        ]
        for agent, desk in self.room.desks.items():
            specs.append(AgentSpec(name=agent, role="trader", build=self._trader_builder(desk), hang_s=hang_s))
        return specs

    def _trader_builder(self, desk: Desk) -> Callable[[], Trader]:
        attach = self.dispatcher.attach_mailbox
        return lambda: Trader(
            desk, Heart(self.clock.monotonic), self.dispatcher.carry_out, lambda box: attach(desk.agent, box)
        )

    def _auditor(self) -> AuditorAgent:
        return AuditorAgent(
            self.room.limits,
            Heart(self.clock.monotonic),
            self.clock,
            self,
            self.dispatcher.commit,
            lambda feed: self.dispatcher.attach_feed(AUDITOR, feed),
        )

    def _monitor(self) -> MonitorAgent:
        return MonitorAgent(
            self.board.state.performance,
            Heart(self.clock.monotonic),
            self.dispatcher.commit,
            lambda feed: self.dispatcher.attach_feed(MONITOR, feed),
        )

    def past(self) -> Iterable[Journaled]:
        return self.journal.read()

    def desk_cash(self) -> Mapping[AgentId, Money] | None:
        if not self.dispatcher.settled:
            return None
        return {desk.agent: desk.state.cash for desk in self.room.desks.values()}

    # -- remembering --------------------------------------------------------------------------------------------------

    def _remember(self, facts: list[Journaled]) -> None:
        memory = self.recovered.memory
        for entry in facts:
            memory.take(entry)

    async def _keep_checkpoint(self) -> None:
        memory = self.recovered.memory
        await self.stores.keep_checkpoint(
            memory.seq, self.room.state.position, self.clock.now_ms(), encode_memory(memory)
        )


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
    return plain


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
