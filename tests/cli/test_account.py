"""`polybot account` at the terminal: what it shows, what it asks before it books, and how it refuses."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polybot.account_file import AccountFile
from polybot.account_talk import AccountAnswer, AccountAsk, AccountView, ItemSeen, UnpaidSeen
from polybot.cli import application
from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.runs import journal_path
from polybot.storage.journal import Journal
from tests.facts import money

DEPOSIT = ItemSeen(
    name="cash", least=money("250"), most=money("250"), text="the wallet has more", since=Millis(1_790_586_000_000)
)
COMING = ItemSeen(name="cash", least=money("240"), most=money("250"), text="the wallet has more")


def a_view(*items: ItemSeen) -> AccountView:
    return AccountView(
        read_at=Millis(1_790_586_060_000),
        wallet=money("1750"),
        elsewhere=money("500"),
        least=money("992.5"),
        most=money("1000"),
        cash=money("1000"),
        unpaid=money("7.5"),
        unpaid_of=(UnpaidSeen(market="window-1", amount=money("7.5"), at=Millis(1_790_586_000_000)),),
        beside={"window-2:up": -4_000_000},
        dust=money("0.004"),
        items=items,
    )


class Answering:
    """A floor that is running, as far as the terminal can tell: `asked` is what it was asked to book."""

    def __init__(self, folder: Path) -> None:
        self.file, self.asked = AccountFile(folder), list[AccountAsk]()
        self.view, self.refused, self.is_over = a_view(DEPOSIT), "", threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        seen = ""
        while not self.is_over.wait(0.005):
            ask = self.file.asked()
            if ask is None or ask.id == seen:
                continue
            seen = ask.id
            done = ""
            if ask.amounts is not None:
                self.asked.append(ask)
            if ask.amounts is not None and not self.refused:
                done, self.view = "booked", a_view()
            refused = self.refused if ask.amounts is not None else ""
            self.file.answer(AccountAnswer(id=ask.id, view=self.view, done=done, refused=refused))


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Answering]:
    journal_path(tmp_path).parent.mkdir()
    made = Answering(tmp_path)
    with Journal.open(journal_path(tmp_path)):
        made.thread.start()
        yield made
        made.is_over.set()
        made.thread.join()


def typed(folder: Path, *words: str, said: str = "") -> Any:
    given = {"POLYBOT_DATA_DIR": str(folder)}
    return CliRunner().invoke(application(["account"]), ["account", *words], env=given, input=said)


def test_wallet_books_and_the_difference_are_shown_with_amount_and_since_when(floor: Answering, tmp_path: Path):
    done = typed(tmp_path)
    assert done.exit_code == 0, done.output
    money_told = ("1750.00", "1250.00", "from 992.50", "to 1000.00", "0.004")
    told = ("7.50  unpaid of window-1", "-4.00  shares of window-2:up", "cash=+250.00, since 2026-09-28 09:00:00 UTC")
    for text in (*money_told, *told):
        assert text in done.output
    assert floor.asked == []


def test_it_shows_asks_why_and_whether_and_only_then_books_exactly_that(floor: Answering, tmp_path: Path):
    done = typed(tmp_path, "accept", said="a deposit\ny\n")
    assert done.exit_code == 0, done.output
    (ask,) = floor.asked
    assert (ask.amounts, ask.reason) == ({"cash": money("250")}, "a deposit")
    assert done.output.rstrip().endswith("A smaller difference shows once nothing is on its way.")


def test_without_a_yes_nothing_is_booked(floor: Answering, tmp_path: Path):
    done = typed(tmp_path, "accept", "--reason", "a deposit", said="n\n")
    assert done.exit_code == 1
    assert floor.asked == []


@pytest.mark.parametrize("words", [("--yes",), ("--yes", "--reason", "a deposit"), ("--yes", "cash=+250")])
def test_yes_wants_the_amounts_and_the_reason_typed(floor: Answering, tmp_path: Path, words: tuple[str, ...]):
    done = typed(tmp_path, "accept", *words)
    assert isinstance(done.exception, BadInput)
    assert floor.asked == []


def test_a_floor_is_named_to_it_by_its_folder_as_to_every_verb(floor: Answering, tmp_path: Path):
    done = typed(tmp_path / "other", "accept", "cash=+1", "--yes", "--reason", "mine", "--data-dir", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert floor.asked[0].reason == "mine"


def test_a_folder_that_is_named_before_the_verb_is_not_passed_over(floor: Answering, tmp_path: Path):
    done = typed(tmp_path, "--data-dir", str(tmp_path / "other"), "accept", "cash=+1", "--yes", "--reason", "mine")
    assert isinstance(done.exception, BadInput)
    assert "polybot account accept --data-dir" in str(done.exception)
    assert floor.asked == []


def test_with_yes_what_is_typed_is_what_is_asked_for(floor: Answering, tmp_path: Path):
    done = typed(tmp_path, "accept", "cash=+250.000001", "--yes", "--reason", "a deposit")
    assert done.exit_code == 0, done.output
    assert floor.asked[0].amounts == {"cash": money("250.000001")}


def test_a_refusal_is_an_error_that_says_why(floor: Answering, tmp_path: Path):
    floor.refused = "cash: +1.00 was given"
    done = typed(tmp_path, "accept", "cash=+1", "--yes", "--reason", "a deposit")
    assert done.exit_code == 1
    assert "nothing was booked: cash: +1.00 was given" in str(done.exception)


def test_while_something_is_on_its_way_the_person_has_to_type_what_he_knows(floor: Answering, tmp_path: Path):
    floor.view = a_view(COMING)
    done = typed(tmp_path, "accept")
    assert "between +240.00 and +250.00" in str(done.exception)
    assert floor.asked == []


@pytest.mark.parametrize("words", [("cash",), ("=1",), ("cash=one",), ("cash=1", "cash=2")])
def test_an_amount_that_is_not_understood_is_told(floor: Answering, tmp_path: Path, words: tuple[str, ...]):
    done = typed(tmp_path, "accept", "--yes", "--reason", "a deposit", *words)
    assert isinstance(done.exception, BadInput)


def test_without_a_floor_it_says_what_to_do_and_leaves_nothing_behind(tmp_path: Path):
    done = typed(tmp_path)
    assert done.exit_code == 1
    assert "no floor runs on" in str(done.exception)
    assert AccountFile(tmp_path).asked() is None


def test_a_floor_that_does_not_answer_is_told_and_the_question_is_taken_away(
    floor: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    floor.is_over.set()
    floor.thread.join()
    monkeypatch.setattr("polybot.cli.account.BOOKED_S_MAX", 0.1)
    done = typed(tmp_path, "accept", "cash=+250", "--yes", "--reason", "a deposit")
    assert "may have been booked" in str(done.exception)
    assert AccountFile(tmp_path).asked() is None
