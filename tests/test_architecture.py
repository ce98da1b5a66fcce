"""Every file under polybot/ keeps the house rules, and the rules bite: each is tried on samples."""

from functools import cache
from pathlib import Path

import pytest

from tests.architecture_rules import RULES, Source, too_long
from tests.architecture_tables import FILE_LINES_MAX, FUNCTION_LINES_MAX, LIBRARIES, LONGER_FOR_A_REASON, ROOMS

TREE = Path(__file__).resolve().parent.parent


@cache
def house() -> tuple[Source, ...]:
    files = sorted((TREE / "polybot").rglob("*.py"))
    return tuple(Source(file.relative_to(TREE).as_posix(), file.read_text(encoding="utf-8")) for file in files)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file(rule):
    broken = [f"{file.path}:{line}: {what}. Remedy: {remedy}." for file in house() for line, what, remedy in rule(file)]
    assert not broken, f"a file {rule.__name__.replace('_', ' ')}:\n" + "\n".join(dict.fromkeys(broken))


def test_every_file_has_a_room():
    homeless = [
        file.path
        for file in house()
        if file.room == "polybot" and Path(file.path).name not in ("__init__.py", "__main__.py")
    ]
    assert not homeless, (
        f"in no row of ROOMS: {homeless}. Remedy: put it in a room, or give it a row that says what it may import."
    )


def test_rooms_name_only_rooms():
    named = {name for room in ROOMS.values() for name in room.may_import} | {
        name for homes in LIBRARIES.values() for name in homes
    }
    assert named - {"*"} <= set(ROOMS)


def test_no_two_rooms_may_import_each_other():
    mutual = {(a, b) for a, room in ROOMS.items() for b in room.may_import if b != "*" and a in ROOMS[b].may_import}
    assert not mutual


def test_longer_files_have_a_reason_and_still_need_it():
    needed = {key for file in house() for key, *_ in too_long(file)}
    assert set(LONGER_FOR_A_REASON) <= needed, "an exception that is no longer needed: take it out"
    assert all(len(reason.split()) > 3 for reason in LONGER_FOR_A_REASON.values()), "say the reason in words"


def test_lock_files_pin_every_package_with_hashes_and_name_no_address():
    everything = _locked("requirements.lock")
    for name in ("requirements.lock", "requirements-run.lock", "requirements-image.lock"):
        text = (TREE / name).read_text(encoding="utf-8")
        assert "://" not in text, f"{name} names an address"
        assert "--index" not in text, f"{name} names an index"
        assert _locked(name).keys() <= everything.keys(), f"{name} disagrees with requirements.lock: run `make lock`"
        assert all(_locked(name).values()), f"{name} has a package without a hash"


def _locked(name: str) -> dict[str, int]:
    """Requirement -> number of its hashes."""
    found: dict[str, int] = {}
    for line in (TREE / name).read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            found[line.rstrip(" \\")] = 0
        elif "--hash=sha256:" in line:
            found[[*found][-1]] += 1
    return found


