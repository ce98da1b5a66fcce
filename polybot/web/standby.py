"""What a standby answers: that it is one, whom it waits for, and since when. It is healthy, and it trades nothing.

The account can be stopped from here, too (standby_switch.py)."""

from collections.abc import Callable, Collection

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from polybot import __version__
from polybot.storage.candidate import StandbyStatus
from polybot.web.control import Control
from polybot.web.guard import add_headers, json_answer, refuse_strange_hosts, trouble_as_json
from polybot.web.json_form import to_plain

NOT_HERE = "this is a standby: it knows nothing of the run until it takes over; ask the floor that leads"


def create_standby_app(
    status: Callable[[], StandbyStatus], *, extra_hosts: Collection[str] = (), control: Control | None = None
) -> web.Application:
    """200 at /health, or Docker would count a waiting standby as sick; the body's `state` tells it from a floor.

    `control` None: nothing can be stopped from here.
    """
    registry = CollectorRegistry(auto_describe=False)
    Gauge("polybot_standby", "1 while this instance waits to lead.", registry=registry).set(1)

    async def health(_request: web.Request) -> web.Response:
        return json_answer({"state": "standby", "fit": False, "version": __version__, **to_plain(status())})

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=f"PolyBot {__version__}: waiting as a standby. {status().why}\n")

    async def elsewhere(_request: web.Request) -> web.Response:
        return json_answer({"error": NOT_HERE, "state": "standby", "why": status().why}, 503)

    app = web.Application(middlewares=[trouble_as_json, refuse_strange_hosts(extra_hosts)])
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", page)
    app.router.add_get("/api/{what}", elsewhere)
    if control is not None:
        control.add_to(app)
    return app
