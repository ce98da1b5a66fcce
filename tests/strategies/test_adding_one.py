"""Following docs/strategies.md adds a strategy: the page's own code and config, written to files, trade on the tape."""

import re
from pathlib import Path

import pytest

import polybot.strategies as package
from polybot.desk.sizing import Execution
from polybot.domain.errors import BadInput
from polybot.domain.events import IntentRecorded, TradeSettled, Verdict, WindowRecorded
from polybot.domain.fees import FeeSchedule
from polybot.domain.units import UNIT, Shares, parse_units
from polybot.settings import AgentFile, load_plans, load_settings
from polybot.strategies.registry import find_strategies
from tests.builders import Floor, shipped_tape

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "strategies.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's only fenced block of this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A newcomer's folder with the two files, and the two variables set as the page says."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "buy_the_favourite.py").write_text(block("python"))
    (tmp_path / "configs" / "strategies").mkdir(parents=True)
    (tmp_path / "configs" / "strategies" / "favourite.toml").write_text(block("toml"))
    monkeypatch.setenv("POLYBOT_CONFIG_DIR", str(tmp_path / "configs"))
    monkeypatch.setenv("POLYBOT_STRATEGIES_DIR", str(tmp_path / "own"))
    return tmp_path


def test_the_two_files_are_enough_and_it_trades(owner):
    settings = load_settings()
    plans = load_plans(settings)
    assert [(plan.agent, plan.strategy.name) for plan in plans] == [("favourite", "buy_the_favourite")]
    floor = Floor(*plans, limits=settings.limits.limits(), model=settings.venue.model(1), at=shipped_tape()[0].received)
    floor.play(*shipped_tape())
    records = floor.of(WindowRecorded)
    assert len(records) == 12
    assert sum(record.verdict is Verdict.TRADED for record in records) >= 6
    assert floor.of(TradeSettled)
    assert floor.of(IntentRecorded)[0].intent.reason.endswith("for 30 s")
    assert floor.desk_cash() == floor.venue.state.account.cash


def test_the_file_may_stand_in_the_package_instead(owner, monkeypatch):
    monkeypatch.delenv("POLYBOT_STRATEGIES_DIR")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(owner / "own")])
    assert [plan.strategy.name for plan in load_plans(load_settings())] == ["buy_the_favourite"]


def test_annotations_written_as_text_work_too(owner):
    source = owner / "own" / "buy_the_favourite.py"
    source.write_text("from __future__ import annotations\n" + source.read_text())
    assert load_plans(load_settings())[0].strategy.parameters.window_s == 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module", "no_such_module"),
        ("class X(", "cannot be imported"),
        ("x = 1 / 'a'", "unsupported operand"),
        ("import msgspec\nmsgspec.nothing", "nothing"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(owner, text, words):
    (owner / "own" / "broken.py").write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        find_strategies(owner / "own")
    assert "broken.py" in str(caught.value)


def test_two_strategies_of_one_name_are_refused(owner):
    (owner / "own" / "again.py").write_text(block("python"))
    with pytest.raises(BadInput, match="two strategies are named 'buy_the_favourite'"):
        find_strategies(owner / "own")


def test_a_strategy_without_a_name_is_told_to_have_one(owner):
    source = (owner / "own" / "buy_the_favourite.py").read_text().replace('    name = "buy_the_favourite"\n', "")
    (owner / "own" / "buy_the_favourite.py").write_text(source)
    with pytest.raises(BadInput, match="has no `name`"):
        find_strategies(owner / "own")


class TestThePageIsTrue:
    def section(self, title: str) -> str:
        return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]

    @pytest.mark.parametrize("name", ["momentum", "mean_reversion", "volume_spike"])
    def test_every_parameter_and_its_default_is_in_its_table(self, name):
        part = self.section("The three that ship").split(f"\n**{name}**")[1].split("\n**")[0]
        told: dict[str, float] = {}
        for names, values in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", part, re.MULTILINE):
            told |= dict(zip(re.findall(r"`(\w+)`", names), (float(v) for v in values.split(",")), strict=True))
        parameters = find_strategies()[name].parameters_type()
        assert told == {field: getattr(parameters, field) for field in parameters.__struct_fields__}

    @pytest.mark.parametrize("name", ["momentum", "mean_reversion", "volume_spike"])
    def test_every_pass_reason_is_named(self, name):
        part = self.section("The three that ship").split(f"\n**{name}**")[1].split("\n**")[0]
        source = (Path(package.__path__[0]) / f"{name}.py").read_text()
        codes = re.findall(r'view\.(?:passed|waiting)\("(\w+)"', source)
        assert re.findall(r"`(\w+)`", part.split("Passes with")[1]) == codes

    def test_every_key_of_a_config_file_is_explained(self):
        told = set(re.findall(r"^\| `\[?(\w+)\]?` ", self.section("The config file"), re.MULTILINE))
        assert told == {*AgentFile.__struct_fields__, *Execution.__struct_fields__} - {"execution"}

    def test_the_fee_table_is_the_fee_formula(self):
        rows = re.findall(
            r"^\| (0\.\d\d) \| (0\.\d+) \| ([\d.]+) % \| ([\d.]+) % \|", self.section("On edge"), re.MULTILINE
        )
        assert len(rows) == 6
        for paid, fee, stake, wins in rows:
            cost = FeeSchedule(rate=70_000).taker_fee(parse_units(paid), Shares(UNIT)) / UNIT  # type: ignore[arg-type]
            assert float(fee) == pytest.approx(cost, abs=5.1e-5)
            assert float(stake) == pytest.approx(100 * cost / float(paid), abs=0.0051)
            assert float(wins) == pytest.approx(100 * (float(paid) + cost), abs=0.0051)