# Rule, file, what stands in it, and what the finding says.
BROKEN = [
    (
        "imports_only_its_neighbours",
        "strategies/x.py",
        "from polybot.storage.tape import Tape",
        "strategies imports polybot.storage",
    ),
    ("imports_only_its_neighbours", "strategies/x.py", "from polybot import desk", "may import domain"),
    ("imports_only_its_neighbours", "strategies/x.py", "from ..venue import base", "polybot.venue.base"),
    (
        "imports_only_its_neighbours",
        "domain/x.py",
        "def f():\n    import polybot.risk.gate",
        "domain imports polybot.risk.gate",
    ),
    (
        "imports_only_its_neighbours",
        "agents/x.py",
        "if TYPE_CHECKING:\n    from polybot.storage import journal",
        "agents imports",
    ),
    ("imports_only_its_neighbours", "backtest/x.py", "from polybot.venue.paper import PaperVenue", "(venue.paper)"),
    ("imports_only_its_neighbours", "storage/x.py", "from polybot.venue.base import Venue", "(venue.base)"),
    ("imports_only_its_neighbours", "venue/x.py", "import polybot.storage.journal", "(storage)"),
    ("imports_only_its_neighbours", "web/x.py", "from polybot.venue.polymarket import stream", "(venue.polymarket)"),
    ("imports_only_its_neighbours", "cli/x.py", "from polybot.agents.trader import Trader", "(agents)"),
    ("imports_only_its_neighbours", "domain/x.py", "from polybot.log import log", "(log)"),
    ("imports_libraries_in_their_rooms", "agents/x.py", "import aiohttp", "aiohttp lives in: web, venue.polymarket"),
    ("imports_libraries_in_their_rooms", "web/x.py", "from redis import asyncio", "redis lives in: storage"),
    ("imports_libraries_in_their_rooms", "venue/x.py", "import sqlite3", "sqlite3 lives in: storage"),
    ("imports_libraries_in_their_rooms", "desk/x.py", "from loguru import logger", "desk imports loguru"),
    ("imports_libraries_in_their_rooms", "domain/x.py", "import numpy as np", "domain imports numpy"),
    ("imports_libraries_in_their_rooms", "storage/x.py", "import requests", "not a library this house knows"),
    (
        "only_the_gate_approves",
        "desk/x.py",
        "from polybot.risk.gate import Approved\nApproved(intent=x)",
        "ask the gate",
    ),
    ("only_the_gate_approves", "app.py", "from polybot.risk import gate\ngate.Approved(intent=x)", "ask the gate"),
    ("pure_rooms_stay_pure", "desk/x.py", "import asyncio", "imports asyncio"),
    ("pure_rooms_stay_pure", "venue/matching.py", "from os import environ", "pure room simulator imports os"),
    ("pure_rooms_stay_pure", "venue/fill_models.py", "import time", "imports time"),
    ("pure_rooms_stay_pure", "risk/x.py", "async def f(): ...", "asynchronous"),
    ("calls_nothing_banned", "storage/x.py", "import time\nx = time.time()", "asks what time it is"),
    ("calls_nothing_banned", "storage/x.py", "import time as t\nx = t.monotonic_ns()", "time.monotonic_ns"),
    (
        "calls_nothing_banned",
        "agents/x.py",
        "from datetime import datetime\nnow = datetime.now",
        "datetime.datetime.now",
    ),
    ("calls_nothing_banned", "agents/x.py", "import datetime as dt\ndt.datetime.utcnow()", "asks what time it is"),
    ("calls_nothing_banned", "floor/x.py", "from time import perf_counter as tick\ntick()", "measures time"),
    ("calls_nothing_banned", "floor/x.py", "import random\nrandom.shuffle(x)", "no seed governs"),
    ("calls_nothing_banned", "app.py", "from random import choice\nchoice(x)", "random.choice"),
    ("calls_nothing_banned", "learning/x.py", "import numpy as np\nnp.random.rand()", "numpy.random.rand"),
    ("calls_nothing_banned", "storage/x.py", "import pickle\npickle.loads(b)", "msgspec"),
    ("calls_nothing_banned", "web/x.py", "eval(text)", "runs what it reads"),
    ("calls_nothing_banned", "agents/x.py", "print('hello')", "polybot.log"),
    ("calls_nothing_banned", "desk/x.py", "open('book')", "pure room"),
    ("calls_nothing_banned", "desk/x.py", "sorted(x, key=id)", "PYTHONHASHSEED"),
    ("seeds_every_generator", "app.py", "from random import Random\nRandom()", "without a seed"),
    ("seeds_every_generator", "learning/x.py", "import numpy as np\nnp.random.default_rng()", "without a seed"),
    ("catches_only_what_it_names", "agents/x.py", "try: f()\nexcept Exception: pass", "broad except"),
    ("catches_only_what_it_names", "agents/x.py", "try: f()\nexcept: pass", "broad except"),
    (
        "catches_only_what_it_names",
        "agents/x.py",
        "try: f()\nexcept (KeyError, BaseException) as e: pass",
        "broad except",
    ),
    (
        "catches_only_what_it_names",
        "agents/x.py",
        "try: f()\nexcept Exception as e: done.set_exception(ValueError())",
        "broad except",
    ),
    ("catches_only_what_it_names", "floor/boss.py", "with contextlib.suppress(Exception): f()", "broad suppress"),
    ("money_is_integers", "domain/units.py", "x = float('0.1')", "float() in a money file"),
    ("money_is_integers", "domain/fees.py", "rate = 0.07", "the float 0.07"),
    ("money_is_integers", "domain/ledger.py", "half = cash / 2", "division"),
    ("stays_small", "desk/x.py", "x = 1\n" * (FILE_LINES_MAX + 1), "has 401 lines"),
    ("stays_small", "desk/x.py", "def step():\n" + "    x = 1\n" * FUNCTION_LINES_MAX, "step has 61 lines"),
    ("does_no_work_at_import", "app.py", "connect()", "work at import"),
    ("does_no_work_at_import", "venue/x.py", "for name in names:\n    load(name)", "work at import"),
]

