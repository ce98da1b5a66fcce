"""Shows the floor to the outside through Redis: ticks over pub/sub, last states as keys (design.md D16). One way only.

The floor lives without it: `offer` never waits and never fails. What is offered between two flushes is conflated, the
newest per key; while Redis is away ticks are dropped and counted, states wait for it, the newest of each.
"""

import asyncio
import random
from typing import Any

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from polybot.clock import Clock
from polybot.domain.units import Millis
from polybot.storage.waits import retry_seconds

TICKS = "ticks:"
CIRCUIT = "circuit:"
KEYS_MAX = 1_000
FLUSH_SECONDS = 0.2
IDLE_SECONDS = 5.0
"""With nothing to send, Redis is still asked this often, so that /health learns of an outage."""
REFRESH_SECONDS = 20.0
"""Breakers change seldom: they are written again this often, well within their expiry, and after every outage."""
EXPIRY_SECONDS = 60
"""A state nobody renews is gone after this: what a dead floor last said must not look alive."""
ANSWER_SECONDS_MAX = 2.0
CLOSE_SECONDS_MAX = 1.0

Payload = bytes | dict[str, Any]


class BusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """For /health: `away_since` (UTC milliseconds) and `error` while Redis is away; `connected` once it answered.

    Counted since the start: values `sent`, those replaced by a newer one before they went out, and those lost.
    """

    connected: bool
    away_since: Millis | None
    error: str | None
    sent: int
    conflated: int
    dropped: int


class Bus:
    """Offer from anywhere on the event loop; run `run()` as a task, end it by cancelling it, then `close()`."""

    def __init__(self, url: str, clock: Clock, chance: random.Random, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        """`clock` tells wall time for the status and spans for the waits, `chance` spreads the waits between tries."""
        self._clock, self._chance, self._flush_seconds = clock, chance, flush_seconds
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=ANSWER_SECONDS_MAX,
            socket_connect_timeout=ANSWER_SECONDS_MAX,
            max_connections=2,
            retry=Retry(NoBackoff(), 0),  # the waits are ours: a retry inside would hide an outage
        )
        self._pending: dict[str, Payload] = {}
        self._circuits: dict[str, Payload] = {}
        self._connected = False
        self._away_since: Millis | None = None
        self._error: str | None = None
        self._failures = 0
        self._sent = self._conflated = self._dropped = 0
        self._spoke_at = self._refreshed_at = float("-inf")

    def status(self) -> BusStatus:
        return BusStatus(
            connected=self._connected,
            away_since=self._away_since,
            error=self._error,
            sent=self._sent,
            conflated=self._conflated,
            dropped=self._dropped,
        )

    def offer(self, key: str, payload: Payload) -> None:
        """Show `payload` under `key` at the next flush, instead of an older one that has not gone out yet.

        `ticks:...` is published to the channel of that name, anything else set under the key, with an expiry. A dict
        becomes JSON at the flush: do not change it afterwards. Beyond KEYS_MAX different keys, new ones are dropped.
        """
        if key in self._pending:
            self._conflated += 1
        elif len(self._pending) >= KEYS_MAX:
            self._dropped += 1
            return
        self._pending[key] = payload
        if key.startswith(CIRCUIT):
            self._circuits[key] = payload

    async def run(self) -> None:
        """Flush at a fixed pace for ever; while Redis is away, try again after growing, jittered waits."""
        while True:
            if await self._tried_flush():
                await asyncio.sleep(self._flush_seconds)
            else:
                self._drop_ticks()
                await asyncio.sleep(retry_seconds(self._failures, self._chance))
                self._drop_ticks()

    async def close(self) -> None:
        """Send what is left, once and briefly, and hang up."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                if self._pending and self._away_since is None:
                    await self._tried_flush()
        except TimeoutError:
            pass  # Redis hangs; whoever looks at it sees the keys expire
        await self._redis.aclose()

    async def _tried_flush(self) -> bool:
        try:
            await self._flush()
        except (RedisError, OSError, TimeoutError) as error:
            self._failures += 1
            self._connected = False
            self._away_since = self._away_since or self._clock.now_ms()
            self._error = f"{str(error) or 'no answer in time'} ({type(error).__name__})"
            self._refreshed_at = float("-inf")
            return False
        self._connected, self._away_since, self._error, self._failures = True, None, None, 0
        return True

    async def _flush(self) -> None:
        """One round trip with everything that is pending; it stays pending unless Redis took it."""
        now = self._clock.monotonic()
        refresh = now - self._refreshed_at >= REFRESH_SECONDS
        going = (self._circuits if refresh else {}) | self._pending
        if not going and now - self._spoke_at < IDLE_SECONDS:
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, payload in going.items():
                _queue(pipeline, key, payload)
            if not going:
                pipeline.ping()
            await pipeline.execute()
        self._spoke_at = now
        self._refreshed_at = now if refresh else self._refreshed_at
        self._sent += len(going)
        for key, payload in going.items():
            if self._pending.get(key) is payload:  # a newer one may have been offered while we waited
                del self._pending[key]

    def _drop_ticks(self) -> None:
        """Old ticks are of no use to anyone; states wait, the newest of each."""
        ticks = [key for key in self._pending if key.startswith(TICKS)]
        for key in ticks:
            del self._pending[key]
        self._dropped += len(ticks)


def _queue(pipeline: "redis.asyncio.client.Pipeline", key: str, payload: Payload) -> None:
    value = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    if key.startswith(TICKS):
        pipeline.publish(key, value)
    else:
        pipeline.set(key, value, ex=EXPIRY_SECONDS)
