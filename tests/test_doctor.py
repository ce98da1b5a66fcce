"""The doctor against a loopback exchange that is well, ill in every way it can be, or not there; and stopping there."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from polybot.cli import application
from polybot.cli.stop import NotDone
from polybot.doctor import market, preflight
from polybot.doctor.findings import Finding, Mark, NotReady, failed, refusal, require_passed
from polybot.domain.events import RunStarted
from polybot.domain.units import UNIT, Millis, Money
from polybot.exchange.core.faults import Geoblock
from polybot.exchange.core.model import Address
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.relayer_api import key_of
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.timetable import plan_series
from polybot.exchange.wallets import wallet_of
from polybot.live_account import opened_account
from polybot.live_settings import ACKNOWLEDGEMENT
from polybot.runs import journal_path
from polybot.settings import Settings, load_settings
from polybot.storage.journal import Journal
from polybot.venue.base import VenueUnavailable
from tests.cli.test_verbs import ROOT
from tests.exchange.tapes import PRESENT_START, plain_windows
from tests.exchange.trading import KEY_OF_ALICE, SIGNER
from tests.venue.polymarket.desk import few_certificates
from tests.venue.polymarket.order_rehearsal import rehearsal

KEY = Address(SIGNER.lower())
WALLET = wallet_of(KEY, 3)
NOBODY = "http://127.0.0.1:9"


class Venue:
    def __init__(self, around: Surroundings, server: Server, folder: Path) -> None:
        self.around, self.exchange, self.server, self._folder = around, around.exchange, server, folder

    def settings(self, **changes: Any) -> Settings:
        given = {
            "mode": "live",
            "source": "polymarket",
            "exchange": self.server.url,
            "private_key": KEY_OF_ALICE,
            "wallet": WALLET,
            "relayer_key": key_of(KEY),
            "relayer_address": KEY,
            "live_acknowledgement": ACKNOWLEDGEMENT,
            "data_dir": self._folder / "data",
            "record": {"disk_gb": 0.01},
        }
        return load_settings(**given | changes)


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Venue]:
    exchange = Exchange(FastClock(start=Millis(PRESENT_START + 100_000)))
    exchange.engine.deposit(WALLET, Money(1_000 * UNIT))
    around = Surroundings(exchange, plan_series(plain_windows(), ["BTC", "ETH"]))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    with few_certificates():
        yield Venue(around, server, tmp_path)
    await server.close()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.check for finding in findings}) == len(findings), "a check stands twice"
    return {finding.check: finding for finding in findings}


def failures(findings: list[Finding]) -> set[str]:
    return {finding.check for finding in findings if finding.mark is Mark.FAIL}


async def test_where_all_is_well_every_check_passes_and_live_may_start(venue: Venue):
    findings = await preflight(venue.settings())
    assert refusal(findings) == ""
    require_passed(findings)
    found = by_check(findings)
    assert {name for name, finding in found.items() if finding.mark is Mark.SKIPPED} == {"database", "redis"}
    assert "a deposit wallet" in found["wallet"].text
    assert "$1000" in found["balance"].text.replace(",", "")
    assert "chainlink" in found["windows"].text
    assert "BTC" in found["prices"].text


async def test_everything_that_is_wrong_is_found_at_once_and_each_has_its_remedy(
    venue: Venue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(market, "LISTEN_S_MAX", 1.0)
    faults = venue.exchange.faults
    faults.geoblock = Geoblock(blocked=True, country="US", region="NY")
    faults.closed_only.add(KEY)
    faults.closed_only.add(WALLET)
    venue.exchange.engine.deposit(WALLET, Money(-400 * UNIT))
    venue.exchange.engine.account(WALLET).approved = False
    venue.around.gamma.changes[""] = {"feeType": "unheard_of"}
    faults.frozen.add("market")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "STOP").touch()
    broken = venue.settings(
        live_acknowledgement="yes",
        relayer_key=None,
        relayer_address=None,
        database_url=f"postgresql://polybot:the-password@{NOBODY.removeprefix('http://')}/polybot",
        redis_url=NOBODY.replace("http", "redis"),
        record={"disk_gb": 9_999},
        capital=700,
    )
    findings = await preflight(broken)
    wanted = {"live settings", "kill switch", "disk", "database", "redis", "geoblock", "wallet", "standing"}
    wanted |= {"balance", "allowances", "claims", "windows", "books"}
    assert failures(findings) == wanted
    assert all(finding.remedy for finding in findings if finding.mark is Mark.FAIL)
    assert "the-password" not in str(findings)
    assert KEY_OF_ALICE[2:] not in str(findings)
    with pytest.raises(NotReady, match="POLYBOT_LIVE_ACKNOWLEDGEMENT"):
        require_passed(findings)
    assert "kill switch" not in by_check(await preflight(venue.settings(), at_start=True))


async def test_a_nodes_file_that_others_may_read_is_one_finding_and_the_rest_is_examined(venue: Venue, tmp_path: Path):
    file = tmp_path / "node"
    file.write_text("https://node.example/v2/0123456789abcdef")
    file.chmod(0o644)
    findings = by_check(await preflight(venue.settings(rpc_url_file=file)))
    assert "POLYBOT_RPC_URL_FILE: others may read" in findings["live settings"].text
    assert findings["clock"].mark is Mark.PASS
    assert "0123456789abcdef" not in str(findings)


def test_a_run_that_comes_back_is_kept_out_by_its_account_and_not_by_a_catalogue_that_fails_for_a_moment():
    windows, wallet = (failed(check, "no answer", "wait") for check in ("windows", "wallet"))
    with pytest.raises(NotReady, match="windows"):
        require_passed([windows])
    require_passed([windows], goes_on=True)
    with pytest.raises(NotReady, match="wallet"):
        require_passed([windows, wallet], goes_on=True)


async def test_a_key_that_pays_for_itself_has_to_have_pol_before_it_begins_and_may_be_sent_some_later(venue: Venue):
    venue.exchange.engine.deposit(KEY, Money(1_000 * UNIT))
    settings = venue.settings(wallet=SIGNER, relayer_key=None, relayer_address=None)
    found = by_check(await preflight(settings))
    assert (found["wallet"].mark, found["gas"].mark) == (Mark.PASS, Mark.PASS)
    assert "10.00 POL" in found["gas"].text
    venue.around.mempool.set_pol(KEY, 10**17)
    findings = await preflight(settings)
    assert failures(findings) == {"gas"}
    with pytest.raises(NotReady, match=r"0\.10 POL: send it 1 POL or more"):
        require_passed(findings)
    require_passed(findings, goes_on=True)


async def test_a_wallet_whose_wins_nobody_may_claim_is_kept_from_beginning_and_may_be_mended_later(venue: Venue):
    assert by_check(await preflight(venue.settings()))["claims"].mark is Mark.PASS
    venue.exchange.engine.account(WALLET).approved = False
    findings = await preflight(venue.settings())
    assert "setup_trading_approvals" in by_check(findings)["claims"].remedy
    with pytest.raises(NotReady, match="claims"):
        require_passed(findings)
    require_passed([finding for finding in findings if finding.check != "allowances"], goes_on=True)


async def test_a_node_that_does_not_answer_keeps_no_relayed_wallet_out(venue: Venue):
    async with opened_account(venue.settings(), FastClock(start=venue.exchange.now())) as client:

        async def away() -> bool:
            raise VenueUnavailable("no answer")

        client.may_claim = away  # type: ignore[method-assign]
        findings = await preflight(venue.settings(), client=client)
    assert by_check(findings)["claims"].mark is Mark.SKIPPED
    require_passed(findings)


def test_missing_reference_prices_are_told_and_keep_nobody_out():
    require_passed([failed("prices", "no reference price within 15 s", "wait")])


async def test_a_wallet_without_the_capital_is_found_by_the_first_start_itself_which_has_its_journal_open(venue: Venue):
    settings = venue.settings(capital=1_001)
    journal = Journal.open(journal_path(settings.data_dir))
    try:
        findings = await preflight(settings, at_start=True)
    finally:
        journal.close()
    assert failures(findings) == {"balance"}


async def test_a_clock_that_is_off_and_a_key_that_is_wrong_are_named(venue: Venue):
    class Late(FastClock):
        def now_ms(self) -> Millis:
            return Millis(super().now_ms() - 7_000)

    late = Late(start=venue.exchange.now())
    found = by_check(await preflight(venue.settings(wallet="0x" + "99" * 20), clock=late))
    assert found["clock"].mark is Mark.FAIL
    assert "behind the venue's" in found["clock"].text
    assert "`polybot reset`" in found["clock"].remedy  # its exchange is a loopback one, which NTP knows nothing of
    assert found["api key"].mark is Mark.FAIL
    assert found["balance"].mark is Mark.SKIPPED


async def test_a_key_without_a_wallet_is_told_what_its_owner_can_do_and_not_in_the_words_of_the_client(venue: Venue):
    settings = venue.settings(private_key="0x" + "42" * 32, wallet=None, relayer_key=None, relayer_address=None)
    found = by_check(await preflight(settings))
    assert "set POLYBOT_RELAYER_KEY_FILE and POLYBOT_RELAYER_ADDRESS" in found["api key"].text


async def test_an_api_key_the_venue_does_not_know_is_named_although_the_client_has_another_made(venue: Venue):
    settings = venue.settings(api_key="a1", api_secret="a1a1", api_passphrase="a1a1a1")
    found = by_check(await preflight(settings))
    assert found["api key"].mark is Mark.FAIL
    assert "POLYBOT_API_KEY" in found["api key"].remedy
    assert found["balance"].mark is Mark.PASS


async def test_a_secret_that_cannot_be_used_is_named_once(venue: Venue, tmp_path: Path):
    readable = tmp_path / "key"
    readable.write_text(KEY_OF_ALICE)
    readable.chmod(0o644)
    found = by_check(await preflight(venue.settings(private_key=None, private_key_file=readable)))
    assert "chmod 600" in found["live settings"].text
    assert "no private key" not in found["live settings"].text
    assert found["api key"].mark is Mark.SKIPPED


async def test_hosts_that_do_not_answer_are_told_plainly_and_soon(venue: Venue):
    found = by_check(await preflight(venue.settings(exchange=NOBODY)))
    assert found["clock"].mark is Mark.FAIL
    assert "no loopback exchange answers" in found["clock"].text
    assert found["books"].mark is Mark.SKIPPED


async def test_paper_money_on_a_tape_needs_nothing_of_the_venue(tmp_path: Path):
    findings = await preflight(load_settings(data_dir=tmp_path / "data"))
    assert failures(findings) == set()
    assert by_check(findings)["api key"].mark is Mark.SKIPPED


async def polybot(*words: str, **environment: str) -> tuple[int, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "polybot", *words),
        cwd=ROOT,
        env=clean | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def test_with_the_floor_dead_the_command_itself_cancels_everything_and_leaves_the_file(tmp_path: Path):
    async with rehearsal(wallet=3, streams=False) as at:
        for number in range(1, 4):
            await at.place(at.intent(number, "0.40", "10"))
        assert len(at.exchange.engine.open_orders()) == 3
        given = {
            "POLYBOT_EXCHANGE": at.server.url,
            "POLYBOT_PRIVATE_KEY": KEY_OF_ALICE,
            "POLYBOT_WALLET": WALLET,
            "POLYBOT_DATA_DIR": str(tmp_path / "data"),
        }
        with few_certificates():
            code, printed = await polybot("stop", "--cancel-all", **given)
        assert (code, at.exchange.engine.open_orders()) == (0, []), printed
    assert "Every open order of the account was cancelled by this command." in printed
    assert "cancel-all" in (tmp_path / "data" / "STOP").read_text()
    assert KEY_OF_ALICE[2:] not in printed


def run_here(verb: str, *words: str, **environment: str) -> Any:
    """A command in this process: the imports are paid for."""
    return CliRunner().invoke(application([verb]), [verb, *words], env=environment)


def test_a_command_that_cannot_cancel_says_so_and_still_leaves_the_file(tmp_path: Path):
    given = {"POLYBOT_EXCHANGE": NOBODY, "POLYBOT_PRIVATE_KEY": KEY_OF_ALICE, "POLYBOT_WALLET": WALLET}
    with few_certificates():
        done = run_here("stop", "--cancel-all", **given, POLYBOT_DATA_DIR=str(tmp_path))
    assert isinstance(done.exception, NotDone)
    assert "orders may still be open" in str(done.exception)
    assert (tmp_path / "STOP").exists()


def test_without_a_floor_or_a_key_a_stop_holds_for_the_next_start_and_a_resume_lifts_it(tmp_path: Path):
    done = run_here("stop", "--cancel-all", POLYBOT_DATA_DIR=str(tmp_path))
    assert done.exit_code == 0
    assert f"No floor runs on {tmp_path}" in done.output
    assert "no account was asked" in done.output
    seen = run_here("doctor", POLYBOT_DATA_DIR=str(tmp_path))
    assert seen.exit_code == 1
    assert "fail    kill switch" in seen.output
    assert "do: type `polybot resume`" in seen.output
    assert "the next one that is started trades" in run_here("resume", POLYBOT_DATA_DIR=str(tmp_path)).output
    seen = run_here("doctor", POLYBOT_DATA_DIR=str(tmp_path))
    assert seen.exit_code == 0
    assert "Nothing is wrong" in seen.output


async def write_live_start(folder: Path) -> None:
    journal = Journal.open(journal_path(folder))
    started = RunStarted(at=Millis(1), run="r", source="s", mode="live", capital=Money(UNIT), seed=1, version="1")
    await journal.append([started], position=0)
    journal.close()


def test_a_dead_floor_of_real_money_is_not_said_to_have_no_orders_where_its_key_is_not_set(tmp_path: Path):
    asyncio.run(write_live_start(tmp_path))
    done = run_here("stop", "--cancel-all", "--data-dir", str(tmp_path))
    assert isinstance(done.exception, NotDone)
    assert "orders may still be open" in str(done.exception)