KEPT = [
    ("desk/x.py", "from polybot.domain.book import Book\nfrom polybot.risk.gate import Approved\nimport msgspec"),
    ("desk/x.py", "from polybot.risk.gate import Approved\n\ndef send(order: Approved): ..."),
    ("domain/x.py", "class Market:\n    id: int\n    hash: int\n\ndef same(id, other): return id == other"),
    ("desk/x.py", "import random\n\ndef draw(chance: random.Random) -> float:\n    return chance.random() / 2"),
    ("desk/x.py", "from datetime import UTC, datetime\n\ndef f(at): return datetime.fromtimestamp(at, UTC)"),
    ("clock.py", "import time\n\ndef now() -> int:\n    return time.time_ns()"),
    ("bench/x.py", "import time\n\ndef f():\n    print(time.perf_counter())"),
    ("app.py", "import random\nfrom polybot.venue.paper import PaperVenue\n\ndef f(seed): return random.Random(seed)"),
    ("floor/supervisor.py", "def f():\n    try: g()\n    except Exception as bug: return bug"),
    ("storage/x.py", "def f():\n    try: g()\n    except BaseException:\n        undo()\n        raise"),
    ("agents/x.py", "def f(done):\n    try: g()\n    except BaseException as bug: done.set_exception(bug)"),
    (
        "backtest/x.py",
        "from polybot.venue.matching import Match\nfrom polybot.storage.tape_format import Row",
    ),
    ("domain/units.py", '"""Money."""\n\ndef halve(cash: int) -> int:\n    return cash // 2'),
    ("desk/x.py", "def step():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1)),
    ("cli.py", "import typer\napp = typer.Typer()\napp.add_typer(app)\nprint(app)"),
]


@pytest.mark.parametrize(("rule", "path", "text", "says"), BROKEN)
def test_a_broken_rule_is_found(rule, path, text, says):
    check = {known.__name__: known for known in RULES}[rule]
    findings = [f"{what}. {remedy}" for _, what, remedy in check(Source(f"polybot/{path}", text))]
    assert any(says in finding for finding in findings), findings


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_a_kept_rule_is_left_alone(path, text):
    source = Source(f"polybot/{path}", text)
    assert [finding for rule in RULES for finding in rule(source)] == []


def test_every_rule_is_tried():
    assert {rule for rule, *_ in BROKEN} == {rule.__name__ for rule in RULES}


def test_a_finding_names_its_line():
    check = {known.__name__: known for known in RULES}["calls_nothing_banned"]
    assert [line for line, *_ in check(Source("polybot/web/x.py", "x = 1\n\nprint(x)\n"))] == [3]
