"""Logs by loguru: readable on a terminal, JSON lines elsewhere; one `action` per fact, secrets never in full."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from loguru import logger

from polybot.clock import wall_ms
from polybot.paths import as_typed

if TYPE_CHECKING:
    from loguru import Message, Record

Style = Literal["pretty", "json"]
HIDDEN = "<secret>"
SECRET_LENGTH_MIN = 8
"""Shorter ones would hide half of every line; settings ask for longer ones (live_settings.py)."""
URL_PASSWORD = re.compile(r"(\b\w+://[^:/@\s]*:)[^@/\s]+@")
PRETTY = "<dim>{time:HH:mm:ss}</dim> <level>{level: <7}</level> <cyan>{extra[action]: <13}</cyan> {message}"


class _Secrets:
    """What must not stand in any line: the last net, for nobody is to log a secret in the first place."""

    words: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None


def hide(secrets: Iterable[str]) -> None:
    """From now on these, too, are not shown: in no log line, and not in the traceback a crash ends with."""
    words = {secret.removeprefix("0x") for secret in secrets}
    _Secrets.words |= {word for word in words if len(word) >= SECRET_LENGTH_MIN}
    if not _Secrets.words:
        return
    longest_first = sorted(_Secrets.words, key=len, reverse=True)
    _Secrets.pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)
    sys.excepthook = _say_crash


def redact(text: str) -> str:
    """Passwords in URLs become ***, and hidden secrets are named as such."""
    if _Secrets.pattern is not None:
        text = _Secrets.pattern.sub(HIDDEN, text)
    return URL_PASSWORD.sub(r"\1***@", text)


def _say_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _to_stderr(redact("".join(traceback.format_exception(kind, error, trace))))


def set_up(style: Style, level: str, write: Callable[[str], object] | None = None) -> None:
    """Send logs to stderr, or to `write`: readable, or as JSON lines (as the container image sets it)."""
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # its stacks about strangers' bad requests
    logger.remove()
    logger.configure(extra={"action": "-"}, patcher=_word_for_people)
    out = write or _to_stderr

    def say(message: "Message") -> None:
        out(redact(str(message)) if style == "pretty" else _json_line(message))

    colorize = style == "pretty" and sys.stderr.isatty()
    logger.add(say, format=PRETTY, level=level, colorize=colorize, backtrace=False, diagnose=False)


def lost_line(style: Style, lost: int, unread_s: float) -> str:
    """What stands in the log for lines that are missing there."""
    now = datetime.fromtimestamp(wall_ms() / 1000, UTC).astimezone()
    text = f"{lost} log lines were not written: nobody read them for {unread_s:.1f} s"
    if style == "pretty":
        return f"{now:%H:%M:%S} WARNING {'log_lost': <13} {text}\n"
    fields = {"time": now.isoformat(), "level": "WARNING", "action": "log_lost", "lost": lost, "message": text}
    return json.dumps(fields) + "\n"


def _word_for_people(record: "Record") -> None:
    record["message"] = as_typed(redact(record["message"]))


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _json_line(message: "Message") -> str:
    record = message.record
    line: dict[str, object] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        **record["extra"],
        "message": record["message"],
    }
    if record["exception"] is not None:
        line["exception"] = redact(str(message).partition("\n")[2])
    return json.dumps(line, default=str) + "\n"
