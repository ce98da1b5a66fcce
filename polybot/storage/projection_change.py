"""A change in Postgres as a value, how many of them are arranged into few statements, and how values look there; pure.

Changes with a *key* in common keep their order, and come after the changes of what they *need*; otherwise they may be
gathered by statement, so that a batch of hundreds of facts is a few round trips with the result of one after the other.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from polybot.domain.events import AnyFact, CapitalAllocated, FillMatched, Severity, TradeSettled
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import DECIMALS
from polybot.storage import projection_sql as sql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Change(msgspec.Struct, frozen=True, gc=False):
    """One statement to run. `keys` names what it reads or writes, for instance `order:momentum-000001`.

    `needs` names what must exist before it, such as the agent an order refers to, but is neither read nor written.
    """

    statement: str
    arguments: tuple[Any, ...]
    keys: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """One statement to run once per element of `arguments`, in order."""

    statement: str
    arguments: list[tuple[Any, ...]]


def arrange(changes: Iterable[Change]) -> list[Group]:
    """Gather changes by statement, as early as may be: never before one that shares a key or is needed."""
    groups: list[Group] = []
    places: defaultdict[str, list[int]] = defaultdict(list)  # where each statement has groups, ascending
    touched: dict[str, int] = {}
    for change in changes:
        earliest = max((touched.get(key, 0) for key in (*change.keys, *change.needs)), default=0)
        own = places[change.statement]
        first_fit = bisect_left(own, earliest)
        if first_fit == len(own):
            own.append(len(groups))
            groups.append(Group(change.statement, []))
        index = own[first_fit]
        groups[index].arguments.append(change.arguments)
        touched |= dict.fromkeys(change.keys, index)
    return groups


def event(seq: int, fact: AnyFact, severity: Severity, text: str) -> Change:
    """A row of system_events that follows from another fact; its component is the agent concerned, or the floor."""
    component = getattr(fact, "agent", None) or "floor"
    return Change(sql.ADD_EVENT, (seq, as_moment(fact.at), severity.value, as_text(component), as_text(text)))


def transfer(
    seq: int,
    fact: FillMatched | TradeSettled | CapitalAllocated,
    name: str,
    state: str,
    movements: Sequence[tuple[str, str, int]],
    *,
    keys: tuple[str, ...],
) -> Change:
    """A transfer's movements in one statement, because the database checks that each statement's sum to zero."""
    accounts, assets, amounts = zip(*movements, strict=True)
    arguments = (
        as_text(name),
        seq,
        as_text(fact.agent),
        state,
        as_moment(fact.at),
        list(accounts),
        [as_text(asset) for asset in assets],
        [as_amount(amount) for amount in amounts],
    )
    return Change(sql.ADD_TRANSFER, arguments, keys, (f"agent:{fact.agent}",))


def tokens(market: MarketId, outcome: Outcome) -> str:
    return f"{market}:{Outcome(outcome).name}"


def as_amount(value: int) -> Decimal:
    """Millionths as the decimal they stand for, exactly."""
    return Decimal(value).scaleb(-DECIMALS)


def as_amount_or_none(value: int | None) -> Decimal | None:
    return None if value is None else as_amount(value)


def as_moment(at: int) -> datetime:
    return EPOCH + timedelta(milliseconds=at)


def as_moment_or_none(at: int | None) -> datetime | None:
    return None if at is None else as_moment(at)


def as_text(value: str) -> str:
    """Postgres has no place for the character NUL; the fact itself, in `facts`, keeps it."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value


def as_text_or_none(value: str | None) -> str | None:
    return None if value is None else as_text(value)


def as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
