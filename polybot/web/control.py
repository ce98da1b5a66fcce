"""Stopping, pausing and resuming the floor over HTTP: POST, with the token, and not from somebody else's web page.

The token goes in `Authorization: Bearer <token>`, which no browser adds by itself; a request that a page made carries
its `Origin`, and one of another origin is refused whatever it knows.
"""

import hmac
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from loguru import logger

from polybot.floor.status import Switch, SwitchReport
from polybot.web.guard import json_answer

T = TypeVar("T", bound=msgspec.Struct)
BODY_BYTES_MAX = 1024
NO_TOKEN = (
    "no control token is set, so the floor cannot be stopped from here: set POLYBOT_CONTROL_TOKEN_FILE and start it "
    "again, or type `polybot stop` on its machine"
)
WRONG_TOKEN = "the token is missing or wrong: send `Authorization: Bearer <token>`"
STRANGE_ORIGIN = "a request from a page of another origin is not obeyed"


class StopWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /api/stop; none stands for the defaults. `by` is for the record."""

    cancel_all: bool = False
    by: str = ""


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /api/pause and /api/resume."""

    by: str = ""


class Control:
    """The routes that change something. `token` None: they all refuse, and say what to set."""

    def __init__(self, switch: Switch, token: str | None) -> None:
        self._switch, self._token = switch, token

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/stop", self.stop)
        app.router.add_post("/api/pause", self.pause)
        app.router.add_post("/api/resume", self.resume)

    async def stop(self, request: web.Request) -> web.Response:
        self._require_leave(request)
        wish = await _body(request, StopWish)
        return _answer(await self._switch.stop(cancel_all=wish.cancel_all, by=_who(request, wish.by)))

    async def pause(self, request: web.Request) -> web.Response:
        self._require_leave(request)
        wish = await _body(request, Wish)
        return _answer(await self._switch.pause(by=_who(request, wish.by)))

    async def resume(self, request: web.Request) -> web.Response:
        self._require_leave(request)
        wish = await _body(request, Wish)
        return _answer(await self._switch.resume(by=_who(request, wish.by)))

    def _require_leave(self, request: web.Request) -> None:
        """Raises HTTPForbidden, HTTPUnauthorized. The comparison takes as long for any wrong token of one length."""
        if not _is_own_origin(request):
            raise web.HTTPForbidden(text=STRANGE_ORIGIN)
        if self._token is None:
            raise web.HTTPForbidden(text=NO_TOKEN)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        told = given.strip().encode(errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(told, self._token.encode()):
            logger.bind(action="control").warning(
                "{} from {} was refused: a wrong token or none", request.path, request.remote
            )
            raise web.HTTPUnauthorized(text=WRONG_TOKEN)


def _is_own_origin(request: web.Request) -> bool:
    """True without an Origin: then it is no page that asks. Host was checked before (guard.py)."""
    origins = request.headers.getall("Origin", [])
    if not origins:
        return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
    try:
        return len(origins) == 1 and urlsplit(origins[0]).netloc.lower() == request.host.lower()
    except ValueError:
        return False


async def _body(request: web.Request, shape: type[T]) -> T:
    """Raises HTTPBadRequest. A stop whose words are not understood is refused loudly rather than done by halves."""
    content = await request.read()
    if not content.strip():
        return shape()
    try:
        if len(content) > BODY_BYTES_MAX:
            raise msgspec.ValidationError("it is too long")
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        fields = ", ".join(shape.__struct_fields__)
        raise web.HTTPBadRequest(text=f"the body is not understood ({error}): a JSON object of {fields}") from error


def _who(request: web.Request, by: str) -> str:
    name = "".join(letter for letter in by if letter.isprintable())[:80]
    return f"{name} over HTTP from {request.remote}" if name else f"a request over HTTP from {request.remote}"


def _answer(report: SwitchReport) -> web.Response:
    """200 where everything was done, 502 where something could not be: the floor is stopped in any case."""
    plain = {"done": report.done, "trouble": report.trouble}
    return json_answer(plain, 502 if report.trouble else 200)
