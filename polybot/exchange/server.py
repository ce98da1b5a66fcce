"""The exchange over HTTP: every documented host is a prefix of one port, told apart by the first part of the path.

    https://clob.polymarket.com/...              -> http://127.0.0.1:8085/clob/...
    wss://ws-subscriptions-clob.polymarket.com/  -> ws://127.0.0.1:8085/ws/market and /ws/user
    https://gamma-api.polymarket.com/...         -> http://127.0.0.1:8085/gamma/...
    https://data-api.polymarket.com/...          -> http://127.0.0.1:8085/data/...
    https://relayer-v2.polymarket.com/...        -> http://127.0.0.1:8085/relayer/...
    https://polymarket.com/api/geoblock          -> http://127.0.0.1:8085/site/api/geoblock
    wss://ws-live-data.polymarket.com            -> ws://127.0.0.1:8085/rtds
    wss://ws-live-v2.polymarket.com/ws           -> ws://127.0.0.1:8085/polybolt/ws
    the switches                                 -> http://127.0.0.1:8085/_control/...

Signed paths are the venue's own: the prefix is taken off before an HMAC is checked.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Iterable

from aiohttp import web
from loguru import logger

from polybot.domain.errors import PolybotError
from polybot.exchange.clob_account import add_account_routes
from polybot.exchange.clob_public import add_public_routes
from polybot.exchange.clob_trading import add_trading_routes
from polybot.exchange.control import add_control_routes
from polybot.exchange.edge import EXCHANGE, fault_middleware
from polybot.exchange.exchange import Exchange
from polybot.exchange.sockets import MarketSocket, UserSocket

PORT = 8085
SHUTDOWN_SECONDS_MAX = 1.0
BODY_BYTES_MAX = 1 << 20
Surroundings = Callable[[web.Application, Exchange], None]
"""Adds hosts to the root application: routes, or a sub-application made by `host_app` with `app.add_subapp`."""


class CannotListen(PolybotError):
    """The exchange can't have its port; the text says why."""


def host_app(exchange: Exchange, host: str) -> web.Application:
    """A sub-application for one documented host, with the exchange in `app[EXCHANGE]` and its faults in force."""
    app = web.Application(middlewares=[fault_middleware(exchange, host)], client_max_size=BODY_BYTES_MAX)
    app[EXCHANGE] = exchange
    return app


def create_app(exchange: Exchange, surroundings: Iterable[Surroundings] = ()) -> web.Application:
    """Everything on one port. `surroundings` add the hosts beside the CLOB (Gamma, relayer, prices)."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[EXCHANGE] = exchange
    clob = host_app(exchange, "clob")
    for add_routes in (add_public_routes, add_trading_routes, add_account_routes):
        add_routes(clob)
    app.add_subapp("/clob", clob)
    market, user = MarketSocket(exchange), UserSocket(exchange)
    app.router.add_get("/ws/market", market.serve)
    app.router.add_get("/ws/user", user.serve)
    add_control_routes(app, (market, user))
    for add in surroundings:
        add(app, exchange)
    app.cleanup_ctx.append(_keep_time(exchange))
    app.on_shutdown.append(market.close)
    app.on_shutdown.append(user.close)
    return app


def _keep_time(exchange: Exchange) -> Callable[[web.Application], AsyncIterator[None]]:
    async def keep(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(exchange.run(), name="exchange-time")
        task.add_done_callback(_say_why)
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return keep


def _say_why(task: asyncio.Task[None]) -> None:
    """Without its time the exchange answers and does nothing more: a bug that must not be silent."""
    if not task.cancelled() and task.exception() is not None:
        logger.bind(action="exchange_stopped").opt(exception=task.exception()).critical(
            "the exchange's time stands still"
        )


class Server:
    """A listening exchange; `port` is the one it got."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner, self.host, self.port = runner, host, port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    async def close(self) -> None:
        await self._runner.cleanup()


async def serve(app: web.Application, host: str = "127.0.0.1", port: int = PORT) -> Server:
    """Listen (port 0: any free one). Raises CannotListen."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS_MAX)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is taken; give another with --port" if taken else f"can't be listened on ({error})"
        raise CannotListen(f"port {port} on {host} {why}") from error
    return Server(runner, host, runner.addresses[0][1])
