"""The kill switch between the instances of one account: a standby tells the floor that leads, which says what it did.

By PostgreSQL's notifications, which only reach who listens at that moment: nothing stays behind that somebody might
obey much later. What must stay is the file (switch_file.py), and the pause that the leader journals.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import msgspec
from loguru import logger

from polybot.circuit import growing_wait
from polybot.storage.postgres import OUTAGES
from polybot.switch_file import SwitchAnswer, Wish

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

T = TypeVar("T")
CALL_S_MAX = 3.0
ALIVE_S = 5.0
"""How often a connection on which nothing comes is asked whether it still stands."""
RETRY_S_FIRST, RETRY_S_MAX = 0.5, 10.0
WAITING_MAX = 100
TEXT_MAX = 2_000
"""A notification has 8,000 bytes at most."""
LISTENS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1)"
Grant = Callable[[Wish], Awaitable[SwitchAnswer]]


async def grant_wishes(url: str, account: str, grant: Grant, chance: random.Random) -> None:
    """For ever, on the floor that leads: do what standbys pass on, and tell them."""
    failures = 0
    while True:
        try:
            async with _listening(url, _wishes(account), name=_listener(account)) as (connection, heard):
                failures = 0
                while True:
                    await _answer(connection, account, await _next(connection, heard), grant)
        except OUTAGES as error:
            failures += 1
            logger.bind(action="kill_switch").debug("no line to standbys: {!r}", error)
            await asyncio.sleep(growing_wait(failures, chance, first=RETRY_S_FIRST, most=RETRY_S_MAX))


async def pass_on(url: str, account: str, wish: Wish, seconds: float) -> SwitchAnswer | None:
    """On a standby: what the floor that leads has done about it. None where none listens, or none answers in time."""
    try:
        async with asyncio.timeout(seconds), _listening(url, _answers(account)) as (connection, heard):
            if not await connection.fetchval(LISTENS, _listener(account)):
                return None
            await _say(connection, _wishes(account), wish)
            while True:
                answer = _read(await _next(connection, heard), SwitchAnswer)
                if answer is not None and answer.id == wish.id:
                    return answer
    except OUTAGES as error:
        logger.bind(action="kill_switch").warning("the floor that leads did not answer: {!r}", error)
        return None


async def _answer(connection: "Connection", account: str, payload: str, grant: Grant) -> None:
    wish = _read(payload, Wish)
    if wish is None:
        return
    done = await grant(wish)
    answer = SwitchAnswer(id=wish.id, text=done.text[:TEXT_MAX], trouble=done.trouble[:TEXT_MAX])
    await _say(connection, _answers(account), answer)


@asynccontextmanager
async def _listening(
    url: str, channel: str, name: str = "polybot stop"
) -> "AsyncIterator[tuple[Connection, asyncio.Queue[str]]]":
    """A connection of its own, and what comes on the channel, "" when the connection ends. Raises one of OUTAGES."""
    heard: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)

    def take(*notification: object) -> None:
        with suppress(asyncio.QueueFull):
            heard.put_nowait(str(notification[-1]))

    connection = await asyncpg.connect(
        url, timeout=CALL_S_MAX, command_timeout=CALL_S_MAX, server_settings={"application_name": name}
    )
    try:
        connection.add_termination_listener(lambda _: take(""))
        await connection.add_listener(channel, take)
        yield connection, heard
    finally:
        connection.terminate()


async def _next(connection: "Connection", heard: asyncio.Queue[str]) -> str:
    """Raises one of OUTAGES where the connection is gone."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_S):
                if payload := await heard.get():
                    return payload
        await connection.fetchval("SELECT 1")


async def _say(connection: "Connection", channel: str, what: msgspec.Struct) -> None:
    await connection.execute("SELECT pg_notify($1, $2)", channel, msgspec.json.encode(what).decode())


def _read(payload: str, kind: type[T]) -> T | None:
    """None for what is not understood: an instance of another version."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except msgspec.MsgspecError:
        return None


def _wishes(account: str) -> str:
    return f"polybot_stop_{account}"


def _answers(account: str) -> str:
    return f"polybot_stopped_{account}"


def _listener(account: str) -> str:
    """By this name a standby sees that there is somebody to ask."""
    return f"polybot stop {account}"
