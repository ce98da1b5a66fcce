"""What a person is told to type: the command as this process was started, wherever it stands."""

import sys
from pathlib import Path

import pytest

from polybot import paths


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed command on no PATH, as in a fresh .venv, and this process started by it."""
    found = tmp_path / ".venv" / "bin" / "polybot"
    found.parent.mkdir(parents=True)
    found.write_text("#!/bin/sh\n")
    found.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(found)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return found


def test_one_that_is_on_no_path_is_named_by_its_place_seen_from_here(script: Path) -> None:
    assert paths.command() == ".venv/bin/polybot"


def test_from_another_folder_by_its_whole_place(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script.parents[2] / "elsewhere").mkdir()
    monkeypatch.chdir(script.parents[2] / "elsewhere")
    assert paths.command() == str(script)


def test_in_its_own_folder_a_shell_wants_a_dot(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(script.parent)
    monkeypatch.setattr(sys, "argv", ["./polybot"])
    assert paths.command() == "./polybot"


def test_one_that_is_on_the_path_by_its_name(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{script.parent}:/bin")
    assert paths.command() == "polybot"


def test_started_as_a_module_by_the_command_beside_the_interpreter(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path(paths.__file__).parent / "__main__.py")])
    monkeypatch.setattr(sys, "executable", str(script.parent / "python"))
    assert paths.command() == ".venv/bin/polybot"
    script.unlink()
    assert paths.command() == ".venv/bin/python -m polybot"


def test_anything_else_that_uses_the_code_is_told_the_bare_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert paths.command() == "polybot"


def test_only_what_is_marked_as_a_command_is_put_as_it_is_typed_here(script: Path) -> None:
    said = "the polybot journal is damaged: `polybot journal repair`, or `polybot reset`"
    shown = "the polybot journal is damaged: `.venv/bin/polybot journal repair`, or `.venv/bin/polybot reset`"
    assert paths.as_typed(said) == shown
