"""The real service on its own servers, which are killed under it: it trades on, says so, and nothing is missing."""

import json
import os
import signal
import time
from pathlib import Path

import asyncpg
import pytest

from polybot.runs import journal_path
from polybot.storage.embedded import embedded_servers
from polybot.storage.embedded_process import running_on
from polybot.storage.journal_file import read_rows
from tests.e2e.service import Service

pytestmark = pytest.mark.slow


def kill_9(folder: Path, kind: str, program: str) -> None:
    """The server's first process: Postgres's others go down with it."""
    pids = running_on((folder / "servers").resolve() / kind, frozenset({program}))
    assert pids, f"no {program} runs"
    os.kill(min(pids), signal.SIGKILL)


def events(service: Service) -> list[str]:
    code, body = service.get("/api/events?limit=100")
    return [event["text"] for event in json.loads(body)["events"]] if code == 200 else []


def wait_for_event(service: Service, *words: str, seconds: float = 30.0) -> list[str]:
    """Until rows of system_events say all that."""
    said: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = events(service)
        if all(any(word in text for text in said) for word in words):
            return said
        assert service.process.poll() is None, service.log[-3000:]
        time.sleep(0.1)
    raise AssertionError(f"{words} not all in {said}")


async def test_killed_servers_come_back_under_a_floor_that_trades_on_and_the_database_is_the_journal(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    service = Service(folder, speed=600)
    try:
        service.wait_for("fill")
        kill_9(folder, "postgres", "postgres")
        kill_9(folder, "valkey", "valkey-server")
        code, body = service.get("/health")
        assert (code, json.loads(body)["fit"]) == (200, True), "a floor without its stores is fit to trade"
        wait_for_event(
            service,
            "our own PostgreSQL was killed by SIGKILL; it is started again",
            "our own PostgreSQL runs again after",
            "our own Valkey runs again after",
            "database is away since",
            "facts were caught up, it has them all",
        )
        settled = len([line for line in service.lines if line["action"] == "settled"])
        service.wait_for("settled", settled + 1)
        code, body = service.get("/health")
        assert {c["name"]: c["state"] for c in json.loads(body)["circuits"]} == {
            "database": "closed",
            "redis": "closed",
            "polymarket": "closed",
        }
    finally:
        service.interrupt()
    assert service.process.returncode == 0
    written = [(r.seq, r.position, r.payload.decode(), r.prev_hash, r.hash) for r in read_rows(journal_path(folder))]
    async with embedded_servers(folder / "servers", valkey=False) as servers:
        connection = await asyncpg.connect(str(servers.database_url))
        stored = await connection.fetch("SELECT seq, position, payload::text, prev_hash, hash FROM facts ORDER BY seq")
        await connection.close()
    assert [tuple(row) for row in stored] == written
