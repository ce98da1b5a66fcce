"""Opens an account at the venue, or cancels all its orders: what live mode imports, cheaply, before the client."""

import asyncio
from typing import TYPE_CHECKING

from polybot.clock import Clock
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.client_check import check_client
from polybot.venue.polymarket.keys import Hosts, Keys

if TYPE_CHECKING:
    from polybot.venue.polymarket.client import AccountClient


async def open_account(keys: Keys, hosts: Hosts, clock: Clock) -> "AccountClient":
    """Check the installed client, import it, derive the API key. Raises ClientMismatch, and what `open_client` does."""
    check_client()
    from polybot.venue.polymarket.client import open_client  # noqa: PLC0415 - a second of imports, in live mode only

    return await open_client(keys, hosts, clock)


CANCEL_TRIES = 10
CANCEL_AGAIN_S = 1.0


async def cancel_everything(keys: Keys, hosts: Hosts, clock: Clock, again_s: float = CANCEL_AGAIN_S) -> list[str]:
    """`cancel_all_of` an account that nobody has open, floor or no floor."""
    account = await open_account(keys, hosts, clock)
    try:
        return await cancel_all_of(account, again_s)
    finally:
        await account.close()


async def cancel_all_of(account: "AccountClient", again_s: float = CANCEL_AGAIN_S) -> list[str]:
    """Every open order of the account, whoever placed it; what is still open after all tries.

    An order in its taker delay, or an engine that restarts, cannot be cancelled yet: it is tried again for some time.
    Raises VenueUnavailable, VenueBusy where the venue never answered.
    """
    for attempt in range(1, CANCEL_TRIES + 1):
        try:
            await account.cancel_all()
            left = [order.hash for order in await account.open_orders()]
        except (VenueUnavailable, VenueBusy):
            if attempt == CANCEL_TRIES:
                raise
        else:
            if not left or attempt == CANCEL_TRIES:
                return left
        await asyncio.sleep(again_s)
    return []
