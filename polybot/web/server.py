"""The floor over HTTP, to be looked at: health, metrics, JSON, the live page; and, with a token, to be stopped.

Looking changes nothing and needs no authentication; the server listens on 127.0.0.1 unless told otherwise.
"""

import errno
from collections.abc import Collection

from aiohttp import web

from polybot.domain.errors import PolybotError
from polybot.floor.status import StatusSource
from polybot.web.control import Control
from polybot.web.guard import add_headers, refuse_strange_hosts, trouble_as_json
from polybot.web.routes import add_routes
from polybot.web.stream import StatusStream

SHUTDOWN_SECONDS_MAX = 1.0
"""What a request in flight gets at the stop, and again after it is cancelled; streams are told to end and need none."""


class CannotListen(PolybotError):
    """The web server can't have its address; the text names the setting to change."""


class WebServer:
    """A server that listens. `close` ends the streams, lets requests in flight finish, and may be called twice."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it: "every address" is none to ask for, so loopback stands for it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def close(self) -> None:
        await self._runner.cleanup()


def create_app(
    source: StatusSource,
    *,
    extra_hosts: Collection[str] = (),
    stream: StatusStream | None = None,
    control: Control | None = None,
) -> web.Application:
    """All routes over one source. `extra_hosts`: names besides localhost by which the page may be asked for.

    `control` None: nothing can be stopped from here.
    """
    stream = stream or StatusStream(source)
    app = web.Application(middlewares=[trouble_as_json, refuse_strange_hosts(extra_hosts)])
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(stream.close)
    add_routes(app, source)
    app.router.add_get("/api/stream", stream.answer, allow_head=False)
    if control is not None:
        control.add_to(app)
    return app


async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 8080) -> WebServer:
    """Listen on `host`:`port` (0: any free port, the answer's `port` says which). Raises CannotListen."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS_MAX)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise CannotListen(_why_not(host, port, error)) from error
    return WebServer(runner, host, runner.addresses[0][1])


def _why_not(host: str, port: int, error: OSError | OverflowError) -> str:
    """What stands in the way, and which setting to change."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        remedy = "stop that program, or set POLYBOT_WEB_PORT to a free port"
        return f"port {port} on {host} is taken, perhaps by another floor: {remedy}"
    if code == errno.EACCES:
        return f"this user may not listen on port {port}: set POLYBOT_WEB_PORT to a port from 1024 on"
    if isinstance(error, OverflowError):
        return f"{port} is no port: set POLYBOT_WEB_PORT to a number from 1 to 65535"
    return f"can't listen on {host}, port {port} ({error}): set POLYBOT_WEB_HOST to an address of this machine"
