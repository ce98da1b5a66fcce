"""The bus's real line: everything that is pending in one round trip to Redis."""

from collections.abc import Mapping

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from polybot.storage.bus import TICKS, BusAwayError, Payload

ANSWER_SECONDS_MAX = 2.0
EXPIRY_SECONDS = 60
"""A state nobody renews is gone after this: what a dead floor last said must not look alive."""


class RedisLine:
    """A Line to one Redis; it connects when first used."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS_MAX,
            socket_connect_timeout=ANSWER_SECONDS_MAX,
            max_connections=2,
            retry=Retry(NoBackoff(), 0),  # the waits are the bus's: a retry inside would hide an outage
        )

    async def send(self, values: Mapping[str, Payload]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, payload in values.items():
                    _queue(pipeline, key, payload)
                if not values:
                    pipeline.ping()
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise BusAwayError(f"{str(error) or 'no answer in time'} ({type(error).__name__})") from error

    async def close(self) -> None:
        await self._redis.aclose()


def _queue(pipeline: "redis.asyncio.client.Pipeline", key: str, payload: Payload) -> None:
    value = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    if key.startswith(TICKS):
        pipeline.publish(key, value)
    else:
        pipeline.set(key, value, ex=EXPIRY_SECONDS)
