"""Whether the venue lets this wallet trade from here at all: asked at the start, and every ten minutes.

A machine that has moved, or a wallet that was limited, would else be told so by its next order.
"""

import asyncio

from loguru import logger

from polybot.clock import Clock
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.geoblock import ask_geoblock
from polybot.venue.polymarket.standing import Standing

EVERY_S = 600.0
AGAIN_S = 30.0
ASKING_S_MAX = 30.0
"""An answer that comes in drops has no end: the client's own limits begin anew with each."""
CLOSE_ONLY = "the venue lets this wallet only close positions"


class PermissionWatch:
    """Run `run()` as a task; a refusal stops the standing, until a person has seen to it."""

    def __init__(self, client: AccountClient, standing: Standing, geoblock_url: str, clock: Clock) -> None:
        self._client, self._standing, self._url, self._clock = client, standing, geoblock_url, clock
        self.asked_at: float | None = None
        """When the venue last answered both questions, monotonic."""

    async def run(self) -> None:
        """For ever."""
        while True:
            answered = await self.ask()
            await asyncio.sleep(EVERY_S if answered else AGAIN_S)

    async def ask(self) -> bool:
        """True where both questions were answered, whatever the answers."""
        try:
            async with asyncio.timeout(ASKING_S_MAX):
                place = await ask_geoblock(self._url)
                refusal = place.refusal or (CLOSE_ONLY if await self._client.closed_only() else "")
        except (TimeoutError, VenueUnavailable, VenueBusy) as error:
            logger.bind(action="permission").warning("whether we may trade could not be asked: {}", error)
            return False
        self.asked_at = self._clock.monotonic()
        if refusal:
            self._standing.stop(self._clock.now_ms(), refusal)
        return True
