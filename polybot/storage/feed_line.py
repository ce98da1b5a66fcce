"""The line between a feed and its floors, in Redis (floor/feed_out.py, floor/feed_in.py say what goes over it).

    feed:events   stream, the newest messages: a floor whose line breaks for a moment reads on where it was
    feed:asked    stream of what floors ask
    feed:catalog  the windows the feed knows
    feed:speaker  which feed speaks; gone three seconds after it last said so

Streams and not channels: a channel forgets what is said while nobody listens. Their length is bounded; who falls
further behind than that misses some, and sees it by the numbers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from polybot.domain.units import Millis

EVENTS, ASKED, CATALOG, SPEAKER = "feed:events", "feed:asked", "feed:catalog", "feed:speaker"
MESSAGES_MAX = 20_000
ASKED_MAX = 1_000
READ_MAX = 500
WAIT_MS = 1_000
ANSWER_S_MAX = 3.0
SPEAKER_MS = 3_000
CATALOG_S = 86_400
CLAIM = """
local speaker = redis.call('GET', KEYS[1])
if speaker and speaker ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class FeedLine:
    """Either end. Every method raises ConnectionError where Redis does not answer or refuses."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=ANSWER_S_MAX,
            socket_connect_timeout=ANSWER_S_MAX,
            max_connections=4,
            retry=Retry(NoBackoff(), 0),  # the waits are the caller's
        )
        self._heard: bytes | None = None
        self._answered: bytes | None = None
        self._claim = self._redis.register_script(CLAIM)

    # -- the feed's end -----------------------------------------------------------------------------------------------

    async def claim(self, epoch: Millis) -> bool:
        async with _answering():
            return bool(await self._claim(keys=[SPEAKER], args=[epoch, SPEAKER_MS]))

    async def say(self, messages: list[bytes]) -> None:
        async with _answering(), self._redis.pipeline(transaction=False) as pipeline:
            for message in messages:
                pipeline.xadd(EVENTS, {b"m": message}, maxlen=MESSAGES_MAX, approximate=True)
            await pipeline.execute()

    async def keep_catalog(self, page: bytes) -> None:
        async with _answering():
            await self._redis.set(CATALOG, page, ex=CATALOG_S)

    async def asked(self) -> list[bytes]:
        if self._answered is None:
            self._answered = await self._end_of(ASKED)
        self._answered, messages = await self._read(ASKED, self._answered)
        return messages

    # -- a floor's end ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._heard = await self._end_of(EVENTS)

    async def hear(self) -> list[bytes]:
        if self._heard is None:
            await self.open()
        assert self._heard is not None
        self._heard, messages = await self._read(EVENTS, self._heard)
        return messages

    async def ask(self, message: bytes) -> None:
        async with _answering():
            await self._redis.xadd(ASKED, {b"m": message}, maxlen=ASKED_MAX, approximate=True)

    async def catalog(self) -> bytes | None:
        async with _answering():
            page: Any = await self._redis.get(CATALOG)
            return None if page is None else bytes(page)

    async def close(self) -> None:
        await self._redis.aclose()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _end_of(self, stream: str) -> bytes:
        """The last message's id; `$` itself would forget what is said between two reads."""
        async with _answering():
            newest: Any = await self._redis.xrevrange(stream, count=1)
            return newest[0][0] if newest else b"0-0"

    async def _read(self, stream: str, after: bytes) -> tuple[bytes, list[bytes]]:
        async with _answering():
            answer: Any = await self._redis.xread({stream: after}, count=READ_MAX, block=WAIT_MS)
        if not answer:
            return after, []
        entries = answer[0][1]
        return entries[-1][0], [fields[b"m"] for _, fields in entries]


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """What Redis and its client raise, as the one error the floor knows; and a cancellation that the client swallows.

    redis-py 8.1 does so while it connects: whoever cancels would wait for ever.
    """
    task = asyncio.current_task()
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise ConnectionError(f"{str(error) or 'no answer in time'} ({type(error).__name__})") from error
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
