"""The kill switch's files: by hand or by command, and never half."""

from pathlib import Path

import pytest

from polybot.switch_file import SwitchAnswer, SwitchFile, SwitchUnreadable, Wish


@pytest.fixture
def file(tmp_path: Path) -> SwitchFile:
    return SwitchFile(tmp_path)


def test_nothing_is_wanted_where_there_is_no_file(file):
    assert file.wish() is None
    assert file.answer() is None


def test_an_empty_file_made_by_hand_stops(file, tmp_path):
    (tmp_path / "STOP").touch()
    wish = file.wish()
    assert wish is not None
    assert (wish.stop, wish.cancel_all) == (True, False)
    assert wish.by == "a file made by hand"


def test_a_file_made_by_hand_may_ask_for_cancelling(file, tmp_path):
    (tmp_path / "STOP").write_text("cancel-all\n")
    wish = file.wish()
    assert wish is not None
    assert wish.cancel_all


@pytest.mark.parametrize("content", [b"\x00\xff\xfe", b"id\n", b"x" * 100_000, b"id  \nby \n"])
def test_whatever_stands_in_it_it_stops(file, tmp_path, content):
    (tmp_path / "STOP").write_bytes(content)
    wish = file.wish()
    assert wish is not None
    assert wish.stop


def test_even_a_folder_of_that_name_stops(file, tmp_path):
    (tmp_path / "STOP").mkdir()
    wish = file.wish()
    assert wish is not None
    assert wish.stop


def test_a_wish_comes_back_as_it_was_written(file):
    wish = Wish(stop=True, id="7-1", by="ann at the terminal", cancel_all=True)
    file.ask_stop(wish)
    assert file.wish() == wish


def test_resuming_takes_the_stop_away_and_the_grant_takes_the_wish(file, tmp_path):
    file.ask_stop(Wish(stop=True, id="1"))
    file.ask_resume(Wish(stop=False, id="2", by="ann"))
    assert file.wish() == Wish(stop=False, id="2", by="ann")
    file.granted(SwitchAnswer(id="2", text="done"), resumed=True)
    assert file.wish() is None
    assert file.answer() == SwitchAnswer(id="2", text="done")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["STOP.answer"]


def test_to_be_stopped_wins_where_both_are_wanted(file, tmp_path):
    (tmp_path / "RESUME").touch()
    (tmp_path / "STOP").touch()
    wish = file.wish()
    assert wish is not None
    assert wish.stop


def test_a_folder_that_is_not_there_yet_is_made(tmp_path):
    SwitchFile(tmp_path / "new" / "data").ask_stop(Wish(stop=True, id="1"))
    assert (tmp_path / "new" / "data" / "STOP").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(SwitchUnreadable, match="data"):
        SwitchFile(tmp_path / "data").ask_stop(Wish(stop=True, id="1"))
