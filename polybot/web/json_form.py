"""The one JSON form of every value the web serves, and the way back: nothing is lost between the two.

The declared types decide, so no field is written twice. Money, prices and shares become decimal text ("996.79"), never
floats. An instant `at` becomes two fields: `at`, ISO-8601 text for people, and `at_ms`, UTC milliseconds for programs;
the way back reads the second. Outcomes go by name ("UP"). Everything else is as msgspec writes it.
"""

import enum
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis, Money, Price, Shares, format_units, parse_units

T = TypeVar("T", bound=msgspec.Struct)
Convert = Callable[[Any], Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AMOUNTS = (Money, Price, Shares)


def to_plain(value: msgspec.Struct) -> dict[str, Any]:
    """The JSON object of a struct, as plain dicts, lists, texts and numbers."""
    plain: dict[str, Any] = _writer(type(value))(value)
    return plain


def to_json(plain: Any) -> bytes:
    return msgspec.json.encode(plain)


def from_json(content: bytes, kind: type[T]) -> T:
    """Read back what `to_json(to_plain(value))` wrote. Fields we don't know are ignored; raises BadInput otherwise."""
    try:
        return msgspec.convert(_reader(kind)(msgspec.json.decode(content)), kind)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise BadInput(f"not the JSON form of {kind.__name__}: {error}") from error


@lru_cache(maxsize=4096)
def utc_text(at: int) -> str:
    """Milliseconds since 1970 as ISO-8601 text in UTC, to the millisecond.

    Remembered, because the same points of the equity curve go out every second, on the loop that trades.
    """
    return (EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- out --------------------------------------------------------------------------------------------------------------


@cache
def _writer(kind: Any) -> Convert:
    if kind in AMOUNTS:
        return format_units
    if isinstance(kind, NewType):
        return _writer(kind.__supertype__)
    if (inner := _optional(kind)) is not None:
        return _unless_none(_writer(inner))
    if get_origin(kind) in (tuple, list):
        return _each(_writer(get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_writer(kind)
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        return lambda member: member.name
    return _as_is


def _struct_writer(kind: type[msgspec.Struct]) -> Convert:
    hints = get_type_hints(kind)
    fields = [(name, _writer(hint), _is_instant(hint)) for name, hint in hints.items()]

    def write(value: Any) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name, convert, instant in fields:
            member = getattr(value, name)
            if instant:
                plain[name] = None if member is None else utc_text(member)
                plain[f"{name}_ms"] = member
            else:
                plain[name] = convert(member)
        return plain

    return write


# -- back -------------------------------------------------------------------------------------------------------------


@cache
def _reader(kind: Any) -> Convert:
    """Undo the writer's changes only; msgspec.convert checks all types afterwards."""
    if kind in AMOUNTS:
        return _amount
    if isinstance(kind, NewType):
        return _reader(kind.__supertype__)
    if (inner := _optional(kind)) is not None:
        return _unless_none(_reader(inner))
    if get_origin(kind) in (tuple, list):
        return _each(_reader(get_args(kind)[0]))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_reader(kind)
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        members = kind
        return lambda name: members[name].value
    return _as_is


def _struct_reader(kind: type[msgspec.Struct]) -> Convert:
    hints = get_type_hints(kind)
    fields = [(name, f"{name}_ms" if _is_instant(hint) else name, _reader(hint)) for name, hint in hints.items()]
    return lambda plain: {name: convert(plain[key]) for name, key, convert in fields}


# -- leaves -----------------------------------------------------------------------------------------------------------


def _is_instant(kind: Any) -> bool:
    return kind is Millis or _optional(kind) is Millis


def _amount(text: Any) -> int:
    if not isinstance(text, str):
        raise BadInput(f'{text!r} is no amount: amounts are decimal text such as "996.79"')
    return parse_units(text)


def _optional(kind: Any) -> Any:
    """X of `X | None`, None for every other type."""
    if get_origin(kind) not in (Union, UnionType):
        return None
    inner = [option for option in get_args(kind) if option is not NoneType]
    return inner[0] if len(inner) == 1 else None


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert) -> Convert:
    return lambda values: [convert(value) for value in values]


def _as_is(value: Any) -> Any:
    return value
