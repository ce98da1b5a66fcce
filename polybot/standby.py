"""Before a floor opens: its data folder, then its account, are made its own; until then it waits as a hot standby.

A part of the composition root (app.py). While it waits it serves /health, which says so (0004-one-floor.md).
"""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
from loguru import logger

from polybot.clock import SystemClock, asleep_or_awake_s
from polybot.domain.errors import PolybotError
from polybot.live_settings import secret_of
from polybot.paths import migrations_dir
from polybot.settings import Settings
from polybot.standby_switch import StandbySwitch
from polybot.storage.candidate import POLL_EVERY_S, Candidate, StandbyStatus
from polybot.storage.leader_session import LeaderSession
from polybot.storage.leadership import Leadership
from polybot.storage.migrate import migrate
from polybot.storage.seat import Seat, SeatTakenError, take_seat
from polybot.storage.switch_line import pass_on
from polybot.web.control import Control
from polybot.web.server import CannotListen, WebServer, serve
from polybot.web.standby import create_standby_app

FOLDER_POLL_S = 0.1
NOTE = "leadership.json"


class StoppedWaiting(PolybotError):
    """Asked to stop while still a standby: nothing was begun, so nothing is to be ended."""


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """What the last floor on this folder knew: whether another may lead the account, and as whom it led itself."""

    others: bool
    holder: str = ""


class Standby:
    """Waits where it has to. Ask for the `seat` first, then `lead` with the database's address."""

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._settings, self._stop = settings, stop
        self._clock = SystemClock()
        self._status = StandbyStatus(since=self._clock.now_ms(), why="it has just started")
        self._web: WebServer | None = None
        self._switch = StandbySwitch(settings)

    async def seat(self) -> Seat:
        """The data folder, waited for while another floor runs on it. Raises StoppedWaiting, SeatUnusableError."""
        try:
            while True:
                try:
                    return take_seat(self._settings.data_dir)
                except SeatTakenError as error:
                    why = f"{error}; this one waits, and goes on when that one ends"
                    await self._wait(FOLDER_POLL_S, StandbyStatus(since=self._status.since, why=why))
        finally:
            await self._stop_serving()

    async def lead(self, database_url: str, seat: Seat) -> Leadership:
        """The account, waited for while another floor leads it; being renewed when returned. Raises StoppedWaiting."""
        data_dir, account = self._settings.data_dir, account_of(self._settings)
        self._switch.pass_on = partial(pass_on, database_url, account)
        prepare = partial(migrate, folder=migrations_dir())
        session = LeaderSession(database_url, account, seat.identity, prepare)
        candidate = Candidate(
            session,
            seat,
            self._clock,
            asleep_or_awake_s,
            partial(remember_others, data_dir, holder=seat.identity.holder),
            alone=not others_known(data_dir),
            led_as=last_holder(data_dir),
        )
        leadership = None
        try:
            while (leadership := await candidate.once()) is None:
                await self._wait(POLL_EVERY_S, candidate.status())
        finally:
            await self._stop_serving()
            if leadership is None:
                await candidate.close()
        leadership.start()
        return leadership

    async def _wait(self, seconds: float, status: StandbyStatus | None) -> None:
        was, self._status = self._status, status or self._status
        if self._web is None or was.why != self._status.why:
            self._web = self._web or await self._serve()
            logger.bind(action="standby").warning("standby ({}/health): {}", self._web.url, self._status.why)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        if self._stop.is_set():
            raise StoppedWaiting("stopped while waiting as a standby")

    async def _serve(self) -> WebServer:
        """On the floor's own port, or on any free one: the leader may have it, on the same machine."""
        settings = self._settings
        control = Control(self._switch, secret_of(settings, "control_token"))
        app = partial(create_standby_app, lambda: self._status, extra_hosts=settings.web_hosts, control=control)
        try:
            return await serve(app(), settings.web_host, settings.web_port)
        except CannotListen as error:
            logger.bind(action="standby").info("{}. Until it leads, /health is on a free port", error)
            return await serve(app(), settings.web_host, 0)

    async def _stop_serving(self) -> None:
        web, self._web = self._web, None
        if web is not None:
            await web.close()


def account_of(settings: Settings) -> str:
    """What only one floor may trade: the paper account, later the wallet."""
    return settings.mode


# -- what is remembered in the folder ---------------------------------------------------------------------------------


def others_known(data_dir: Path) -> bool:
    """Whether another floor may lead, as far as this folder knows."""
    return _read_note(data_dir).others


def last_holder(data_dir: Path) -> str:
    """The holder as which a floor on this folder last led; "" where that is not known."""
    return _read_note(data_dir).holder


def _read_note(data_dir: Path) -> _Note:
    """Without a note nobody else was ever met; one that cannot be read may say anything."""
    try:
        return msgspec.json.decode((data_dir / NOTE).read_bytes(), type=_Note)
    except FileNotFoundError:
        return _Note(others=False)
    except (OSError, ValueError):
        return _Note(others=True)


def remember_others(data_dir: Path, others: bool, *, holder: str = "") -> None:
    """For a start while the database is away. Whole or not at all."""
    note = data_dir / NOTE
    unfinished = note.with_suffix(".unfinished")
    try:
        unfinished.write_bytes(msgspec.json.encode(_Note(others=others, holder=holder)))
        unfinished.replace(note)
    except OSError as error:
        logger.bind(action="leadership").warning("{} could not be written: {}", note, error)
