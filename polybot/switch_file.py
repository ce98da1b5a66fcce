"""The kill switch as files in the data folder: made by hand, by `polybot stop` or over HTTP; any floor there obeys.

`STOP` stays until somebody resumes, so that a floor that is started meanwhile does not trade. `RESUME` is a wish, taken
away once it is granted. `STOP.answer` says what came of the newest wish. Nothing here needs the floor to live.
"""

import os
from pathlib import Path

import msgspec

from polybot.domain.errors import PolybotError

STOP, RESUME, ANSWER = "STOP", "RESUME", "STOP.answer"
CANCEL_ALL = "cancel-all"
BYTES_MAX = 4096
ANSWER_S_MAX = 5.0
CANCELLED_S_MAX = 25.0
"""A running floor lets what is on its way arrive, then cancels, then hears of it: so long its answer is waited for."""


class SwitchUnreadable(PolybotError):
    """The folder or a file in it cannot be read or written; the text says which, and what to do."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants: the floor stopped, or resumed. `id` tells wishes apart, `by` who it was."""

    stop: bool
    id: str
    by: str = "a file made by hand"
    cancel_all: bool = False


class SwitchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about a wish, in words; `trouble` is what could not be done, "" where all was."""

    id: str
    text: str
    trouble: str = ""


class SwitchFile:
    """One data folder's. Every method may wait for a disk: call them in a thread where a loop turns."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir

    @property
    def path(self) -> Path:
        return self._folder / STOP

    def wish(self) -> Wish | None:
        """What is wanted now; where both files stand, to be stopped. Raises SwitchUnreadable."""
        stop = self._read(STOP)
        if stop is not None:
            return stop
        return self._read(RESUME)

    def ask_stop(self, wish: Wish) -> None:
        """Durable when it returns. Raises SwitchUnreadable."""
        words = [CANCEL_ALL] if wish.cancel_all else []
        self._write(STOP, "\n".join([*words, f"id {wish.id}", f"by {wish.by}", ""]))
        self._remove(RESUME)

    def ask_resume(self, wish: Wish) -> None:
        """The same for the end of a stop: the switch is off before anybody hears of the wish."""
        self._write(RESUME, f"id {wish.id}\nby {wish.by}\n")
        self._remove(STOP)

    def granted(self, answer: SwitchAnswer, *, resumed: bool) -> None:
        """Say what was done."""
        self._write(ANSWER, msgspec.json.encode(answer).decode())
        if resumed:
            self._remove(RESUME)

    def answer(self) -> SwitchAnswer | None:
        try:
            return msgspec.json.decode((self._folder / ANSWER).read_bytes(), type=SwitchAnswer)
        except (OSError, msgspec.MsgspecError):
            return None

    # -- files --------------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> Wish | None:
        path = self._folder / name
        try:
            if path.is_dir():
                return Wish(stop=name == STOP, id="folder")
            with path.open("rb") as file:
                text = file.read(BYTES_MAX).decode(errors="replace")
                made = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SwitchUnreadable(f"{path} cannot be read: {error.strerror}") from error
        lines = [line.strip() for line in text.splitlines()]
        told = dict(line.split(" ", 1) for line in lines if " " in line)
        return Wish(
            stop=name == STOP,
            id=told.get("id") or str(made),
            by=told.get("by") or "a file made by hand",
            cancel_all=CANCEL_ALL in lines,
        )

    def _write(self, name: str, text: str) -> None:
        path, unfinished = self._folder / name, self._folder / f"{name}.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            self._sync()
        except OSError as error:
            raise SwitchUnreadable(f"{path} cannot be written: {error.strerror}; make it by hand") from error

    def _remove(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            raise SwitchUnreadable(f"{self._folder / name} cannot be removed: {error.strerror}") from error

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
