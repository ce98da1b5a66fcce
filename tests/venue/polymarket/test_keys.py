"""Secrets show nowhere: not printed, not logged, not in a traceback, not in the errors of what uses them."""

import io
import traceback

import pytest
from loguru import logger
from rich.console import Console
from rich.pretty import pretty_repr

from polybot.domain.errors import BadInput
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.keys import Credentials, Hosts, Keys
from polybot.venue.polymarket.live import open_account
from tests.venue.polymarket.desk import CREDENTIALS, Answer, a_desk, a_venue, an_account, hosts
from tests.venue.polymarket.liar import WindowClock
from tests.venue.polymarket.orders import NOW, PRIVATE_KEY, an_intent, approved

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


async def test_a_desk_that_knows_the_key_still_gives_an_account():
    async with a_desk() as desk, an_account(desk) as client:
        assert client.credentials == CREDENTIALS
        assert hosts(desk).clob == desk.url
