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
    RunEnded,
    RunStarted,
)
from polybot.domain.units import Millis, Money
from polybot.floor.board_state import BoardState
from polybot.risk.audit_memory import AuditMemory
from polybot.risk.limits import Limits
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, SimulatorState, new_simulator_state

MEMORY_VERSION = 4
"""Raise it when the form of FloorMemory changes: older checkpoints are then passed over for the journal."""


class FloorMemory(msgspec.Struct, kw_only=True):
    """The floor's whole state at one fact: what a checkpoint holds."""

    seq: int = 0
    room: RoomState
    venue: SimulatorState
    board: BoardState
    source: str = ""
    finished: bool = False
    audit: AuditMemory = msgspec.field(default_factory=AuditMemory)

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

    `later` are the facts that are not in the checkpoint; `now` the latest time it has seen, UTC milliseconds.
    """

    room: TradingRoom
    memory: FloorMemory
    later: list[AnyFact]
    now: Millis

    def paper_venue(self, model: VenueModel) -> Simulator:
        """The paper venue as it was: its memory in the checkpoint, and what the facts after it tell."""
        venue = Simulator(model, self.room.markets.by_id, self.memory.venue)
        for fact in self.later:
            venue.restore(fact)
        return venue


def encode_memory(memory: FloorMemory) -> bytes:
    return msgspec.msgpack.encode(memory)


def decode_memory(data: bytes) -> FloorMemory:
    """Raises BadInput if it is not what this version writes; the journal then has it all."""
    try:
        return msgspec.msgpack.decode(data, type=FloorMemory)
    except msgspec.MsgspecError as error:
        raise BadInput(f"the checkpoint is not of this version ({error}); it is rebuilt from the journal") from error


def encode_audit(memory: AuditMemory) -> bytes:
    return msgspec.msgpack.encode(memory)


def decode_audit(data: bytes, limits: Limits) -> AuditMemory:
    """The auditor's books, to be judged by the limits as they are set now."""
    memory = msgspec.msgpack.decode(data, type=AuditMemory)
    memory.books.limits = limits
    return memory


def new_memory(capital: Money) -> FloorMemory:
    return FloorMemory(room=RoomState(), venue=new_simulator_state(capital), board=BoardState())


def recover(
    memory: FloorMemory,
    later: Iterable[Journaled],
    market_events: Iterable[MarketEvent],
    plans: list[AgentPlan],
    limits: Limits,
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
    return Recovered(room=room, memory=memory, later=facts, now=now)
