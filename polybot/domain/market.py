"""One binary market: two outcomes, one window, and the terms the venue serves with it."""

import enum

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.units import UNIT, Millis, Price, Shares

UNKNOWN_TERMS = "unknown: "
"""A rule set that begins so says which of the market's terms nobody here understands: it is listed, never traded."""


class Outcome(enum.IntEnum):
    """The venue lists them in this order (polymarket.md 5.1)."""

    UP = 0
    DOWN = 1

    @property
    def other(self) -> "Outcome":
        return OTHER_OUTCOME[self]


OTHER_OUTCOME = {Outcome.UP: Outcome.DOWN, Outcome.DOWN: Outcome.UP}


class Side(enum.StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A market's terms as served. Times in UTC milliseconds, `tick` in millionths, `size_min` in millionths of a share.

    `taker_delay_ms` is the venue's hold on marketable orders (polymarket.md 5.6). `rule_set` names the settlement rule,
    so that results under different rules are never mixed. `quoted` says which tokens a recording carries: with one
    only, the other is its mirror image.
    """

    id: MarketId
    condition_id: ConditionId
    series: SeriesId
    asset: str
    window_start: Millis
    window_end: Millis
    tick: Price
    size_min: Shares
    fees: FeeSchedule
    taker_delay_ms: int
    rule_set: str
    version: str = "v1"
    tokens: tuple[TokenId, TokenId] | None = None
    quoted: tuple[Outcome, ...] = (Outcome.UP, Outcome.DOWN)

    def __post_init__(self) -> None:
        if self.window_end <= self.window_start:
            raise BadInput(f"{self.id}: the window ends at {self.window_end}, before it starts at {self.window_start}")
        if self.tick <= 0 or UNIT % self.tick:
            raise BadInput(f"{self.id}: tick {self.tick} millionths does not divide 1")
        if not self.quoted:
            raise BadInput(f"{self.id}: a market without a quoted outcome has no book")
