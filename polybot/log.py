"""Logs by loguru: readable on a terminal, JSON lines elsewhere; one `action` per fact, secrets never in full."""

import json
import logging
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

URL_PASSWORD = re.compile(r"(\b\w+://[^:/@\s]*:)[^@/\s]+@")
PRETTY = "<dim>{time:HH:mm:ss}</dim> <level>{level: <7}</level> <cyan>{extra[action]: <13}</cyan> {message}"


def redact(text: str) -> str:
    """Passwords in URLs become ***."""
    return URL_PASSWORD.sub(r"\1***@", text)


def set_up(style: Literal["pretty", "json"], level: str, write: Callable[[object], None] | None = None) -> None:
    """Send logs to stderr, or to `write`: readable, or as JSON lines (as the container image sets it)."""
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # its stacks about strangers' bad requests
    logger.remove()
    logger.configure(extra={"action": "-"}, patcher=_redact_record)
    if style == "pretty":
        logger.add(
            write or sys.stderr,
            format=PRETTY,
            level=level,
            colorize=sys.stderr.isatty(),
            backtrace=False,
            diagnose=False,
        )
    else:
        logger.add(_write_json, level=level, backtrace=False, diagnose=False)


def _redact_record(record: "Record") -> None:
    record["message"] = redact(record["message"])


def _write_json(message: object) -> None:
    record: Record = message.record  # type: ignore[attr-defined]
    line: dict[str, object] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        **record["extra"],
        "message": record["message"],
    }
    if record["exception"] is not None:
        line["exception"] = redact(str(message).partition("\n")[2])
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()
