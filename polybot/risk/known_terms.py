"""Which terms this version knows how to trade under. It does not guess at others: such a market is left alone. Pure."""

from polybot.domain.fees import FeeSchedule
from polybot.domain.market import UNKNOWN_TERMS, Market
from polybot.domain.units import format_units

RULE_SETS = frozenset(
    (
        "chainlink-spot",
        "chainlink-twap30-2026-08-07",
        "chainlink-twap60-2026-08-07",
        "chainlink-twap60-2026-08-14",
    )
)
"""Settlement rules (polymarket.md 5.2); the database has the same (migrations/0003_proof.sql)."""
VERSIONS = frozenset(("v1", "v2"))
"""Protocol versions whose token ids are known (polymarket.md 1.4)."""
FEE_EXPONENTS = frozenset((1, 2))
FEE_RATE_MAX = 250_000
"""A schedule's numbers come from the market, so any rate up to the highest there ever was is taken as it is: 0.25 with
exponent 2, from January 2026 (polymarket.md 5.5). Beyond that, or another formula, somebody should look first."""


def knows_rules(market: Market) -> bool:
    return market.rule_set in RULE_SETS and market.version in VERSIONS


def knows_fees(fees: FeeSchedule) -> bool:
    return fees.taker_only and fees.exponent in FEE_EXPONENTS and fees.rate <= FEE_RATE_MAX


def unknown_terms(market: Market) -> list[str]:
    """What of a market's terms this version does not know, readable; empty where all of it is known."""
    found = []
    if market.rule_set.startswith(UNKNOWN_TERMS):
        found.append(f"terms: {market.rule_set.removeprefix(UNKNOWN_TERMS)}")
    elif market.rule_set not in RULE_SETS:
        found.append(f"settlement rule {market.rule_set!r}")
    if market.version not in VERSIONS:
        found.append(f"protocol version {market.version!r}")
    if not knows_fees(market.fees):
        found.append(f"fee schedule {_fee_text(market.fees)}")
    return found


def changed_terms(was: Market, now: Market) -> list[str]:
    """What differs between two listings of a market, readable, each as `name: old -> new`."""
    found = []
    for name in Market.__struct_fields__:
        old, new = getattr(was, name), getattr(now, name)
        if old != new:
            found.append(f"{name}: {_text(name, old)} -> {_text(name, new)}")
    return found


def _text(name: str, value: object) -> str:
    if isinstance(value, FeeSchedule):
        return _fee_text(value)
    return format_units(value) if name in ("tick", "size_min") and isinstance(value, int) else str(value)


def _fee_text(fees: FeeSchedule) -> str:
    who = "takers" if fees.taker_only else "makers too"
    return f"{format_units(fees.rate)}^{fees.exponent} ({who}, rebate {format_units(fees.rebate_rate)})"
