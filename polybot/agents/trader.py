"""A trader: looks at a market when it has changed, asks its desk, and has the verdicts carried out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from polybot.agents.base import Badge, Heart, Mailbox, Wake
from polybot.desk.desk import Desk, DeskVerdict
from polybot.domain.units import Millis

CarryOut = Callable[[Sequence[DeskVerdict], Millis], Awaitable[None]]
"""Begins at once, and ends when what it returns does, whether or not anybody waits for it."""
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
        self._under_way: Awaitable[None] | None = None
        self.mailbox = Mailbox(heart, self._look)
        attach(self.mailbox)

    async def run(self) -> None:
        while True:
            await self._deal_with(await self.mailbox.next())
            self.mailbox.done()

    def close(self) -> None:
        self._badge.revoke()
        self.mailbox.close()

    def _look(self, wake: Wake) -> bool:
        """In the loop's own turn, and most often all there is to it; False where there is something to wait for."""
        if self._footing.is_behind and self.desk.wants(type(wake.event), wake.state, wake.now):
            return False
        self._decide(wake)
        return self._under_way is None

    async def _deal_with(self, wake: Wake) -> None:
        if self._under_way is None:
            self._decide(msgspec.structs.replace(wake, now=await self._footing.caught_up()))
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            await under_way

    def _decide(self, wake: Wake) -> None:
        """What is decided is on its way before anything else has its turn: the desk reckons with it from now on."""
        self._badge.require()
        verdicts = self.desk.step(type(wake.event), wake.state, wake.now)
        if self._looked is not None:
            self._looked(wake, bool(verdicts))
        if verdicts:
            self._under_way = self._carry_out(verdicts, wake.now)
