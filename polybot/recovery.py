"""Start-up is recovery, whatever ended the last run (D7): newest checkpoint, journal rows after it, market data up to
there, and then what the present state calls for. A first start is the same with nothing in any of them.
"""

from collections.abc import Iterable

import msgspec

from polybot.desk.desk import AgentPlan
from polybot.desk.room import RoomState, TradingRoom
from polybot.domain.errors import BadInput
from polybot.domain.events import (
    AnyFact,
    Journaled,
    MarketEvent,
    OrderClosed,
    RunEnded,
    RunStarted,
)
from polybot.domain.order import CloseReason
from polybot.domain.units import Millis, Money
from polybot.floor.board_state import BoardState
from polybot.risk.limits import Limits
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, SimulatorState, new_simulator_state

MEMORY_VERSION = 1
"""Raise it when the form of FloorMemory changes: older checkpoints are then passed over for the journal."""


class FloorMemory(msgspec.Struct, kw_only=True):
    """The floor's whole state at one fact: what a checkpoint holds."""

    seq: int = 0
    room: RoomState
    venue: SimulatorState
    board: BoardState
    source: str = ""
    finished: bool = False

    def take(self, entry: Journaled) -> None:
        """Follow one more fact (the room and the venue follow by themselves)."""
        self.seq = entry.seq
        self.board.apply(entry.fact)
        if isinstance(entry.fact, RunStarted):
            self.source, self.finished = entry.fact.source, False
        elif isinstance(entry.fact, RunEnded):
            self.finished = entry.fact.finished


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """A floor as it was: the last fact it knows is `memory.seq`, the last market event number `room.state.position`.

    `now` is the latest time it has seen, UTC milliseconds.
    """

    room: TradingRoom
    venue: Simulator
    memory: FloorMemory
    facts_read: int
    now: Millis


def encode_memory(memory: FloorMemory) -> bytes:
    return msgspec.msgpack.encode(memory)


def decode_memory(data: bytes) -> FloorMemory:
    """Raises BadInput if it is not what this version writes; the journal then has it all."""
    try:
        return msgspec.msgpack.decode(data, type=FloorMemory)
    except msgspec.MsgspecError as error:
        raise BadInput(f"the checkpoint is not of this version ({error}); it is rebuilt from the journal") from error


def new_memory(capital: Money) -> FloorMemory:
    return FloorMemory(room=RoomState(), venue=new_simulator_state(capital), board=BoardState())


def recover(
    memory: FloorMemory,
    later: Iterable[Journaled],
    market_events: Iterable[MarketEvent],
    plans: list[AgentPlan],
    limits: Limits,
    model: VenueModel,
) -> Recovered:
    """Fold the facts after the checkpoint over it, and bring the markets to where they were.

    `market_events` starts at the first event; only as many as had been applied are taken from it.
    """
    room = TradingRoom(plans, limits, memory.room)
    facts: list[AnyFact] = []
    now = memory.board.performance.last_at
    for entry in later:
        room.state.position = max(room.state.position, entry.position)
        room.apply(entry.fact)
        memory.take(entry)
        facts.append(entry.fact)
        now = max(now, entry.fact.at)
    for _, event in zip(range(room.state.position), market_events, strict=False):
        room.markets.apply(event)
        now = max(now, event.received)
    venue = Simulator(model, room.markets.by_id, memory.venue)
    for fact in facts:
        venue.restore(fact)
    return Recovered(room=room, venue=venue, memory=memory, facts_read=len(facts), now=now)


def unanswered(room: TradingRoom, venue: Simulator, now: Millis) -> list[OrderClosed]:
    """Orders the desks have open and the venue does not know: they never reached it, or it lost them with us.

    The intent was journaled before sending (D8), so nothing is sent again; the order is closed and its cash is free.
    """
    return [
        OrderClosed(at=now, agent=desk.agent, order=order, reason=CloseReason.NEVER_SENT)
        for desk in room.desks.values()
        for order in desk.state.orders
        if not venue.knows(order)
    ]
