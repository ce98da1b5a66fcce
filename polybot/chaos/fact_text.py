"""A fact in one line for people, as a failing seed's last events show it."""

import re
from enum import Enum

import msgspec

from polybot.domain.events import AnyFact, IntentRecorded, MarketOpened
from polybot.domain.market import Market
from polybot.domain.order import OrderIntent
from polybot.domain.units import format_units

MILLIONTHS = frozenset(
    (
        *("available", "capital", "cost", "desk_cash", "fee", "fees", "moved", "payout", "payout_up", "pnl"),
        *("price", "rebate_basis", "recomputed_cash", "shares"),
    )
)
"""Fields of facts that are money, prices or shares; each is shown in whole units."""
SHOWN_ELSEWHERE = frozenset(("at", "agent"))
WORD = re.compile(r"(?<!^)(?=[A-Z])")


def fact_text(fact: AnyFact) -> str:
    """`momentum: fill matched, order momentum-000007, price 0.52, ...`; what is empty is left out."""
    who = getattr(fact, "agent", None)
    kind = WORD.sub(" ", type(fact).__name__).lower()
    if isinstance(fact, IntentRecorded):
        told = _intent(fact.intent)
    elif isinstance(fact, MarketOpened):
        told = _market(fact.market)
    else:
        told = [_field(name, getattr(fact, name)) for name in fact.__struct_fields__ if name not in SHOWN_ELSEWHERE]
    return ", ".join([f"{who}: {kind}" if who else kind, *filter(None, told)])


def _intent(intent: OrderIntent) -> list[str]:
    """The order, and the book it was decided on."""
    proof = intent.proof
    terms = f"{intent.time_in_force}{' post-only' if intent.post_only else ''}"
    what = f"{intent.side.lower()} {_units(intent.shares)} {intent.outcome.name}"
    return [
        f"order {intent.id}",
        f"{what} at {_units(intent.limit)} or better {terms}",
        f"cost at most {_units(intent.cost_max)}",
        str(intent.market),
        f"book {proof.book_state}, {proof.book_age_ms} ms old, {_units(proof.best_bid)} / {_units(proof.best_ask)}",
        f"decided at {intent.decided_at}",
    ]


def _market(market: Market) -> list[str]:
    terms = [f"tick {_units(market.tick)}", f"taker delay {market.taker_delay_ms} ms", f"rules {market.rule_set}"]
    return [str(market.id), *terms, f"fee rate {_units(market.fees.rate)}"]


def _field(name: str, value: object) -> str:
    if value is None or value == "" or isinstance(value, dict | msgspec.Struct):
        return ""
    label = name.replace("_", " ")
    if name in MILLIONTHS and isinstance(value, int):
        return f"{label} {_units(value)}"
    if isinstance(value, list):
        return f"{label} {'; '.join(map(str, value))}" if value else ""
    if isinstance(value, float):
        return f"{label} {value:.6g}"
    return f"{label} {value.name if isinstance(value, Enum) else value}"


def _units(value: int | None) -> str:
    return "none" if value is None else format_units(value)
