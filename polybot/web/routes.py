"""What each address answers: the present from the floor's status, the past from the database, and the page."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from polybot.domain.ids import AgentId
from polybot.floor.status import FloorStatus, StatusSource, StoreUnavailable
from polybot.web.guard import json_answer
from polybot.web.json_form import to_plain
from polybot.web.metrics import metrics_registry

PAGE = Path(__file__).with_name("page")
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LIMIT_DEFAULT = 50
LIMIT_MAX = 500
STORE_SECONDS_MAX = 5.0
"""A look at the past is given up after this: a person waits, and the floor's connections are few."""

HEALTH_FIELDS = (
    *("fit", "reasons", "paused", "run", "mode", "source", "version"),
    *("market_time", "market_time_ms", "wall_time", "wall_time_ms", "database", "redis", "journal", "circuits", "loop"),
    "leadership",
    *("feed", "account"),
)
HEALTH_AGENT_FIELDS = ("id", "role", "state", "last_beat_age_s", "restarts")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_routes(app: web.Application, source: StatusSource) -> None:
    present = Present(source)
    past = Past(source)
    app.router.add_get("/health", present.health)
    app.router.add_get("/metrics", present.metrics)
    app.router.add_get("/api/status", present.status)
    app.router.add_get("/api/agents", present.agents)
    app.router.add_get("/api/markets", present.markets)
    app.router.add_get("/api/trades", past.trades)
    app.router.add_get("/api/windows", past.windows)
    app.router.add_get("/api/events", past.events)
    app.router.add_get("/api/metrics", past.metrics)
    for file in sorted(PAGE.iterdir()):
        if file.suffix in CONTENT_TYPES:
            app.router.add_get("/" if file.name == "index.html" else f"/{file.name}", _file(file))


class Present:
    """Answered from memory, whatever the stores do."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source
        self._registry = metrics_registry(source)

    async def health(self, request: web.Request) -> web.Response:
        """200 while the floor is fit to trade, else 503, with the same JSON either way."""
        _refuse_parameters(request)
        status = self._source.status()
        return json_answer(_health(status), 200 if status.fit else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        # Scrapers may send parameters of their own: they are left alone here.
        return web.Response(
            body=generate_latest(self._registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"},
        )

    async def status(self, request: web.Request) -> web.Response:
        _refuse_parameters(request)
        return json_answer(to_plain(self._source.status()))

    async def agents(self, request: web.Request) -> web.Response:
        _refuse_parameters(request)
        return json_answer({"agents": _plain_lines(self._source.status().agents)})

    async def markets(self, request: web.Request) -> web.Response:
        _refuse_parameters(request)
        return json_answer({"markets": _plain_lines(self._source.status().markets)})


class Past:
    """Answered from the database: 503 with the reason while it is away."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    async def trades(self, request: web.Request) -> web.Response:
        _refuse_parameters(request, "limit")
        return await _answer_lines("trades", self._source.trades(_limit(request)))

    async def windows(self, request: web.Request) -> web.Response:
        _refuse_parameters(request, "limit")
        return await _answer_lines("windows", self._source.windows(_limit(request)))

    async def events(self, request: web.Request) -> web.Response:
        _refuse_parameters(request, "limit")
        return await _answer_lines("events", self._source.events(_limit(request)))

    async def metrics(self, request: web.Request) -> web.Response:
        """One agent's history with `agent=`, the floor's without."""
        _refuse_parameters(request, "limit", "agent")
        agent = AgentId(request.query["agent"]) if request.query.get("agent") else None
        return await _answer_lines("metrics", self._source.metrics_history(agent, _limit(request)))


# -- leaves -----------------------------------------------------------------------------------------------------------


def _health(status: FloorStatus) -> dict[str, Any]:
    """What a probe needs: who lives, how old what they know is, and where facts are kept."""
    whole = to_plain(status)
    return {name: whole[name] for name in HEALTH_FIELDS} | {
        "agents": [{name: agent[name] for name in HEALTH_AGENT_FIELDS} for agent in whole["agents"]],
        "books": [
            {
                "market": market["id"],
                "series": market["series"],
                "outcome": outcome,
                "state": market[outcome]["book_state"],
                "age_ms": market[outcome]["book_age_ms"],
            }
            for market in whole["markets"]
            for outcome in ("up", "down")
        ],
    }


async def _answer_lines(name: str, lines: Awaitable[Sequence[msgspec.Struct]]) -> web.Response:
    try:
        async with asyncio.timeout(STORE_SECONDS_MAX):
            return json_answer({name: _plain_lines(await lines)})
    except StoreUnavailable as error:
        return json_answer({"error": str(error)}, 503)
    except TimeoutError:
        text = f"the database did not answer within {STORE_SECONDS_MAX:.0f} s; the present is still at /api/status"
        return json_answer({"error": text}, 503)


def _plain_lines(lines: Sequence[msgspec.Struct]) -> list[dict[str, Any]]:
    return [to_plain(line) for line in lines]


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(LIMIT_DEFAULT))
    # The length is bounded first: int() of a very long text is slow.
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= LIMIT_MAX):
        remedy = f"try {request.path}?limit={LIMIT_DEFAULT}"
        raise web.HTTPBadRequest(text=f"limit={text[:40]!r} is not a whole number from 1 to {LIMIT_MAX}; {remedy}")
    return int(text)


def _refuse_parameters(request: web.Request, *known: str) -> None:
    """A misspelt parameter would otherwise be a different question answered in silence."""
    for name in request.query:
        if name not in known:
            takes = f"takes only {' and '.join(known)}" if known else "takes no parameters"
            raise web.HTTPBadRequest(text=f"unknown parameter {name[:40]!r}: {request.path} {takes}")
        if len(request.query.getall(name)) > 1:
            raise web.HTTPBadRequest(text=f"parameter {name!r} was given more than once; give it once")


def _file(path: Path) -> Handler:
    """A file of the page, read once: it is small, and must not change under a running floor."""
    body = path.read_bytes()
    content_type = CONTENT_TYPES[path.suffix]

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(
            body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "no-cache"}
        )

    return answer
