"""The web side of a process that is no floor (a standby, a feed): what it is, how it is, and that it knows no run."""

from collections.abc import Callable, Collection, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from polybot.web.guard import add_headers, json_answer, refuse_strange_hosts, trouble_as_json


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One look: /health answers `health`, 503 unless `is_well`; / answers `page`; /api/* is 503 with `elsewhere`."""

    health: Mapping[str, object]
    page: str
    elsewhere: Mapping[str, object]
    is_well: bool = True


def create_aside_app(
    look: Callable[[], Said], registry: CollectorRegistry, *, extra_hosts: Collection[str] = ()
) -> web.Application:
    """It looks anew for each answer. /metrics is what `registry` holds."""

    async def health(_request: web.Request) -> web.Response:
        said = look()
        return json_answer(said.health, 200 if said.is_well else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=look().page)

    async def elsewhere(_request: web.Request) -> web.Response:
        return json_answer(look().elsewhere, 503)

    app = web.Application(middlewares=[trouble_as_json, refuse_strange_hosts(extra_hosts)])
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", page)
    app.router.add_get("/api/{what}", elsewhere)
    return app
