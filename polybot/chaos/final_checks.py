"""What must be true when all is at rest: journal, floor, database and venue tell the same story, row by row."""

from typing import TYPE_CHECKING

from polybot.chaos.invariants import Violated
from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, Journaled, OrderAccepted
from polybot.domain.ids import FillId, MarketId, OrderId
from polybot.storage.journal_file import JournalError

if TYPE_CHECKING:
    from polybot.chaos.process import Process
    from polybot.chaos.seed import Seed

Fills = dict[FillId, str]


def ended_windows(seed: "Seed") -> list[MarketId]:
    """Every window of the world that began and ended while the floor was to trade."""
    end = seed.end_ms
    return [
        window.market.id
        for window in seed.world.listed(seed.world.start_ms, end)
        if window.market.window_start >= seed.world.start_ms and window.market.window_end <= end
    ]


def why_not_at_rest(seed: "Seed", process: "Process") -> Violated | None:
    """What the floor still waits for, as what it will be if it waits for ever; None once it is at rest."""
    house, seen = process.house, seed.invariants
    if house is None:
        return Violated("comes_to_rest", "the floor is not open yet")
    if not seed.exchange.is_quiet:
        return Violated("comes_to_rest", "orders or fills are under way at the venue")
    if seen.open or seen.fills:
        return Violated("comes_to_rest", f"open orders and fills: {', '.join([*seen.open, *seen.fills])}")
    for desk in house.room.desks.values():
        if desk.unproven:
            return Violated("comes_to_rest", f"orders not proven over: {', '.join(desk.unproven)}")
    for market in ended_windows(seed):
        if market not in seen.payouts:
            return Violated("comes_to_rest", f"{market} is not settled")
        missing = [agent for agent in house.room.desks if (agent, market) not in seen.recorded]
        if missing:
            return Violated("window_recorded", f"{market} has no record of {', '.join(missing)}")
    behind = len(seed.disk.rows) - len(seed.database.rows)
    if behind:
        return Violated("store_equal", f"the database is {behind} rows behind")
    return None if house.dispatcher.settled else Violated("comes_to_rest", "facts are on their way")


def require_rest(seed: "Seed", process: "Process") -> None:
    """Compare all books. Raises Violated."""
    _require_chain(seed)
    _require_windows(seed)
    facts = list(seed.disk.read_facts(0))
    _require_same_orders(seed, facts)
    _require_same_money(seed)
    _require_same_database(seed)


def _require_chain(seed: "Seed") -> None:
    seed.disk.proven = 0
    try:
        seed.disk.prove()
    except JournalError as error:
        raise Violated("chain_whole", str(error)) from error


def _require_windows(seed: "Seed") -> None:
    agents = list(seed.invariants.agents)
    wanted = {(agent, market) for market in ended_windows(seed) for agent in agents}
    found = {key for key in seed.invariants.recorded if key[1] in {market for _, market in wanted}}
    if wanted != found:
        raise Violated("window_recorded", f"missing {sorted(wanted - found)}, too many {sorted(found - wanted)}")


def _require_same_orders(seed: "Seed", facts: list[Journaled]) -> None:
    """Order by order: what we booked is what the venue did."""
    ours: dict[OrderId, Fills] = {order: {} for order in seed.invariants.orders}
    accepted: set[OrderId] = set()
    for entry in facts:
        _note(ours, entry.fact)
        if isinstance(entry.fact, OrderAccepted):
            accepted.add(entry.fact.order)
    for order, history in seed.exchange.orders.items():
        theirs: dict[OrderId, Fills] = {order: {}}
        for reply in history.replies:
            _note(theirs, reply)
        if order not in ours:
            raise Violated("books_agree", f"the venue has {order}, and nobody here intended it")
        if ours[order] != theirs[order]:
            raise Violated("books_agree", f"{order}: we have {ours[order]}, the venue has {theirs[order]}")
        if any(isinstance(reply, OrderAccepted) for reply in history.replies) and order not in accepted:
            raise Violated("books_agree", f"the venue took {order}, and we do not know it")
    strangers = [order for order, fills in ours.items() if fills and order not in seed.exchange.orders]
    if strangers:
        raise Violated("books_agree", f"fills of orders the venue never saw: {', '.join(strangers)}")


def _note(orders: dict[OrderId, Fills], fact: object) -> None:
    match fact:
        case FillMatched():
            orders[fact.order][fact.fill] = f"matched {fact.shares} at {fact.price}, fee {fact.fee}"
        case FillConfirmed():
            orders[fact.order][fact.fill] += ", confirmed"
        case FillFailed():
            orders[fact.order][fact.fill] += ", failed"
        case _:
            pass


def _require_same_money(seed: "Seed") -> None:
    ours = sum(fold.posted for fold in seed.invariants.agents.values())
    if ours != seed.exchange.cash or seed.exchange.shares:
        found = f"we have {ours}, the venue has {seed.exchange.cash} and {dict(seed.exchange.shares)}"
        raise Violated("books_agree", found)


def _require_same_database(seed: "Seed") -> None:
    """Row by row. Raises Violated at the first that differs."""
    rows, copy = seed.disk.rows, seed.database.rows
    if len(rows) != len(copy):
        raise Violated("store_equal", f"the journal has {len(rows)} rows, the database {len(copy)}")
    for row, other in zip(rows, copy, strict=True):
        if row != other:
            raise Violated("store_equal", f"row {row.seq} differs: {row} and {other}")
