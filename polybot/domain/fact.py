"""What every fact has (events.py)."""

import msgspec

from polybot.domain.ids import AgentId
from polybot.domain.units import Millis


class Fact(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="fact"):
    """Base of all that is journaled. `at` is the floor's time of it, UTC milliseconds (the tape's, on a tape)."""

    at: Millis


class AgentFact(Fact, frozen=True, kw_only=True):
    agent: AgentId
