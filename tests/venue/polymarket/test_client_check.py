"""An official client that is not as this code knows it is named at the start, not met in the middle of an order."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from polybot.venue.polymarket.client_check import PARTS, PINNED, ClientMismatch, check_client

TREE = Path(__file__).resolve().parents[3]


def test_the_installed_client_is_as_expected():
    check_client()


def test_another_version_is_named_with_the_one_expected():
    with pytest.raises(ClientMismatch, match=r"from 9\.9\.9: installed is 0\.14\.0"):
        check_client(pinned="9.9.9")


def test_every_part_that_is_gone_or_changed_is_named():
    parts = {
        "polymarket:AsyncSecureClient.fly": "",
        "polymarket.nowhere:thing": "",
        "polymarket:AsyncSecureClient.post_order": "signed_order retries",
    }
    with pytest.raises(ClientMismatch) as caught:
        check_client(parts)
    text = str(caught.value)
    assert "AsyncSecureClient.fly is gone" in text
    assert "polymarket.nowhere:thing is gone" in text
    assert "AsyncSecureClient.post_order has no retries" in text
    assert f"polymarket-client=={PINNED}" in text


def test_the_project_names_exactly_the_version_that_is_checked_for():
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"polymarket-client=={PINNED}" in project["project"]["dependencies"]


def test_every_part_of_the_client_that_is_imported_is_in_the_table():
    listed = " ".join(PARTS)
    for name in ("client.py", "client_signing.py"):
        text = (TREE / "polybot/venue/polymarket" / name).read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.startswith("from polymarket._internal"):
                module, _, names = line.removeprefix("from ").partition(" import ")
                for imported in names.split(", "):
                    word = imported.split(" as ")[0]
                    assert f"{module}:{word}" in listed or f"{module}.{word}:" in listed or word == "BYTES32_ZERO", line


def test_nothing_a_paper_floor_needs_imports_the_client():
    code = (
        "import sys, polybot.app, polybot.cli, polybot.venue.polymarket.live;"
        "print([m for m in ('polymarket', 'eth_account', 'httpx', 'coincurve') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=TREE, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
