"""The kill switch: one durable pause of the whole floor, which only a person lifts.

It is thrown by a file in the data folder (by hand, or by `polybot stop`) or over HTTP; both ways end here. From the
first moment on no order leaves; then the pause is journaled, and then, where asked for, every open order is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from loguru import logger

from polybot.clock import Clock
from polybot.domain.events import AnyFact, Severity, SystemNoted, TradingPaused, TradingResumed
from polybot.domain.ids import OrderId
from polybot.floor.dispatch import Dispatcher
from polybot.floor.status import SwitchReport
from polybot.floor.venue_calls import CALL_S_MAX
from polybot.switch_file import SwitchAnswer, SwitchFile, SwitchUnreadable, Wish
from polybot.venue.base import VenueBusy, VenueUnavailable

KILL_SWITCH, BY_HAND = "kill_switch", "paused_by_hand"
LOOK_EVERY_S = 0.25
CANCEL_S_MAX = 10.0
"""How long open orders are waited for after their cancelling was asked for."""
SEND_S_MAX = 9.0
"""An order that is being sent is over by then (venue_calls.CALL_S_MAX)."""
ACCOUNT_S_MAX = 30.0
"""How long the account's orders are tried to be cancelled."""
STEP_S = 0.02
CancelAccount = Callable[[], Awaitable[Sequence[str]]]
"""Cancels every open order of the account at the venue, whoever placed it; those that are still open all the same.

Raises VenueUnavailable, VenueBusy."""


