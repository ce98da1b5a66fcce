"""Redis shows what the floor does, and the floor does not notice when it is away."""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import SystemClock
from polybot.storage import bus as bus_module
from polybot.storage.bus import Bus
from polybot.storage.embedded import embedded_servers
from polybot.storage.redis_line import EXPIRY_SECONDS, RedisLine

HASTY = CircuitPlan(failures_max=2, open_ms_first=10, open_ms_max=20)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """What an observer uses."""
    opened = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    await forget_everything(opened)
    yield opened
    await opened.aclose()


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    """A bus that is not running yet."""
    made = bus_at(redis_url)
    yield made
    await made.close()


def bus_at(url: str) -> Bus:
    clock, chance = SystemClock(), random.Random(1)
    circuit = Circuit("redis", HASTY, chance, clock.now_ms())
    return Bus(RedisLine(url), clock, circuit, chance, flush_seconds=0.01)


@contextlib.asynccontextmanager
async def at_work(bus: Bus) -> AsyncIterator[None]:
    task = asyncio.create_task(bus.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], seconds_max: float = 10.0) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 what is waited for is a plain value of another's
            await asyncio.sleep(0.005)


async def test_states_are_keys_with_an_expiry_and_dicts_are_json(bus: Bus, client: redis.asyncio.Redis) -> None:
    bus.offer("market:BTC-15m", {"bid": "0.50", "ask": "0.51"})
    bus.offer("circuit:polymarket:state", b"closed")
    async with at_work(bus):
        await until(lambda: bus.status().sent == 2)
    assert await client.get("market:BTC-15m") == '{"bid":"0.50","ask":"0.51"}'
    assert await client.get("circuit:polymarket:state") == "closed"
    assert 0 < await client.ttl("market:BTC-15m") <= EXPIRY_SECONDS
    assert bus.status().connected


async def test_ticks_are_published_and_only_the_newest_of_a_flush_goes_out(
    bus: Bus, client: redis.asyncio.Redis
) -> None:
    async with client.pubsub() as listener:
        await listener.subscribe("ticks:BTC-15m")
        await listener.get_message(timeout=5.0)
        for number in range(500):
            bus.offer("ticks:BTC-15m", b"%d" % number)
        async with at_work(bus):
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=5.0)
            await until(lambda: bus.status().sent == 1)
    assert message is not None
    assert message["data"] == "499"
    assert (bus.status().conflated, bus.status().dropped) == (499, 0)


async def test_beyond_the_bound_new_keys_are_dropped_and_counted(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "KEYS_MAX", 10)
    for number in range(25):
        bus.offer(f"market:{number}", b"x")
    bus.offer("market:3", b"y")
    assert (bus.status().dropped, bus.status().conflated) == (15, 1)


async def test_what_is_offered_last_is_sent_on_closing(redis_url: str, client: redis.asyncio.Redis) -> None:
    bus = bus_at(redis_url)
    bus.offer("circuit:polymarket:state", b"open")
    await bus.close()
    assert await client.get("circuit:polymarket:state") == "open"


async def test_with_redis_away_from_the_start_offers_cost_nothing_and_closing_is_quick() -> None:
    bus = bus_at("redis://127.0.0.1:1")
    async with at_work(bus):
        bus.offer("ticks:BTC-15m", b"1")
        await until(lambda: bus.status().error is not None)
        await until(lambda: bus.status().dropped == 1)
        assert not bus.status().connected
        assert bus.status().away_since is not None
    async with asyncio.timeout(2):
        await bus.close()


async def test_a_breakers_state_is_written_again_in_time(
    bus: Bus, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "REFRESH_SECONDS", 0.05)
    bus.offer("circuit:polymarket:state", b"closed")
    async with at_work(bus):
        await until(lambda: bus.status().sent >= 1)
        await client.delete("circuit:polymarket:state")
        sent = bus.status().sent
        await until(lambda: bus.status().sent > sent)
    assert await client.get("circuit:polymarket:state") == "closed"


async def test_a_breakers_state_that_has_not_changed_takes_no_room_until_it_is_due_again(bus: Bus) -> None:
    bus.offer("circuit:polymarket:state", b"closed")
    async with at_work(bus):
        await until(lambda: bus.status().sent == 1)
        bus.offer("circuit:polymarket:state", b"closed")
        bus.offer("market:BTC-15m", b"1")
        await until(lambda: bus.status().sent >= 2)
        assert bus.status().sent == 2
        bus.offer("circuit:polymarket:state", b"open")
        await until(lambda: bus.status().sent == 3)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For a Valkey of the test's own, to be stopped and started."""
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as parent:
        Path(parent).chmod(0o755)
        yield Path(parent) / "data"


async def test_a_redis_that_dies_and_comes_back_empty_gets_the_newest_states_again(folder: Path) -> None:
    async with embedded_servers(folder, postgres=False) as servers:
        url = servers.redis_url or ""
    bus = bus_at(url)
    bus.offer("circuit:polymarket:state", b"closed")
    async with at_work(bus):
        async with embedded_servers(folder, postgres=False):
            await until(lambda: bus.status().connected)
            async with redis.asyncio.Redis.from_url(url) as client:
                await forget_everything(client)
        bus.offer("market:BTC-15m", b"old")
        bus.offer("ticks:BTC-15m", b"1")
        await until(lambda: bus.status().error is not None and bus.status().dropped == 1)
        bus.offer("market:BTC-15m", b"new")
        async with embedded_servers(folder, postgres=False):  # on the port of the last time
            await until(lambda: bus.status().error is None)
            async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
                assert await client.get("market:BTC-15m") == "new"
                assert await client.get("circuit:polymarket:state") == "closed"
            await bus.close()


async def forget_everything(client: redis.asyncio.Redis) -> None:
    """The embedded server does not allow FLUSHALL."""
    async for key in client.scan_iter():
        await client.delete(key)
