"""Whether the venue lets this machine's address trade (polymarket.md 6.8): asked at the start, and now and then."""

import msgspec

from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.rest import Rest
from polybot.venue.polymarket.wire import UNREADABLE, excerpt

CLOSE_ONLY = frozenset(
    "AU BY BE BI BR CF CD ET FR DE IQ IT LB LY MM NZ NI PL RU SG SO SK SS SD TW TH GB US UM VE YE ZW".split()
)
BLOCKED = frozenset("IR SY CU KP".split())
CLOSE_ONLY_REGIONS = frozenset(("CA-BC", "CA-ON", "CA-AB", "CA-QC"))
"""As of August 2026. The venue's own `blocked` counts first; these only name what it says no to."""


class Geoblock(msgspec.Struct, frozen=True, kw_only=True):
    """The venue's answer about the address a request came from."""

    blocked: bool
    ip: str = ""
    country: str = ""
    region: str = ""

    @property
    def refusal(self) -> str:
        """Why no order would be taken, "" where nothing is known against it."""
        place = f"{self.country}-{self.region}" if self.region else self.country
        if self.blocked:
            return f"the venue blocks orders from {place or 'here'} (address {self.ip})"
        if self.country in BLOCKED | CLOSE_ONLY or place in CLOSE_ONLY_REGIONS:
            return f"the venue only lets positions be closed from {place} (address {self.ip})"
        return ""


async def ask_geoblock(url: str) -> Geoblock:
    """Raises VenueUnavailable, VenueBusy."""
    base, _, path = url.rpartition("/")
    rest = Rest(base)
    try:
        body = await rest.get(f"/{path}")
    finally:
        await rest.close()
    if body is None:
        raise VenueUnavailable(f"no geoblock answer at {url}")
    try:
        return msgspec.json.decode(body, type=Geoblock)
    except UNREADABLE as error:
        raise VenueUnavailable(f"geoblock: {error}: {excerpt(body)}") from error
