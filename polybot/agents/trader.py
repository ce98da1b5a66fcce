"""A trader: waits for a market to change, asks its desk, and has the verdicts carried out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from polybot.agents.base import Badge, Heart, Mailbox, Wake
from polybot.desk.desk import Desk, DeskVerdict
from polybot.domain.units import Millis

CarryOut = Callable[[Sequence[DeskVerdict], Millis], Awaitable[None]]
Looked = Callable[[Wake, bool], None]
"""Told of every look, at once, and whether there is a verdict: what a recording needs to do it again (D5b)."""


class Footing(Protocol):
    """Whether what a decision rests on is all taken in (floor/dispatch.py)."""

    @property
    def is_behind(self) -> bool: ...

    async def caught_up(self) -> Millis:
        """Return the floor's time once it is."""
        ...


class Trader:
    """The desk decides, this only waits and does; what it must not forget is the desk's, not its own."""

    def __init__(
        self,
        desk: Desk,
        heart: Heart,
        footing: Footing,
        carry_out: CarryOut,
        attach: Callable[[Mailbox], None],
        looked: Looked | None = None,
    ) -> None:
        self.desk, self.heart, self._footing, self._looked = desk, heart, footing, looked
        self._badge = Badge()
        self._carry_out = self._badge.door(carry_out)
        self.mailbox = Mailbox(heart)
        attach(self.mailbox)

    async def run(self) -> None:
        while True:
            wake = await self.mailbox.next()
            await self._deal_with(wake)
            self.mailbox.done()

    def close(self) -> None:
        self._badge.revoke()
        self.mailbox.close()

    async def _deal_with(self, wake: Wake) -> None:
        if self._footing.is_behind and self.desk.wants(type(wake.event), wake.state, wake.now):
            wake = msgspec.structs.replace(wake, now=await self._footing.caught_up())
        self._badge.require()  # before the desk decides: it takes its own intents in at once
        verdicts = self.desk.step(type(wake.event), wake.state, wake.now)
        if self._looked is not None:
            self._looked(wake, bool(verdicts))
        if verdicts:
            await self._carry_out(verdicts, wake.now)
