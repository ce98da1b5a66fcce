"""The kill switch on the real service, by file, command and HTTP, through a kill; and no secret in any output."""

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from polybot.cli import application
from polybot.domain.events import AnyFact, IntentRecorded, TradingPaused, TradingResumed
from polybot.live_settings import SECRETS
from polybot.runs import journal_path
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal import Journal
from tests.cli.test_verbs import polybot
from tests.e2e.service import Service

pytestmark = pytest.mark.slow
MARK = "a1b2c3d4e5f6"
"""In every secret, and nowhere else."""
TOKEN = f"token-{MARK}-control"
MARKED = {f"POLYBOT_{name.upper()}": f"{name}-{MARK}" for name in SECRETS} | {
    "POLYBOT_PRIVATE_KEY": "0x" + MARK.rjust(64, "7"),
    "POLYBOT_CONTROL_TOKEN": TOKEN,
    "POLYBOT_RPC_URL": f"https://node.example/{MARK}",
    "POLYBOT_RELAYER_ADDRESS": "0x" + "12" * 20,
}


@dataclass
class Story:
    """What came out of one life of the floor, told by everything that speaks."""

    folder: Path
    facts: list[AnyFact] = field(default_factory=list)
    stopped_at_start: bool = False
    answers: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Stopped by hand before the first start; resumed; stopped over HTTP; killed; started; resumed by a command."""
    folder = tmp_path_factory.mktemp("switch") / "data"
    folder.mkdir()
    told = Story(folder)
    (folder / "STOP").touch()
    service = Service(folder, speed=300, **MARKED)
    try:
        until(service, lambda: position(service) > 1_000)
        told.stopped_at_start = "kill_switch" in paused(service)
        told.answers["resume"] = post(service, "resume", TOKEN)
        service.wait_for("order")
        told.answers["wrong token"] = post(service, "stop", "wrong")
        told.answers["pause"] = post(service, "pause", TOKEN)
        told.answers["resume over HTTP"] = post(service, "resume", TOKEN)
        told.answers["stop"] = post(service, "stop", TOKEN, {"cancel_all": True, "by": "ann"})
        for path in ("/", "/health", "/metrics", "/api/status", "/api/events", "/api/trades", "/page.js"):
            told.outputs[path] = service.get(path)[1]
        service.kill()
        told.outputs["log"] = service.log
        service = Service(folder, speed=300, **MARKED)
        reached = position(service)
        until(service, lambda: position(service) > reached + 1_000)
        told.answers["stop by command"] = command("stop", folder, "--cancel-all")
        told.answers["resume by command"] = command("resume", folder)
        until(service, lambda: paused(service) == set())
        told.outputs["printed"] = service.interrupt()
    finally:
        if service.process.poll() is None:
            service.kill()
    told.outputs["log"] += service.log
    with Journal.open(journal_path(folder)) as journal:
        told.facts = [entry.fact for entry in journal.read()]
    told.outputs["database"] = asyncio.run(dump(folder))
    return told


def position(service: Service) -> int:
    return int(json.loads(service.get("/api/status")[1])["position"])


def paused(service: Service) -> set[str]:
    return {pause["breaker"] for pause in json.loads(service.get("/api/status")[1])["paused"]}


def until(service: Service, true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, service.log[-3000:]
        assert service.process.poll() is None, service.log[-3000:]
        time.sleep(0.05)


def command(verb: str, folder: Path, *words: str) -> str:
    """In this process: a command of its own is tried in tests/test_doctor.py, with the floor dead."""
    done = CliRunner().invoke(application([verb]), [verb, *words], env={"POLYBOT_DATA_DIR": str(folder)})
    assert done.exit_code == 0, done.output
    return done.output


def post(service: Service, what: str, token: str, body: object | None = None) -> str:
    content = json.dumps(body).encode() if body is not None else b""
    request = urllib.request.Request(f"{service.url}/api/{what}", data=content, method="POST")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


async def dump(folder: Path) -> str:
    """Every row of every table, as text."""
    async with embedded_servers(folder / "servers", postgres=True, valkey=False) as servers:
        assert servers.database_url is not None
        connection = await asyncpg.connect(servers.database_url)
        try:
            names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = [await connection.fetch(f'SELECT t::text FROM "{name[0]}" AS t') for name in names]
            return "\n".join(str(row[0]) for rows in tables for row in rows)
        finally:
            await connection.close()


def test_a_file_made_by_hand_before_the_start_lets_no_order_out(story: Story) -> None:
    assert story.stopped_at_start
    first = next(fact for fact in story.facts if isinstance(fact, TradingPaused | IntentRecorded))
    assert isinstance(first, TradingPaused)
    assert (first.breaker, first.until) == ("kill_switch", None)


def test_every_way_of_stopping_and_resuming_says_what_it_did(story: Story) -> None:
    answers = story.answers
    assert "the floor trades again" in answers["resume"]
    assert answers["pause"].startswith("200")
    assert "trades again" in answers["resume over HTTP"]
    assert answers["stop"].startswith("200"), answers["stop"]
    assert "the floor is paused" in answers["stop"]
    assert re.search("orders were cancelled|no open orders", answers["stop"])
    assert "paused already" in answers["stop by command"]
    assert "the floor trades again" in answers["resume by command"]
    assert answers["wrong token"].startswith("401")


def test_while_it_is_stopped_not_one_order_is_decided_on_even_after_a_kill(story: Story) -> None:
    stopped, orders_then, orders = False, 0, 0
    for fact in story.facts:
        match fact:
            case TradingPaused(agent=None, breaker="kill_switch"):
                stopped = True
            case TradingResumed(agent=None, breaker="kill_switch"):
                stopped = False
            case IntentRecorded():
                orders += 1
                orders_then += stopped
            case _:
                pass
    assert orders > 0
    assert orders_then == 0
    assert not stopped


def test_who_it_was_is_in_the_record(story: Story) -> None:
    texts = [fact.text for fact in story.facts if isinstance(fact, TradingPaused)]
    assert any("a file made by hand" in text for text in texts)
    assert any("ann over HTTP" in text for text in texts)


def test_no_secret_is_in_any_output(story: Story) -> None:
    outputs = story.outputs | story.answers
    assert len(outputs["database"]) > 10_000
    assert "run_started" in outputs["log"]
    assert [name for name, text in outputs.items() if MARK in text.lower()] == []
    kept = [file for file in story.folder.rglob("*") if file.is_file() and "servers" not in file.parts]
    assert journal_path(story.folder) in kept
    assert [file for file in kept if MARK.encode() in file.read_bytes()] == []
    servers = [file for file in (story.folder / "servers").rglob("*") if file.is_file() and not file.is_socket()]
    assert [file for file in servers if MARK.encode() in file.read_bytes()] == []


def test_no_secret_is_in_the_traceback_of_a_crash() -> None:
    program = (
        "from polybot import log\n"
        f"log.hide(['0x{MARK}', '{TOKEN}'])\n"
        "log.set_up('json', 'INFO')\n"
        "from loguru import logger\n"
        f"logger.error('a library says {MARK.upper()}')\n"
        "try:\n"
        f"    raise ValueError('within {MARK}')\n"
        "except ValueError:\n"
        "    logger.exception('caught')\n"
        f"raise RuntimeError('bad key 0x{MARK} for {TOKEN}')\n"
    )
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: bad key 0x<secret> for <secret>" in done.stderr
    assert MARK not in done.stderr.lower()


def test_a_start_that_is_refused_shows_no_secret(tmp_path: Path) -> None:
    wrong = {"PRIVATE_KEY": MARK, "CONTROL_TOKEN": "a1b2", "RELAYER_ADDRESS": "not an address", "MODE": "live"}
    given = MARKED | {f"POLYBOT_{name}": value for name, value in wrong.items()}
    done = polybot("run", **given, POLYBOT_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    named = (*wrong, "SOURCE", "LIVE_ACKNOWLEDGEMENT")
    assert [name for name in named if f"POLYBOT_{name}" not in done.stderr] == ["MODE"]
    assert MARK not in (done.stdout + done.stderr).lower()
    assert not (tmp_path / "data").exists()
