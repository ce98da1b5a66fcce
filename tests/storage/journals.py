"""Journals for tests: small facts, journals that somebody damaged, and a process that appends until it is killed."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from polybot.domain.events import AnyFact, Severity, SystemNoted
from polybot.domain.units import Millis
from polybot.storage.journal import Journal

ROOT = Path(__file__).parents[2]


def note(number: int, text: str = "") -> AnyFact:
    return SystemNoted(at=Millis(1_000 + number), severity=Severity.INFO, component="test", text=text or f"{number}")


def texts(journal: Journal, after_seq: int = 0) -> list[str]:
    return [entry.fact.text for entry in journal.read(after_seq) if isinstance(entry.fact, SystemNoted)]


async def damaged(path: Path, statement: str, rows: int = 1500) -> None:
    """A journal of `rows` facts on which somebody ran `statement` behind our back."""
    with Journal.open(path) as journal:
        for start in range(0, rows, 500):
            await journal.append([note(start + n) for n in range(500)], position=0)
    connection = sqlite3.connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.commit()
    connection.close()


async def until(condition, seconds_max: float = 10.0) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 what is waited for is a plain value of another thread's
            await asyncio.sleep(0.005)


APPEND_FOR_EVER = """
import asyncio, os, sys
from pathlib import Path
from polybot.domain.events import Severity, SystemNoted
from polybot.storage.journal import Journal

async def keep_appending(journal, lane):
    number = 0
    while True:
        fact = SystemNoted(at=number, severity=Severity.INFO, component=lane, text="x" * (number % 3000))
        for entry in await journal.append([fact], position=number):
            os.write(1, f"{entry.seq}\\n".encode())
        number += 1

async def main():
    journal = Journal.open(Path(sys.argv[1]))
    await asyncio.gather(*[keep_appending(journal, f"lane-{n}") for n in range(8)])

asyncio.run(main())
"""


def start_appending(path: Path, program: str = APPEND_FOR_EVER, **options) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
