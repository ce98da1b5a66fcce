"""Whatever ends the process or the power, whatever the disk refuses: what was promised is there, and goes on."""
# ruff: noqa: ASYNC240 - nothing else runs in a test's loop

import asyncio
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polybot.domain.events import Journaled
from polybot.storage import journal_place
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalUnreadableError, JournalUnusableError
from polybot.storage.journal_queue import JournalFailedError
from polybot.storage.journal_verify import verify
from tests.storage.journals import APPEND_FOR_EVER, note, start_appending
from tests.storage.test_embedded import interpreter_for, python_process, root_only

SECTOR = 512
WAL_HEADER_BYTES = 32
MOMENTS = 60


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The journal's files as they stood when `acknowledged` rows were promised; all of it is on the disk by then."""

    database: bytes
    wal: bytes
    acknowledged: int


class Lived:
    def __init__(self, history: list[Journaled], moments: list[Moment]) -> None:
        self.history, self.moments = history, moments


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A journal's life, looked at after every promise; with a WAL so small that it is often folded into the file."""
    return asyncio.run(live(tmp_path_factory.mktemp("lived") / "journal.sqlite"))


async def live(path: Path) -> Lived:
    chance = random.Random(3)
    moments = []
    with Journal.open(path) as journal:
        journal._connection.execute("PRAGMA wal_autocheckpoint = 12")
        for _ in range(MOMENTS):
            size = chance.choice((10, 200, 3_000, 9_000))
            await journal.append([note(journal.last_seq + n, "x" * size) for n in range(chance.randint(1, 4))], 0)
            moments.append(
                Moment(database=path.read_bytes(), wal=_wal(path).read_bytes(), acknowledged=journal.last_seq)
            )
        history = list(journal.read())
    assert len({moment.database for moment in moments}) > 5, "the WAL was folded in some times"
    return Lived(history, moments)


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def torn(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """A write that the power cut met: each sector is the new one, still the old one, or neither; the end may lack.

    Bytes before the first that were written are safe (SQLite's "powersafe overwrite", which every disk of today gives).
    """
    safe = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    size = chance.randint(min(len(before), len(after)), len(after))
    sectors = []
    for start in range(0, size, SECTOR):
        old, new = before[start : start + SECTOR], after[start : start + SECTOR]
        if old == new:
            sectors.append(new)
        else:
            odds = (new, new, old.ljust(len(new), b"\0")[: len(new)], chance.randbytes(len(new)), bytes(len(new)))
            sectors.append(chance.choice(odds))
    return after[:safe] + b"".join(sectors)[safe:size]


def cut_between(before: Moment, after: Moment, stage: str, chance: random.Random) -> tuple[bytes, bytes, int]:
    """Files as a power cut leaves them at a stage of the commit that led from one moment to the next, and what is due.

    SQLite syncs a WAL's new header before the frames after it, the frames before it promises, and the whole WAL before
    it writes to the file itself.
    """
    header, frames = after.wal[:WAL_HEADER_BYTES], before.wal[WAL_HEADER_BYTES:]
    match stage:
        case "header":
            return before.database, torn(before.wal[:WAL_HEADER_BYTES], header, chance) + frames, before.acknowledged
        case "frames":
            return before.database, header + torn(header + frames, after.wal, chance)[32:], before.acknowledged
        case _:
            return torn(before.database, after.database, chance), after.wal, after.acknowledged


async def prove_it_goes_on(folder: Path, database: bytes, wal: bytes, due: int, history: list[Journaled]) -> None:
    path = folder / "journal.sqlite"
    path.write_bytes(database)
    _wal(path).write_bytes(wal)
    with Journal.open(path) as journal:
        rows = list(journal.read())
        assert len(rows) >= due
        assert rows == history[: len(rows)]
        [entry] = await journal.append([note(0, "after the cut")], position=0)
        assert entry.seq == len(rows) + 1
        assert list(journal.read())[-1] == entry


@pytest.mark.parametrize("stage", ["header", "frames", "folding the WAL into the file"])
@given(number=st.integers(1, MOMENTS - 1), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_power_cut_at_any_stage_of_a_commit_leaves_a_whole_prefix_with_all_that_was_promised(
    lived: Lived, stage: str, number: int, seed: int
) -> None:
    before, after = lived.moments[number - 1 : number + 1]
    database, wal, due = cut_between(before, after, stage, random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        await prove_it_goes_on(Path(folder), database, wal, due, lived.history)


async def test_a_wal_cut_at_every_sector_of_its_unsynced_end_and_beside_it_is_a_whole_prefix(lived: Lived) -> None:
    grown = next(
        (before, after)
        for before, after in zip(lived.moments, lived.moments[1:], strict=False)
        if after.wal.startswith(before.wal) and len(after.wal) - len(before.wal) > 3 * 4096
    )
    before, after = grown
    for sector in range(len(before.wal), len(after.wal), SECTOR):
        for cut in (sector, sector + 1):
            with tempfile.TemporaryDirectory() as folder:
                wal = after.wal[:cut]
                await prove_it_goes_on(Path(folder), before.database, wal, before.acknowledged, lived.history)


@pytest.fixture
def moments_of_a_folder(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Copies of the journal's folder as it stood before and after each step that names or unnames a file in it."""
    copies: list[Path] = []

    def look() -> None:
        if path.parent.exists():
            copies.append(shutil.copytree(path.parent, tmp_path / f"moment-{len(copies)}"))

    def watched(owner: object, name: str) -> None:
        step = getattr(owner, name)

        def and_look(*arguments, **named):
            look()
            answer = step(*arguments, **named)
            look()
            return answer

        monkeypatch.setattr(owner, name, and_look)

    for name in ("replace", "unlink", "rename"):
        watched(Path, name)
    watched(os, "fsync")
    watched(os, "link")
    watched(journal_place, "begin")
    return copies


async def test_a_power_cut_while_a_journal_is_being_made_leaves_none_or_a_whole_one(
    path: Path, moments_of_a_folder: list[Path]
) -> None:
    Journal.open(path).close()
    assert len(moments_of_a_folder) > 6
    for folder in [*moments_of_a_folder]:
        with Journal.open(folder / path.name) as journal:
            [entry] = await journal.append([note(1)], position=0)
            assert entry.seq == 1


# -- the process dies --------------------------------------------------------------------------------------------------


def test_kill_minus_nine_under_load_loses_no_acknowledged_fact_and_leaves_the_chain_whole(path: Path) -> None:
    before = 0
    for kill_number in range(3):
        child = start_appending(path)
        assert child.stdout is not None
        assert child.stderr is not None
        lines = [child.stdout.readline() for _ in range(200 + 150 * kill_number)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        child.stderr.close()
        acknowledged = b"".join(lines).split() + rest.rpartition(b"\n")[0].split()
        assert [int(seq) for seq in acknowledged] == list(range(before + 1, before + 1 + len(acknowledged)))
        report = verify(path)
        assert report.whole
        assert report.rows >= before + len(acknowledged)
        before = report.rows


# -- the disk refuses --------------------------------------------------------------------------------------------------


def test_a_write_that_the_system_refuses_is_a_named_failure_with_nothing_lost(path: Path) -> None:
    """A limit on file size makes write() itself fail, as a dying disk does."""
    program = APPEND_FOR_EVER.replace("asyncio.run(main())", "import signal\nasyncio.run(main())")
    limit = 300_000
    child = start_appending(path, program, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"JournalFailedError" in errors
    assert b"check the disk" in errors or b"free some space" in errors
    report = verify(path)
    assert report.whole
    assert report.rows >= len(output.split()) > 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 400 KB."""
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder]
        mounted = subprocess.run(mount, capture_output=True, check=False)
        if mounted.returncode != 0:
            pytest.skip("this user may mount no disk here")
        yield Path(folder)
        subprocess.run(["umount", folder], check=True)


@root_only
def test_on_a_full_disk_the_floor_stops_with_the_remedy_and_goes_on_when_there_is_space_again(small_disk: Path) -> None:
    path = small_disk / "journal.sqlite"
    child = start_appending(path)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"JournalFailedError" in errors
    assert b"free some space" in errors or b"check the disk and its space" in errors
    acknowledged = len(output.split())
    assert acknowledged > 0
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert verify(path).rows >= acknowledged
    child = start_appending(path)
    assert child.stdout is not None
    assert int(child.stdout.readline()) > acknowledged
    child.kill()
    child.communicate()


async def test_a_file_that_became_read_only_fails_the_journal_with_the_remedy(path: Path) -> None:
    with Journal.open(path) as journal:
        await journal.append([note(1)], position=0)
        journal._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalFailedError, match="read-only: make it writable"):
            await journal.append([note(2)], position=0)
    with Journal.open(path) as mended:
        assert mended.last_seq == 1
        await mended.append([note(2)], position=0)


OPEN = """
import sys
from pathlib import Path
from polybot.domain.errors import PolybotError
from polybot.storage.journal import Journal
try:
    Journal.open(Path(sys.argv[1])).close()
except PolybotError as error:
    print(type(error).__name__, error)
"""


@root_only
@pytest.mark.parametrize("refused", ["the file", "the folder", "both"])
async def test_a_read_only_journal_is_refused_at_the_start_with_the_remedy(refused: str) -> None:
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as parent:
        folder = Path(parent) / "floor"
        path = folder / "journal.sqlite"
        with Journal.open(path) as journal:
            await journal.append([note(1)], position=0)
        Path(parent).chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644 if refused != "the folder" else 0o666)
        (folder / "journal.sqlite.lock").chmod(0o666)
        folder.chmod(0o777 if refused == "the file" else 0o755)
        with python_process(interpreter_for("nobody"), [OPEN, str(path)], "nobody") as child:
            told, _ = child.communicate(timeout=60)
        assert told.startswith((JournalUnusableError.__name__, JournalUnreadableError.__name__))
        assert "writable" in told or "may write" in told
        assert verify(path).rows == 1