class KillSwitch:
    """Make it before the floor opens: where the file stands already, not one order leaves.

    `may_trade` is the floor's fence: give it to the room. `is_over`: nothing may be journaled any more (the tape is
    over). `cancel_account` is set where the orders are at a real venue.
    """

    def __init__(self, file: SwitchFile, dispatcher: Dispatcher, clock: Clock, is_over: Callable[[], bool]) -> None:
        """Raises SwitchUnreadable."""
        self._file, self._dispatcher, self._clock, self._is_over = file, dispatcher, clock, is_over
        self.cancel_account: CancelAccount | None = None
        self.on_resume: list[Callable[[], None]] = []
        self._turn = asyncio.Lock()
        self._seen: Wish | None = None
        self._is_blind = False
        self.thrown = False
        wish = file.wish()
        if wish is not None and wish.stop:
            self.thrown = True
            logger.bind(action="kill_switch").critical(
                "{} stands: nothing is traded until `polybot resume`", self._file.path
            )

    def may_trade(self) -> bool:
        """Closes at once; from when the pause is journaled on, that is what holds."""
        journaled = KILL_SWITCH in self._dispatcher.room.state.pauses
        return not self._is_blind and (journaled or not self.thrown)

    async def watch(self) -> None:
        """For ever: look at the file, and do what it says, once."""
        while True:
            try:
                await self.look()
            except SwitchUnreadable as error:
                self._unreadable(error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Raises SwitchUnreadable."""
        wish = await asyncio.to_thread(self._file.wish)
        self._is_blind = False
        if wish is None or wish == self._seen:
            return
        async with self._turn:
            await self._grant(wish)

    def _unreadable(self, error: SwitchUnreadable) -> None:
        """A switch that cannot be looked at counts as thrown: it may well be."""
        if not self._is_blind:
            logger.bind(action="kill_switch").critical("{}: nothing is traded until it can be read", error)
        self._is_blind = True

    # -- over HTTP ----------------------------------------------------------------------------------------------------

    async def stop(self, *, cancel_all: bool, by: str) -> SwitchReport:
        """The file is written too: a floor that dies now does not trade when it comes back."""
        self.thrown = True
        wish = Wish(stop=True, id=self._new_id(), by=by, cancel_all=cancel_all)
        async with self._turn:
            unwritten = ""
            try:
                await asyncio.to_thread(self._file.ask_stop, wish)
            except SwitchUnreadable as error:
                unwritten = str(error)
            return await self._grant(wish, unwritten)

    async def resume(self, *, by: str) -> SwitchReport:
        wish = Wish(stop=False, id=self._new_id(), by=by)
        async with self._turn:
            try:
                await asyncio.to_thread(self._file.ask_resume, wish)
            except SwitchUnreadable as error:
                return SwitchReport(done="nothing", trouble=str(error))
            return await self._grant(wish)

    async def pause(self, *, by: str) -> SwitchReport:
        """The small one: journaled, and lifted by `resume`; no file, nothing is cancelled."""
        async with self._turn:
            return SwitchReport(done=await self._pause(BY_HAND, f"paused by {by}"))

    def _new_id(self) -> str:
        return f"{self._clock.monotonic():.6f}"

    # -- what is done -------------------------------------------------------------------------------------------------

    async def _grant(self, wish: Wish, trouble: str = "") -> SwitchReport:
        done, more = await (self._stopped(wish) if wish.stop else self._resumed(wish))
        report = SwitchReport(done=done, trouble="; ".join(text for text in (trouble, more) if text))
        self._seen = wish
        answer = SwitchAnswer(id=wish.id, text=report.done, trouble=report.trouble)
        try:
            await asyncio.to_thread(self._file.granted, answer, resumed=not wish.stop)
        except SwitchUnreadable as error:
            logger.bind(action="kill_switch").error("{}", error)
        return report

    async def _stopped(self, wish: Wish) -> tuple[str, str]:
        self.thrown = True
        done = await self._pause(KILL_SWITCH, f"stopped by {wish.by}")
        if not wish.cancel_all:
            return done, ""
        cancelled, trouble = await self._cancel_all()
        await self._note(f"{cancelled}, asked for by {wish.by}" + (f"; {trouble}" if trouble else ""))
        return f"{done}; {cancelled}", trouble

    async def _pause(self, breaker: str, text: str) -> str:
        if self._is_over():
            return "the tape is over: nothing is traded any more"
        if breaker in self._dispatcher.room.state.pauses:
            return "the floor was paused already"
        now = self._clock.now_ms()
        pause = TradingPaused(at=now, agent=None, breaker=breaker, value=1, limit=0, text=text, until=None)
        await self._dispatcher.commit([pause])
        return "the floor is paused, until somebody resumes"

    async def _resumed(self, wish: Wish) -> tuple[str, str]:
        now, pauses = self._clock.now_ms(), self._dispatcher.room.state.pauses
        lifted: list[AnyFact] = [
            TradingResumed(at=now, agent=None, breaker=breaker, text=f"resumed by {wish.by}")
            for breaker in (KILL_SWITCH, BY_HAND)
            if breaker in pauses
        ]
        if not self._is_over():
            await self._dispatcher.commit(lifted)
        self.thrown = False
        for tell in self.on_resume:
            tell()
        left = ", ".join(pauses)
        done = "the floor trades again" if lifted else "the floor was not stopped"
        return (f"{done}; still open: {left}" if left else done), ""

    async def _note(self, text: str) -> None:
        if not self._is_over():
            now = self._clock.now_ms()
            noted = SystemNoted(at=now, severity=Severity.WARNING, component="kill_switch", text=text)
            await self._dispatcher.commit([noted])

    # -- cancelling ---------------------------------------------------------------------------------------------------

    async def _cancel_all(self) -> tuple[str, str]:
        """What was done, and what could not be. First those that are on their way arrive: nothing leaves any more."""
        await self._until(lambda: not self._on_their_way(), SEND_S_MAX)
        asked, trouble = 0, ""
        for order in self._open_orders():
            try:
                async with asyncio.timeout(CALL_S_MAX):
                    await self._dispatcher.venue.cancel(order, self._clock.now_ms())
                asked += 1
            except (TimeoutError, VenueUnavailable, VenueBusy) as error:
                trouble = f"{order} could not be cancelled: {str(error) or 'no answer'}"
                if self.cancel_account is not None:
                    break  # one call for all of them does not wait for so many that are not answered
        if self.cancel_account is not None:  # sees what we do not know of, and what was not answered just now
            trouble = await self._empty_account(self.cancel_account)
        await self._until(lambda: not self._open_orders(), CANCEL_S_MAX)
        left = self._open_orders()
        if left:
            still = f"{len(left)} of the floor's orders are still open in its books: {', '.join(left[:5])}"
            trouble = f"{trouble}; {still}" if trouble else still
        told = f"{asked} of the floor's orders were cancelled" if asked else "the floor had no open orders"
        if self.cancel_account is not None and not trouble:
            told = f"{told}; at the venue none of the account's is open any more"
        return told, trouble

    async def _empty_account(self, cancel_account: CancelAccount) -> str:
        """What could not be cancelled, "" where nothing is open any more."""
        try:
            async with asyncio.timeout(ACCOUNT_S_MAX):
                open_there = await cancel_account()
        except (TimeoutError, VenueUnavailable, VenueBusy) as error:
            return f"the account's orders could not all be cancelled: {str(error) or 'no answer'}"
        return f"the venue still has {len(open_there)} orders of the account open" if open_there else ""

    def _on_their_way(self) -> bool:
        return any(at is None for at in self._dispatcher.sent_at.values())

    def _open_orders(self) -> list[OrderId]:
        return [order for desk in self._dispatcher.room.desks.values() for order in desk.state.orders]

    async def _until(self, true: Callable[[], bool], seconds: float) -> None:
        """Let the venue's replies in until it is true, or too late. A tape is moved by its player, not from here."""
        deadline = self._clock.monotonic() + seconds
        while not true() and self._clock.monotonic() < deadline:
            await asyncio.sleep(STEP_S)
            if not self._is_over():
                await self._dispatcher.tick(self._clock.now_ms())
