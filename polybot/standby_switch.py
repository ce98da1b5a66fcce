"""The kill switch on a standby: it stops the account, whether the floor that leads lives or not. Part of app.py.

The file in its own folder keeps this instance from trading when it takes over; the floor that leads is told, and says
what it did; where it says nothing, open orders are cancelled from here.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.floor.status import Switch, SwitchReport
from polybot.live_settings import SecretUnreadable, secret_of
from polybot.settings import Settings
from polybot.storage.switch_line import grant_wishes
from polybot.switch_file import ANSWER_S_MAX, CANCELLED_S_MAX, SwitchAnswer, SwitchFile, SwitchUnreadable, Wish

STEP_S = 0.05
UNANSWERED = (
    "no floor that leads has answered: one that lives and is cut off from the database has to be stopped itself"
)
NOT_PAUSED = "a standby trades nothing and has no journal to write a pause in: stop it, or pause the floor that leads"
PassOn = Callable[[Wish, float], Awaitable[SwitchAnswer | None]]
"""Tells the floor that leads; its answer, None where none comes within so many seconds."""


class StandbySwitch:
    """A `Switch` (floor/status.py). `pass_on` is how the floor that leads is reached: set it before anybody asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._file = settings, SwitchFile(settings.data_dir)
        self._clock, self._turn = SystemClock(), asyncio.Lock()
        self.pass_on: PassOn = self.by_file

    async def stop(self, *, cancel_all: bool, by: str) -> SwitchReport:
        wish = Wish(stop=True, id=self._new_id(), by=f"{by}, asked of a standby", cancel_all=cancel_all)
        async with self._turn:
            done, trouble = await self._write(wish)
            answer = await self.pass_on(wish, CANCELLED_S_MAX if cancel_all else ANSWER_S_MAX)
            done, trouble = _with_answer(answer, done, trouble)
            if cancel_all and (answer is None or answer.trouble):
                cancelled, more = await self._cancel_ourselves()
                done, trouble = [*done, *cancelled], [*trouble, *more]
        return SwitchReport(done="; ".join(done) or "nothing", trouble="; ".join(trouble))

    async def resume(self, *, by: str) -> SwitchReport:
        """What was stopped in this folder is lifted here, and the pause of the floor that leads there."""
        wish = Wish(stop=False, id=self._new_id(), by=f"{by}, asked of a standby")
        async with self._turn:
            done, trouble = await self._write(wish)
            answer = await self.pass_on(wish, ANSWER_S_MAX)
            done, trouble = _with_answer(answer, done, trouble)
        return SwitchReport(done="; ".join(done) or "nothing", trouble="; ".join(trouble))

    async def pause(self, *, by: str) -> SwitchReport:
        return SwitchReport(done="nothing", trouble=NOT_PAUSED)

    async def by_file(self, wish: Wish, seconds: float) -> SwitchAnswer | None:
        """A `PassOn` to a floor that leads on this very folder: it has the file already."""
        deadline = self._clock.monotonic() + seconds
        while self._clock.monotonic() < deadline:
            answer = await asyncio.to_thread(self._file.answer)
            if answer is not None and answer.id == wish.id:
                return answer
            await asyncio.sleep(STEP_S)
        return None

    def _new_id(self) -> str:
        return f"standby-{self._clock.monotonic():.6f}"

    # -- what is done here --------------------------------------------------------------------------------------------

    async def _write(self, wish: Wish) -> tuple[list[str], list[str]]:
        """A wish to resume stays only where a floor on this folder will grant it: granted later it would lift a stop
        that came after it."""
        try:
            if wish.stop:
                await asyncio.to_thread(self._file.ask_stop, wish)
                return [f"{self._file.path} is written: no floor trades on this folder until somebody resumes"], []
            await asyncio.to_thread(self._file.ask_resume, wish)
            if self.pass_on != self.by_file:
                answer = SwitchAnswer(id=wish.id, text="the switch is off in this folder")
                await asyncio.to_thread(self._file.granted, answer, resumed=True)
        except SwitchUnreadable as error:
            return [], [str(error)]
        return ["the switch is off in this folder"], []

    async def _cancel_ourselves(self) -> tuple[list[str], list[str]]:
        """Everything the account has open at the venue, whoever placed it."""
        try:
            has_key = secret_of(self._settings, "private_key") is not None
        except SecretUnreadable as error:
            return [], [f"orders at the venue were not cancelled: {error}"]
        if not has_key:
            return ["no private key is set here, so there are no orders at the venue to cancel"], []
        from polybot.live_account import cancel_account  # noqa: PLC0415 - a second of imports, where it is needed

        try:
            await cancel_account(self._settings)
        except PolybotError as error:
            return [], [f"not all orders were cancelled from here: {error}"]
        return ["every open order of the account was cancelled from here"], []


def _with_answer(answer: SwitchAnswer | None, done: list[str], trouble: list[str]) -> tuple[list[str], list[str]]:
    if answer is None:
        return done, [*trouble, UNANSWERED]
    more = [f"the floor that leads: {answer.trouble}"] if answer.trouble else []
    return [*done, f"the floor that leads: {answer.text}"], [*trouble, *more]


# -- on the floor that leads ------------------------------------------------------------------------------------------


def wishes_of_standbys(
    url: str, account: str, switch: Switch, chance: random.Random
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Work beside the floor: what is asked of a standby is done as if it had been asked here."""

    async def grant(wish: Wish) -> SwitchAnswer:
        report = await (switch.stop(cancel_all=wish.cancel_all, by=wish.by) if wish.stop else switch.resume(by=wish.by))
        return SwitchAnswer(id=wish.id, text=report.done, trouble=report.trouble)

    return lambda: grant_wishes(url, account, grant, chance)
