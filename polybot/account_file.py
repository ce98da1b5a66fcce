"""A question about the account and its answer, as files in the data folder of the floor that is asked.

Whoever may write there may stop the floor as well (switch_file.py). What was asked of a floor that is gone is not done
by the next: what a person saw then may not be what there is now.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from polybot.account_talk import AccountAnswer, AccountAsk
from polybot.domain.errors import PolybotError

ASK, ANSWER = "ACCOUNT.ask", "ACCOUNT.answer"
BYTES_MAX = 65_536
T = TypeVar("T", AccountAsk, AccountAnswer)


class AccountFileError(PolybotError):
    """A file in the data folder cannot be written or taken away; the text says which."""


class AccountFile:
    """One data folder's. Every method may wait for a disk: call them in a thread where a loop turns."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir

    def ask(self, ask: AccountAsk) -> None:
        """Raises AccountFileError."""
        self._write(ASK, msgspec.json.encode(ask))

    def asked(self) -> AccountAsk | None:
        """None as well where nobody can read it: nothing is booked then, and the asker hears nothing."""
        return self._read(ASK, AccountAsk)

    def answer(self, answer: AccountAnswer) -> None:
        """Raises AccountFileError."""
        self._write(ANSWER, msgspec.json.encode(answer))

    def answered(self) -> AccountAnswer | None:
        return self._read(ANSWER, AccountAnswer)

    def forget(self) -> None:
        """Take the question away. Raises AccountFileError."""
        try:
            (self._folder / ASK).unlink(missing_ok=True)
        except OSError as error:
            raise AccountFileError(f"{self._folder / ASK} cannot be removed: {error.strerror}") from error

    def _read(self, name: str, shape: type[T]) -> T | None:
        try:
            with (self._folder / name).open("rb") as file:
                return msgspec.json.decode(file.read(BYTES_MAX), type=shape)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _write(self, name: str, content: bytes) -> None:
        """All or nothing for whoever reads; not durable, for neither is worth anything after a power cut."""
        path, unfinished = self._folder / name, self._folder / f"{name}.unfinished"
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        except OSError as error:
            raise AccountFileError(f"{path} cannot be written: {error.strerror}") from error
