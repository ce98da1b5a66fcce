"""The status pushed to every open page about once a second, as server-sent events.

One page more costs one write a second: the status is encoded once for all who look within the same half interval.
A page that does not read is dropped, since the next message will be newer than anything that waits for it.
"""

import asyncio

from aiohttp import web

from polybot.floor.status import StatusSource
from polybot.web.guard import json_answer
from polybot.web.json_form import to_json, to_plain

CLIENTS_MAX = 32
INTERVAL_SECONDS = 1.0
WRITE_SECONDS_MAX = 5.0
RETRY_MS = 2000
"""What the browser waits before it asks again."""


class StatusStream:
    """All open pages. `close` ends every stream; afterwards new ones end at once."""

    def __init__(
        self,
        source: StatusSource,
        *,
        clients_max: int = CLIENTS_MAX,
        interval_seconds: float = INTERVAL_SECONDS,
        write_seconds_max: float = WRITE_SECONDS_MAX,
    ) -> None:
        self._source = source
        self._clients_max = clients_max
        self._interval_seconds = interval_seconds
        self._write_seconds_max = write_seconds_max
        self._closing = asyncio.Event()
        self._frame = b""
        self._frame_until = 0.0
        self.clients = 0

    async def close(self, _app: web.Application | None = None) -> None:
        self._closing.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Handler of /api/stream; 503 when as many look as may."""
        if self.clients >= self._clients_max:
            return json_answer({"error": f"{self.clients} pages are open, the most there may be; close one"}, 503)
        self.clients += 1
        try:
            return await self._push(request)
        finally:
            self.clients -= 1

    async def _push(self, request: web.Request) -> web.StreamResponse:
        # no-transform and X-Accel-Buffering keep a proxy from holding messages back.
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store, no-transform",
                "X-Accel-Buffering": "no",
            }
        )
        try:
            await response.prepare(request)
            await self._write(response, f"retry: {RETRY_MS}\n\n".encode())
            while not self._closing.is_set():
                await self._write(response, self._newest())
                await self._pause()
        except ConnectionResetError:
            pass  # the page was closed: nobody is left to tell
        except TimeoutError:
            _hang_up(request)
        return response

    async def _write(self, response: web.StreamResponse, frame: bytes) -> None:
        async with asyncio.timeout(self._write_seconds_max):
            await response.write(frame)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._closing.wait()
        except TimeoutError:
            pass  # the usual case: not closing, time for the next message

    def _newest(self) -> bytes:
        """The message of this moment, made anew when the last is older than half an interval."""
        now = asyncio.get_running_loop().time()
        if now >= self._frame_until:
            self._frame = b"data: " + to_json(to_plain(self._source.status())) + b"\n\n"
            self._frame_until = now + self._interval_seconds / 2
        return self._frame


def _hang_up(request: web.Request) -> None:
    """Drop the connection with what waits in it; a polite end would wait for the reader that does not read."""
    if request.transport is not None:
        request.transport.abort()
