"""The composition root: settings in, a wired floor out. The only place that knows paper from live, tape from feed."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from loguru import logger

from polybot import __version__
from polybot.backtest.replay import Replay
from polybot.clock import ReplayClock, SystemClock
from polybot.desk.room import TradingRoom
from polybot.domain.errors import BadInput
from polybot.domain.events import AnyFact, MarketEvent, RunEnded, RunStarted
from polybot.domain.units import Millis, Money
from polybot.floor.board import Board, RunInfo
from polybot.floor.player import play
from polybot.floor.teller import tell
from polybot.house import House, HouseTerms, restore
from polybot.recovery import FloorMemory, decode_memory, new_memory
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
        terms = house_terms(settings, source_name(tape))
        memory = await _newest_memory(stores) or new_memory(settings.capital_money)
        was = restore(terms, memory, journal, tape.events())
        clock = ReplayClock(was.now or Millis(tape.totals.first_ms if tape.totals else 0))
        venue = PaperVenue(was.paper_venue(settings.venue.model(settings.seed)))
        house = House(terms, was, venue, journal, clock, stores.keep_checkpoint)
        house.dispatcher.follow(tell)
        board = _board(house, stores, tape)
        web = await _serve(settings, FloorSource(board, stores))
        stack.push_async_callback(web.close)
        page = page_note(settings.data_dir)
        page.write_text(web.url + "\n")
        stack.callback(page.unlink, missing_ok=True)
        on_open(
            OpenFloor(
                board=board,
                url=web.url,
                psql=servers.psql_command,
                redis_cli=servers.redis_cli_command,
                resumed_at=was.room.state.position,
            )
        )
        stores.start(board, house.dispatcher.note)
        events = tape.events(start=was.room.state.position)
        finished, reason = await house.run(
            lambda dispatcher, stopped: play(events, dispatcher, clock, settings.speed, stopped), stop
        )
        if finished and settings.at_end == "hold":
            logger.bind(action="held").info("the tape is over; the page stays up until this is stopped")
            board.finished = True
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


def _board(house: House, stores: FloorStores, tape: TapeReader) -> Board:
    """What is shown of the floor."""
    board = Board(house.room, house.clock, SystemClock().now_ms, house.was.memory.board)
    board.boss, board.supervisor, board.stores = house.boss, house.supervisor, stores
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
