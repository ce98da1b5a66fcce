"""The verbs as a person types them, in a process of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polybot.cli import VERBS, application
from polybot.cli.run import stakes
from polybot.domain.errors import BadInput
from polybot.settings import load_settings

ROOT = Path(__file__).parents[2]
TAPE = ROOT / "polybot/tapes/btc15m_l2.tape"


def polybot(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    return subprocess.run(
        [sys.executable, "-m", "polybot", *words],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_backtest_prints_the_report_and_writes_it_with_plots(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = polybot("backtest", "--html", str(page))
    assert done.returncode == 0
    assert "The money adds up" in done.stdout
    assert "The audit passed" in done.stdout
    assert "plotly" in page.read_text().lower()


def test_the_same_backtest_prints_the_same_bytes_under_another_hash_seed() -> None:
    first, second = (polybot("backtest", PYTHONHASHSEED=seed).stdout for seed in ("1", "2"))
    assert first == second


def test_a_backtest_of_one_strategy_runs_only_that_one() -> None:
    done = polybot("backtest", "--strategy", "momentum")
    assert "mean_reversion" not in done.stdout
    assert "momentum" in done.stdout


def test_an_unknown_strategy_is_refused_with_those_there_are() -> None:
    done = polybot("backtest", "--strategy", "astrology")
    assert done.returncode == 1
    assert "configured are mean_reversion, momentum, volume_spike" in done.stderr


def test_an_unknown_setting_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = polybot("run", "--data-dir", str(tmp_path / "data"), POLYBOT_SPEDD="3")
    assert done.returncode == 1
    assert "did you mean POLYBOT_SPEED" in done.stderr
    assert not (tmp_path / "data").exists()


def test_whoever_names_a_tape_does_not_find_himself_on_live_data(tmp_path: Path) -> None:
    words = ["run", "--data-dir", str(tmp_path / "data"), "--tape", str(TAPE)]
    result = CliRunner().invoke(application(["run"]), words, env={"POLYBOT_SOURCE": "polymarket"})
    assert isinstance(result.exception, BadInput)
    assert "POLYBOT_SOURCE is polymarket" in str(result.exception)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("mode", "exchange", "said"),
    [
        ("paper", None, "paper money on live data from Polymarket"),
        ("live", None, "REAL MONEY on live data from Polymarket"),
        ("paper", "http://127.0.0.1:8085", "paper money on the loopback exchange http://127.0.0.1:8085"),
        ("live", "http://127.0.0.1:8085", "live orders for the exchange's own money on the loopback exchange "),
    ],
)
def test_a_start_says_whose_money_it_is(mode: str, exchange: str | None, said: str) -> None:
    assert stakes(load_settings(source="polymarket", mode=mode, exchange=exchange)).startswith(said)


def test_a_tape_says_what_it_holds_and_what_it_does_not() -> None:
    shown = polybot("tape", "show", str(TAPE), "--events", "1").stdout
    assert "CC BY 4.0" in shown
    assert "neither trades nor reference prices" in shown
    assert '"event":"MarketListed"' in shown


def test_a_whole_tape_is_verified_and_a_damaged_one_named_by_place(tmp_path: Path) -> None:
    assert "every block is whole" in polybot("tape", "verify", str(TAPE)).stdout
    damaged = tmp_path / "damaged.tape"
    content = bytearray(TAPE.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    refused = polybot("tape", "verify", str(damaged))
    assert refused.returncode == 1
    assert "damaged.tape: block" in refused.stderr
    assert "byte" in refused.stderr


def test_a_tape_that_broke_off_says_what_makes_it_whole(tmp_path: Path) -> None:
    cut = tmp_path / "cut.tape"
    cut.write_bytes(TAPE.read_bytes()[:200_000])
    shown = CliRunner().invoke(application(["tape"]), ["tape", "show", str(cut)])
    assert "NOT FINISHED: the recording broke off; `polybot tape join` makes a whole one of it" in shown.output
    assert "0 blocks" not in shown.output
    verified = CliRunner().invoke(application(["tape"]), ["tape", "verify", str(cut)])
    assert "`polybot tape join`" in str(verified.exception)


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = polybot("tape", "import", "vhs", str(tmp_path), str(tmp_path / "out.tape"))
    assert done.returncode == 1
    assert "btc15m_l2" in done.stderr
    assert not (tmp_path / "out.tape").exists()


def test_status_without_a_floor_says_how_to_start_one(tmp_path: Path) -> None:
    done = polybot("status", POLYBOT_DATA_DIR=str(tmp_path), POLYBOT_WEB_PORT="1")
    assert done.returncode == 1
    (typed,) = re.findall("with `([^`]*) run`", done.stderr)
    told = subprocess.run([*typed.split(), "status", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "the floor stands" in told.stdout
    assert "no floor answers at http://127.0.0.1:1: nothing listens there. Start one with" in done.stderr


def test_status_asks_the_port_that_was_set_rather_than_the_page_an_earlier_floor_wrote_down(tmp_path: Path) -> None:
    (tmp_path / "page.url").write_text("http://127.0.0.1:2\n")
    done = polybot("status", POLYBOT_DATA_DIR=str(tmp_path), POLYBOT_WEB_PORT="1")
    assert "no floor answers at http://127.0.0.1:1" in done.stderr
    assert f"{tmp_path / 'page.url'} names http://127.0.0.1:2" in done.stderr


def test_status_asks_the_page_that_the_floor_wrote_down_where_no_port_was_set(tmp_path: Path) -> None:
    (tmp_path / "page.url").write_text("http://127.0.0.1:2\n")
    done = polybot("status", POLYBOT_DATA_DIR=str(tmp_path))
    assert "no floor answers at http://127.0.0.1:2" in done.stderr
    assert "the floor that wrote it was killed, or does not answer" in done.stderr


def test_a_missing_database_url_is_an_error_where_own_servers_are_forbidden(tmp_path: Path) -> None:
    done = polybot("run", "--data-dir", str(tmp_path / "data"), POLYBOT_EMBEDDED="never")
    assert done.returncode == 1
    assert "POLYBOT_DATABASE_URL is not set" in done.stderr


def test_a_floor_that_starts_imports_nothing_that_only_other_verbs_and_reports_need() -> None:
    program = "import sys, polybot.cli as c; c.application(['run']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "polybot.app" in imported
    others = {"plotly", "pyarrow", "numpy", "rich", "polybot.chaos", "polybot.bench", "polybot.backtest.report_text"}
    assert imported & others == set()


def test_every_verb_is_listed_with_what_it_does_and_answers_to_its_name() -> None:
    listed = polybot("--help").stdout
    for verb in VERBS:
        assert f" {verb} " in listed
        told = CliRunner().invoke(application([verb]), [verb, "--help"], prog_name="polybot")
        assert told.exit_code == 0
        assert f"Usage: polybot {verb} " in told.output


def test_a_word_that_is_no_verb_is_refused() -> None:
    done = polybot("dance")
    assert done.returncode == 2
    assert "No such command 'dance'" in done.stderr
