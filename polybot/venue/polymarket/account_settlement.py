"""What of the shares on chain is worth turning into pUSD, and in which batches. Pure.

A resolved market's winners are redeemed, an open market's complete sets (as many Up as Down) are merged: both are
worth exactly one pUSD a share. Losers are left where they are, and so is dust, which is told.
"""

import enum
from collections.abc import Iterable, Sequence

import msgspec

from polybot.domain.ids import ConditionId
from polybot.domain.units import UNIT, Millis, Money, Shares
from polybot.venue.polymarket.account_values import PositionSeen

CALLS_MAX = 15
"""In one transaction: the relayer takes 25 submissions a minute, whatever is in them (polymarket.md 7)."""
DUST = Money(10_000)
"""A cent: less is not worth a transaction of its own."""
MERGE_MIN = Shares(UNIT)
V2_RESERVED = ((1 << 64) - 1) << 40
"""Bits that are zero in a position id of protocol v2, and not all zero in a token id of v1 (polymarket.md 1.4)."""


class ClaimKind(enum.StrEnum):
    REDEEM = "redeem"
    MERGE = "merge"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One market's shares to be turned into `worth` pUSD; `shares` are Up and Down, equal where they are merged."""

    kind: ClaimKind
    condition: ConditionId
    version: str
    shares: tuple[Shares, Shares]
    worth: Money


class SettlementPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`claims` by worth, the dearest first; `dust` is what is left lying, `lost` how many losing shares."""

    claims: tuple[Claim, ...] = ()
    dust: Money = Money(0)
    lost: Shares = Shares(0)


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Claims that one confirmed transaction has turned into pUSD."""

    at: Millis
    transaction: str
    claims: tuple[Claim, ...]

    @property
    def worth(self) -> Money:
        return Money(sum(claim.worth for claim in self.claims))


def plan_settlement(positions: Iterable[PositionSeen]) -> SettlementPlan:
    """Positions may be listed under more than one status: each token counts once.

    What its owner holds of other events is his to settle: the contracts called here would take none of it, and a
    transaction that pays nothing is confirmed like any other.
    """
    by_condition: dict[ConditionId, list[PositionSeen]] = {}
    for position in {position.token: position for position in positions}.values():
        if position.shares > 0 and position.outcome in (0, 1) and not position.neg_risk:
            by_condition.setdefault(position.condition, []).append(position)
    claims: list[Claim] = []
    dust, lost = 0, 0
    for condition, held in by_condition.items():
        claim = _claim(condition, held)
        if claim is not None and claim.worth >= DUST:
            claims.append(claim)
        elif claim is not None:
            dust += claim.worth
        if all(position.redeemable for position in held):
            lost += sum(position.shares for position in held if not position.value)
    claims.sort(key=lambda claim: (-claim.worth, claim.condition))
    return SettlementPlan(claims=tuple(claims), dust=Money(dust), lost=Shares(lost))


def batches(claims: Sequence[Claim], size: int = CALLS_MAX) -> list[tuple[Claim, ...]]:
    return [tuple(claims[start : start + size]) for start in range(0, len(claims), size)]


def version_of(token: str) -> str:
    """Which protocol a token id belongs to, by the id alone."""
    return "v2" if token.isdecimal() and not int(token) & V2_RESERVED else "v1"


def _claim(condition: ConditionId, held: list[PositionSeen]) -> Claim | None:
    """None where there is nothing to be had now."""
    up, down = (Shares(sum(one.shares for one in held if one.outcome == outcome)) for outcome in (0, 1))
    version = version_of(held[0].token)
    if all(position.redeemable for position in held):
        worth = Money(sum(position.value for position in held))
        if not worth:
            return None
        return Claim(kind=ClaimKind.REDEEM, condition=condition, version=version, shares=(up, down), worth=worth)
    sets = Shares(min(up, down))
    if sets < MERGE_MIN:
        return None
    return Claim(kind=ClaimKind.MERGE, condition=condition, version=version, shares=(sets, sets), worth=Money(sets))
