"""Who we are at the venue by the settings; and the cancelling of everything we have there, where there is no floor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from polybot.clock import Clock, SystemClock
from polybot.domain.errors import BadInput, PolybotError
from polybot.live_settings import SecretUnreadable, account_troubles, secret_of
from polybot.log import hide
from polybot.settings import Settings
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.client_check import check_client
from polybot.venue.polymarket.keys import Credentials, Hosts, Keys
from polybot.venue.polymarket.live import cancel_everything, open_account
from polybot.venue.polymarket.loopback import account_hosts_of

if TYPE_CHECKING:
    from polybot.venue.polymarket.client import AccountClient

OPEN_S_MAX = 30.0
CANCEL_S_MAX = 120.0


class NoAccount(PolybotError):
    """The account cannot be opened, or what was asked of it not be done; the text says why."""


def account_hosts(settings: Settings) -> Hosts:
    """The venue's own, or one loopback exchange that stands in for all of them (docs/exchange.md)."""
    return account_hosts_of(settings.exchange) if settings.exchange else Hosts()


def hosts_with_node(settings: Settings) -> Hosts:
    """The same with the owner's own node, for whoever asks the chain. Raises SecretUnreadable."""
    node, hosts = secret_of(settings, "rpc_url"), account_hosts(settings)
    return msgspec.structs.replace(hosts, rpc=node) if node else hosts


def account_keys(settings: Settings) -> Keys | None:
    """None where there is no private key. Raises BadInput for a secret that cannot be used."""
    troubles = account_troubles(settings)
    if troubles:
        raise BadInput("\n".join(troubles))
    private_key = secret_of(settings, "private_key")
    if private_key is None:
        return None
    return Keys(
        private_key=private_key if private_key.startswith("0x") else f"0x{private_key}",
        wallet=settings.wallet,
        credentials=price_key(settings),
        relayer_key=secret_of(settings, "relayer_key") or "",
        relayer_address=settings.relayer_address or "",
    )


def price_key(settings: Settings) -> Credentials | None:
    """The API key that was given, which PolyBolt wants, too. None: an account derives its own. Raises BadInput."""
    try:
        key, secret, passphrase = (secret_of(settings, name) for name in ("api_key", "api_secret", "api_passphrase"))
    except SecretUnreadable as error:
        raise BadInput(str(error)) from None
    if key is None or secret is None or passphrase is None:
        return None
    return Credentials(key=key, secret=secret, passphrase=passphrase)


@asynccontextmanager
async def opened_account(settings: Settings, clock: Clock | None = None) -> AsyncIterator["AccountClient"]:
    """Open, and close afterwards. Raises BadInput, ClientMismatch, NoAccount."""
    keys = _required(settings)
    rejections = _rejections()
    try:
        async with asyncio.timeout(OPEN_S_MAX):
            client = await open_account(keys, hosts_with_node(settings), clock or SystemClock())
    except TimeoutError as error:
        raise NoAccount(f"the account was not opened within {OPEN_S_MAX:g} s") from error
    except rejections as error:
        raise NoAccount(str(error)) from error
    derived = client.credentials
    hide((derived.key, derived.secret, derived.passphrase))  # the venue may say them back to us
    try:
        yield client
    finally:
        await client.close()


async def cancel_account(settings: Settings) -> None:
    """Cancel every open order of the account, whoever placed it. Raises BadInput, ClientMismatch, NoAccount where some
    may still be open."""
    keys = _required(settings)
    rejections = _rejections()
    try:
        async with asyncio.timeout(CANCEL_S_MAX):
            left = await cancel_everything(keys, hosts_with_node(settings), SystemClock())
    except TimeoutError as error:
        raise NoAccount(f"orders may still be open: not all were cancelled within {CANCEL_S_MAX:g} s") from error
    except rejections as error:
        raise NoAccount(f"orders may still be open: {error}") from error
    if left:
        raise NoAccount(f"{len(left)} orders are still open: {', '.join(left[:5])}")


def _required(settings: Settings) -> Keys:
    keys = account_keys(settings)
    if keys is None:
        raise BadInput("no private key is set: POLYBOT_PRIVATE_KEY_FILE names the file it stands in")
    return keys


def _rejections() -> tuple[type[Exception], ...]:
    """What the venue's saying no, or nothing, is raised as. Raises ClientMismatch."""
    check_client()
    from polybot.venue.polymarket.client_errors import VenueRejected  # noqa: PLC0415 - a second of imports, where it is needed

    return VenueUnavailable, VenueBusy, VenueRejected
