"""The venue's public HTTP interfaces: bounded in time, size and number at once, with outages named (design.md D13)."""

import asyncio
from collections.abc import Callable, Sequence

import aiohttp

from polybot.venue.base import VenueBusy, VenueUnavailable

BUSY_STATUS = frozenset((425, 429, 503))
BODY_MAX = 16 << 20
"""Bytes of one answer; 100 events of a series are a megabyte or two."""
AT_ONCE = 8
Query = Sequence[tuple[str, str]]


class Rest:
    """One host. `within_s` is how long one request may take, waiting for its turn not included; `tap` is told of every
    answer, verbatim."""

    def __init__(self, base: str, *, within_s: float = 5.0, tap: Callable[[bytes], None] | None = None) -> None:
        self._base, self._within_s, self._tap = base.rstrip("/"), within_s, tap
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, path: str, query: Query = ()) -> bytes | None:
        """The body; None for 404. Raises VenueUnavailable, VenueBusy."""
        return await self._ask("GET", path, query, None)

    async def post(self, path: str, body: bytes) -> bytes | None:
        """A question that is asked by POST and changes nothing. As `get`."""
        return await self._ask("POST", path, (), body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, path: str, query: Query, body: bytes | None) -> bytes | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._within_s))
        headers = {"Content-Type": "application/json"} if body is not None else None
        async with self._turns:
            try:
                async with self._session.request(
                    method, self._base + path, params=list(query), data=body, headers=headers
                ) as answer:
                    found = await _body(answer, path)
                if found is not None and self._tap is not None:
                    self._tap(found)
                return found
            except TimeoutError as error:
                raise VenueUnavailable(f"{path}: no answer within {self._within_s:g} s") from error
            except (aiohttp.ClientError, OSError) as error:
                raise VenueUnavailable(f"{path}: {error}") from error


async def _body(answer: aiohttp.ClientResponse, path: str) -> bytes | None:
    if answer.status == 404:
        return None
    if answer.status in BUSY_STATUS:
        raise VenueBusy(f"{path} was refused with {answer.status}")
    if answer.status != 200:
        raise VenueUnavailable(f"{path} was answered with {answer.status}")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > BODY_MAX:
            raise VenueUnavailable(f"{path}: the answer is longer than {BODY_MAX} bytes")
    return bytes(body)
