"""The paper venue's assumptions about chance: how long a message takes, and which fills come undone. Pure and seeded.

Each draw is made from the seed and the order's own id, so that it does not depend on what else was drawn before it.
"""

import math
from hashlib import blake2b
from statistics import NormalDist

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.ids import FillId, OrderId

NORMAL = NormalDist()


class VenueModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency in milliseconds, log-normal around the median; `latency_spread` is the standard deviation of its log.

    The default median of 84 ms is one third party's measurement from the US (polymarket.md 3.4); measure your own.
    `confirm_ms` is the time from match to on-chain confirmation (a block is 1.5 s, polymarket.md 2.3).
    `ghost_fill_share` (0..1) is the share of matched fills that fail on chain; reports go up to 0.35 (evidence.md 1.3).
    """

    seed: int = 1
    latency_median_ms: int = 84
    latency_spread: float = 0.35
    latency_ms_max: int = 5_000
    confirm_ms: int = 3_000
    ghost_fill_share: float = 0.0
    book_age_ms_max: int = 30_000
    """Liquidity the recording has not spoken about for longer is not there to be taken."""

    def __post_init__(self) -> None:
        if self.latency_median_ms < 1 or self.latency_spread < 0 or self.confirm_ms < 1:
            raise BadInput("latency_median_ms and confirm_ms are at least 1, latency_spread at least 0")
        if not 0 <= self.ghost_fill_share <= 1:
            raise BadInput(f"ghost_fill_share is a share between 0 and 1, not {self.ghost_fill_share}")

    def latency_ms(self, order: OrderId, leg: str) -> int:
        """From the decision to the venue's door; `leg` tells placing from cancelling."""
        normal = NORMAL.inv_cdf(self._draw(leg, order))
        drawn = self.latency_median_ms * math.exp(self.latency_spread * normal)
        return min(max(1, round(drawn)), self.latency_ms_max)

    def fails_on_chain(self, fill: FillId) -> bool:
        """Whether this fill will be undone instead of confirmed."""
        return self.ghost_fill_share > 0 and self._draw("ghost", fill) < self.ghost_fill_share

    def finality_ms(self, fill: FillId) -> int:
        """How long after its match this fill is confirmed or fails."""
        return self.confirm_ms

    def _draw(self, what: str, subject: str) -> float:
        """A number strictly between 0 and 1, even, and the same for the same seed, question and subject everywhere."""
        digest = blake2b(f"{self.seed}/{what}/{subject}".encode(), digest_size=6).digest()
        return (int.from_bytes(digest, "big") + 0.5) / 2**48
