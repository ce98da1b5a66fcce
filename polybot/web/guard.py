"""What holds for every answer: which host names are answered, which headers go out, and trouble told as JSON."""

import ipaddress
from collections.abc import Collection

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from polybot.web.json_form import to_json

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS = {
    # The page loads nothing from elsewhere, and nobody may frame it.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
REMEDIES = {
    404: "there is no {path}; there are /, /health, /metrics, /api/status, /api/agents, /api/markets, /api/trades, "
    "/api/windows, /api/events, /api/metrics and /api/stream",
    405: "{method} is not answered here: to look at the floor use GET; POST goes to /api/stop, /api/pause and "
    "/api/resume",
}


def json_answer(plain: object, status: int = 200) -> web.Response:
    """A JSON answer that nobody may keep: it is about this moment."""
    return web.Response(
        body=to_json(plain),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`, which streams pass too, unlike the way back through a middleware."""
    response.headers.update(HEADERS)


@web.middleware
async def trouble_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals as JSON that says what to do instead; the status code and its own headers stay."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        remedy = REMEDIES.get(error.status)
        text = remedy.format(path=request.path, method=request.method) if remedy else error.text or error.reason
        answer = json_answer({"error": text}, error.status)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer


def refuse_strange_hosts(extra_hosts: Collection[str]) -> Middleware:
    """Answer on a loopback address only those who asked for it by its own name, or by one of `extra_hosts`.

    Else a web page from anywhere could have its name resolve to 127.0.0.1 and read the floor through the visitor's
    browser (DNS rebinding). The address the connection came in by decides, not the one we were told to listen on:
    0.0.0.0 takes in loopback. Where `extra_hosts` are named, every connection is held to them.
    """
    names = LOOPBACK_NAMES | {name.lower() for name in extra_hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked_for = _without_port(request.headers.get("Host", ""))
        if asked_for not in names and (extra_hosts or _came_by_loopback(request)):
            remedy = "use localhost, or add the name to POLYBOT_WEB_HOSTS"
            raise web.HTTPForbidden(text=f"this floor does not answer to the name {asked_for!r}; {remedy}")
        return await handler(request)

    return check


def _without_port(host: str) -> str:
    name, separator, port = host.lower().rpartition(":")
    return name if separator and port.isdecimal() else host.lower()


def _came_by_loopback(request: web.Request) -> bool:
    """True too where the address can't be told: the strict answer is the safe one."""
    address = request.transport.get_extra_info("sockname") if request.transport else None
    if not address:
        return True
    local = ipaddress.ip_address(str(address[0]).partition("%")[0])
    mapped = getattr(local, "ipv4_mapped", None)
    return (mapped or local).is_loopback
