"""What befalls a rehearsal, drawn from a seed: which fault comes when, and how long it lasts. Pure.

Every kind comes once, in an order of its own, before any comes again.
"""

import enum
import random
from collections.abc import Iterator

import msgspec


class Kind(enum.StrEnum):
    ANSWER_LOST = "order taken, answer lost"
    ORDER_CUT = "order cut before it arrived"
    ORDER_FAILED = "order answered with 500"
    ORDER_LATE = "order answered late"
    TOO_MANY = "order answered with 429"
    LOOK_UPS_FAIL = "look-ups answered with 500"
    READS_FAIL = "trades and balances answered with 500"
    CANCELS_FAIL = "cancels cut after they were done"
    RESTART = "restart: 425, then post-only"
    MARKET_FROZEN = "market channel frozen"
    MARKET_CUT = "market channel cut"
    USER_FROZEN = "user channel frozen"
    USER_CUT = "user channel cut"
    LATE_FILLS = "trades mined late"
    RELAYER_DOWN = "relayer away"
    RELAYER_FAILS = "relayed transactions fail"
    CATALOG_FAILS = "catalogue answered with 500"
    KILL = "floor killed with -9"


LASTS_S = {
    Kind.RESTART: (2.0, 8.0),
    Kind.MARKET_FROZEN: (1.0, 6.0),
    Kind.USER_FROZEN: (1.0, 6.0),
    Kind.LATE_FILLS: (3.0, 10.0),
    Kind.RELAYER_DOWN: (2.0, 30.0),
    Kind.KILL: (0.0, 3.0),
}
"""Machine seconds. A restart's are those of its post-only mode, a kill's until the floor is started again."""
TIMES = {
    Kind.ANSWER_LOST: 3,
    Kind.ORDER_CUT: 3,
    Kind.ORDER_FAILED: 3,
    Kind.ORDER_LATE: 3,
    Kind.TOO_MANY: 3,
    Kind.LOOK_UPS_FAIL: 6,
    Kind.READS_FAIL: 6,
    Kind.CANCELS_FAIL: 2,
    Kind.RELAYER_FAILS: 2,
    Kind.CATALOG_FAILS: 6,
}
"""How many requests it concerns at most."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """`after_s` machine seconds after the one before has begun; `lasts_s` until it is undone; `times` requests."""

    kind: Kind
    after_s: float
    lasts_s: float = 0.0
    times: int = 1


def plan_deeds(seed: int, gap_s: float) -> Iterator[Deed]:
    """Without end, `gap_s` seconds apart in the mean."""
    chance = random.Random(seed)
    while True:
        kinds = list(Kind)
        chance.shuffle(kinds)
        for kind in kinds:
            yield Deed(
                kind=kind,
                after_s=chance.uniform(0.5, 1.5) * gap_s,
                lasts_s=min(chance.uniform(*LASTS_S.get(kind, (0.0, 0.0))), 2 * gap_s),
                times=chance.randint(1, TIMES.get(kind, 1)),
            )
