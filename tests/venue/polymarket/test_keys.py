"""Secrets show nowhere: not printed, not logged, not in a traceback, not in the errors of what uses them."""

import io
import json
import traceback

import pytest
from loguru import logger
from rich.console import Console
from rich.pretty import pretty_repr

from polybot import cli, live_account
from polybot.domain.errors import BadInput
from polybot.live_account import NoAccount, opened_account
from polybot.log import hide, set_up
from polybot.settings import Settings
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.keys import Credentials, Hosts, Keys
from polybot.venue.polymarket.live import open_account
from polybot.venue.polymarket.venue import PolymarketVenue
from tests.venue.polymarket.desk import CREDENTIALS, Answer, a_desk, a_venue, an_account, few_certificates, hosts
from tests.venue.polymarket.liar import WindowClock
from tests.venue.polymarket.orders import NOW, PRIVATE_KEY, SIGNER, an_intent, approved, market

SECRETS = (PRIVATE_KEY, PRIVATE_KEY[2:], "the-secret-key", "c2VjcmV0", "the-phrase", "relay-secret")
KEYS = Keys(private_key=PRIVATE_KEY, relayer_key="relay-secret", credentials=CREDENTIALS)


def shows(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_keys_are_not_printed():
    for secret in (KEYS, CREDENTIALS, Credentials(key="the-secret-key", secret="c2VjcmV0", passphrase="the-phrase")):
        assert not shows(f"{secret} {secret!r} {[secret]} {pretty_repr(secret)}")


def test_not_in_a_traceback_that_prints_values():
    output = io.StringIO()
    try:
        keys = KEYS
        raise ValueError(f"something about {keys}")
    except ValueError:
        Console(file=output, width=200).print_exception(show_locals=True)
    assert not shows(output.getvalue())


async def test_a_key_that_is_none_is_refused_without_being_named():
    bad = PRIVATE_KEY[:-4] + "zzzz"
    with pytest.raises(BadInput) as caught:
        await open_account(Keys(private_key=bad, wallet="0x" + "22" * 20), Hosts(), WindowClock())
    assert bad not in "".join(traceback.format_exception(caught.value))


async def test_neither_log_nor_error_of_a_day_of_trouble_has_them():
    lines: list[str] = []
    sink = logger.add(lines.append, level=0, backtrace=True, diagnose=True)
    try:
        async with a_venue() as (desk, venue):
            desk.answer = lambda body: Answer(401, {"error": "Unauthorized/Invalid api key"})
            await venue.place(approved(an_intent(1)), NOW)
            desk.outage = Answer(500, "oops")
            with pytest.raises(VenueUnavailable) as caught:
                await venue.account_of(an_intent(1))
            logger.exception(caught.value)
    finally:
        logger.remove(sink)
    text = "".join(lines) + "".join(traceback.format_exception(caught.value))
    assert text
    assert not shows(text)


async def test_an_api_key_that_was_derived_is_hidden_though_the_venue_says_it_back_to_us():
    lines: list[str] = []
    secrets = {"apiKey": "a-derived-key", "secret": "ZGVyaXZlZC1zZWNyZXQ=", "passphrase": "a-derived-phrase"}
    async with a_desk() as desk:
        desk.derived = secrets
        given = Settings(private_key=PRIVATE_KEY, wallet=SIGNER.address, exchange=desk.url)
        set_up("json", "DEBUG", lines.append)
        with few_certificates(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(live_account, "account_hosts_of", lambda url: hosts(desk))
            async with opened_account(given) as client:
                logger.warning("user channel: {}", json.dumps({"error": "invalid", "auth": secrets}))
                desk.answer = lambda body: Answer(400, {"error": f"Invalid api key: {secrets}"})
                venue = PolymarketVenue(client, lambda name: market(), WindowClock())
                with pytest.raises(VenueUnavailable) as caught:
                    await venue.place(approved(an_intent()), NOW)
    assert "Invalid api key" in str(caught.value)
    assert [secret for secret in secrets.values() if secret in "".join(lines) + str(caught.value)] == []


async def test_a_desk_that_knows_the_key_still_gives_an_account():
    async with a_desk() as desk, an_account(desk) as client:
        assert client.credentials == CREDENTIALS
        assert hosts(desk).clob == desk.url


def test_the_one_message_that_a_verb_ends_with_does_not_show_them(monkeypatch, capsys):
    def fails(words: object) -> None:
        raise NoAccount(f"the venue says: {PRIVATE_KEY} is no key")

    hide([PRIVATE_KEY])
    monkeypatch.setattr(cli, "application", fails)
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().err
    assert "is no key" in shown
    assert not shows(shown)
