"""Secrets are found wherever they were written, and nothing else is."""

from pathlib import Path

import pytest

from polybot.rehearsal.leaks import CHUNK, leaks

KEY = "0x" + "ab12" * 16


@pytest.mark.parametrize(
    "content",
    [f"key={KEY}".encode(), KEY.removeprefix("0x").upper().encode(), bytes.fromhex(KEY.removeprefix("0x"))],
    ids=["as text", "in capitals", "as bytes"],
)
def test_a_key_is_found_in_any_form(tmp_path: Path, content: bytes):
    (tmp_path / "a.log").write_bytes(b"noise " + content + b" noise")
    (tmp_path / "b.log").write_bytes(b"only noise")
    assert list(leaks(tmp_path, {"the key": KEY})) == [f"the key stands in {tmp_path / 'a.log'}"]


def test_a_key_on_the_seam_of_two_pieces_is_found(tmp_path: Path):
    (tmp_path / "large").write_bytes(b"-" * (CHUNK - 10) + KEY.encode() + b"-" * 100)
    assert len(list(leaks(tmp_path, {"the key": KEY}))) == 1


def test_a_secret_that_is_no_number_is_found_as_it_is(tmp_path: Path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "page.html").write_text("<p>correct horse battery</p>")
    assert list(leaks(tmp_path, {"the token": "correct horse battery", "the key": KEY})) == [
        f"the token stands in {tmp_path / 'deeper' / 'page.html'}"
    ]
