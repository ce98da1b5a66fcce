"""A request's query as a plain value: each name with all that was given for it, in order."""

from aiohttp import web

from polybot.exchange.edge import Refusal

DIGITS_MAX = 12
Query = dict[str, list[str]]


def query_of(request: web.Request) -> Query:
    return {name: request.query.getall(name) for name in request.query}


def one(query: Query, name: str, default: str = "") -> str:
    """The first of a name's values."""
    return query.get(name, [default])[0]


def many(query: Query, *names: str) -> list[str]:
    """All values of the names, whether given often or as one list with commas."""
    return [value for name in names for text in query.get(name, []) for value in text.split(",") if value]


def whole(query: Query, name: str, default: int, status: int) -> int:
    """A number that is not negative; anything else is refused with `status`."""
    text = one(query, name, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > DIGITS_MAX:
        raise Refusal(status, f"{name} is not a number", type="validation error")
    return int(text)
