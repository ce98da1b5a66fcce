"""The dead man's switch of an API key: its orders go when its heartbeat stops (polymarket.md 6.4). Pure.

Opt-in: a key that never sent one has no protection and loses nothing.
"""

import msgspec

from polybot.domain.units import Millis
from polybot.exchange.core.model import OwnerKey

SILENCE_MS_MAX = 10_000
CHECK_MS = 5_000
"""The venue looks this often, so the orders go 10 to 15 s after the last accepted heartbeat."""


class Beat(msgspec.Struct, frozen=True):
    expected: str
    at: Millis


class Expected(msgspec.Struct, frozen=True):
    """The heartbeat was refused: this id should have been sent. The deadline stands where it stood."""

    heartbeat_id: str


class Heartbeats:
    def __init__(self) -> None:
        self._beats: dict[OwnerKey, Beat] = {}
        self._checked_at = Millis(0)
        self._count = 0

    def beat(self, owner: OwnerKey, heartbeat_id: str, now: Millis) -> str | Expected:
        """Accept a heartbeat and return the next id, or say which id was expected: "" for the first one."""
        known = self._beats.get(owner)
        expected = known.expected if known is not None else ""
        if heartbeat_id != expected:
            return Expected(expected)
        self._count += 1
        following = f"{self._count:08x}-0000-4000-8000-{now & 0xFFFFFFFFFFFF:012x}"
        self._beats[owner] = Beat(following, now)
        return following

    def take_dead(self, now: Millis) -> list[OwnerKey]:
        """Those whose time is up, once every check; they have to start anew, with ""."""
        if now - self._checked_at < CHECK_MS:
            return []
        self._checked_at = now
        dead = [owner for owner, beat in self._beats.items() if now - beat.at > SILENCE_MS_MAX]
        for owner in dead:
            del self._beats[owner]
        return dead
