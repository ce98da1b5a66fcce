"""`polybot doctor`: everything that trading needs, looked at before it trades. Part of app.py."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from polybot.clock import Clock, SystemClock
from polybot.doctor.findings import Finding, failed, skipped
from polybot.doctor.here import examine_here
from polybot.doctor.market import examine_market_data
from polybot.doctor.venue import UNREACHABLE, examine_account, examine_clock, examine_geoblock
from polybot.domain.errors import BadInput
from polybot.live import steady_clock
from polybot.settings import Settings
from polybot.venue.polymarket.client_check import ClientMismatch, check_client

if TYPE_CHECKING:
    from polybot.venue.polymarket.client import AccountClient

OF_THE_VENUE = ("clock", "geoblock", "api key", "wallet", "windows", "books", "prices")


async def preflight(
    settings: Settings, *, clock: Clock | None = None, client: "AccountClient | None" = None, at_start: bool = False
) -> list[Finding]:
    """One finding for each check, in order. Live mode asks `at_start` with its own clock and account, and does not
    trade when one failed (findings.require_passed). Nothing is changed anywhere, but for an API key that is derived,
    and a deposit wallet that the relayer makes where the key has none yet.
    """
    here = asyncio.create_task(examine_here(settings, at_start=at_start))
    away = await _examine_venue(settings, clock, client)
    return [*await here, *away]


async def _examine_venue(settings: Settings, clock: Clock | None, client: "AccountClient | None") -> list[Finding]:
    if settings.source == "tape" and settings.mode != "live":
        return [skipped(check, "nothing at the venue is used: POLYBOT_SOURCE is tape") for check in OF_THE_VENUE]
    try:
        clock = clock or (await steady_clock(settings) if settings.exchange else SystemClock())
    except BadInput as error:
        nobody = [skipped(check, "no exchange answers") for check in OF_THE_VENUE if check != "clock"]
        return [failed("clock", str(error), UNREACHABLE), *nobody]
    if client is None and (settings.private_key or settings.private_key_file):
        with suppress(ClientMismatch):  # which is told where the account is opened
            await asyncio.to_thread(check_client)  # a second of imports: every answer waited for would be late
    clock_finding, geoblock, account, market = await asyncio.gather(
        examine_clock(settings, clock),
        examine_geoblock(settings),
        examine_account(settings, clock, client),
        examine_market_data(settings, clock),
    )
    return [clock_finding, geoblock, *account, *market]
