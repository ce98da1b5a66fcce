"""The owner's limits (R13, R14) as numbers with their units; every one is a setting."""

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import UNIT
from polybot.risk.ramp import RampPlan

HOUR_MS = 3_600_000
BOOK_AGE_MS_CEILING = 60_000
"""No setting lets an older book be traded on; the database refuses such a trade, too (migrations/0003_proof.sql)."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of capital are in millionths: 20_000 is 2 %. Capital is what was put in, or settled equity if lower."""

    order_capital_share: int = 20_000
    """At most this much in one order, fee included."""
    agent_capital_share: int = 100_000
    """At most this much deployed by one agent: open orders and unsettled positions."""
    floor_capital_share: int = 400_000
    """At most this much deployed by all agents together."""
    daily_loss_share: int = 100_000
    """Settled losses since midnight UTC that pause the floor until the next."""
    daily_drawdown_share: int = 150_000
    """Fall from the day's highest settled equity that pauses the floor until the next midnight UTC."""
    loss_streak_max: int = 5
    """Settled losses in a row that pause the agent."""
    loss_streak_pause_ms: int = HOUR_MS
    """For how long a losing streak pauses the agent."""
    call_failure_share_max: int = 100_000
    """Share of failed venue calls above which trading pauses."""
    call_failure_calls_min: int = 20
    """Fewer venue calls than this within the window are too few to judge."""
    call_failure_window_ms: int = 300_000
    """How far back venue calls are counted; such a pause lasts until the venue answers again."""
    book_age_ms_max: int = 5_000
    """A book that was last known to be the venue's longer ago is stale; BOOK_AGE_MS_CEILING at most."""
    book_unchanged_ms_max: int = 60_000
    """A book of an open window whose last change is longer ago is not believed, however often it is said again.

    Recorded in-window messages (BTC, 2026-04-14: 70,481) were 40 ms apart in the median and never more than 9.9 s.
    """
    entry_cutoff_ms: int = 5_000
    """No new order this close to the end of a window."""
    marketable_notional_min: int = UNIT
    """The venue's minimum for a marketable buy, in millionths of a pUSD (polymarket.md 5.4)."""
    ramp: RampPlan | None = None
    """With real money: what one order may cost until more has been shown. None: no such limit."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in self.__struct_fields__ if "_share" in name}
        for name, share in shares.items():
            if not 0 < share <= UNIT:
                raise BadInput(f"limit {name} is a share of capital between 0 and 1, not {share / UNIT}")
        if not self.order_capital_share <= self.agent_capital_share <= self.floor_capital_share:
            raise BadInput("limits must widen: one order <= one agent <= the whole floor")
        counts = (self.loss_streak_max, self.call_failure_calls_min, self.book_age_ms_max, self.book_unchanged_ms_max)
        if min(counts) < 1:
            raise BadInput(
                "loss_streak_max, call_failure_calls_min, book_age_ms_max and book_unchanged_ms_max are at least 1"
            )
        if self.book_age_ms_max > BOOK_AGE_MS_CEILING:
            raise BadInput(f"book_age_ms_max is at most {BOOK_AGE_MS_CEILING}: an older book is nothing to trade on")
