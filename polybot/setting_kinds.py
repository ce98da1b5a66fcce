"""The kinds of values that settings have: addresses, names, percentages, secrets; each refuses what cannot be one."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

PREFIX = "POLYBOT_"


def empty_is_none(value: object) -> object:
    return None if value == "" else value


def _of_kind(*kinds: str) -> AfterValidator:
    def check(url: str | None) -> str | None:
        if url is not None and not url.startswith(kinds):
            raise ValueError(f"an address that begins with {' or '.join(kinds)} is expected")
        return url

    return AfterValidator(check)


DatabaseUrl = Annotated[str | None, BeforeValidator(empty_is_none), _of_kind("postgresql://", "postgres://")]
RedisUrl = Annotated[str | None, BeforeValidator(empty_is_none), _of_kind("redis://", "rediss://", "unix://")]
ExchangeUrl = Annotated[str | None, BeforeValidator(empty_is_none), _of_kind("http://", "https://")]
Text = Annotated[str | None, BeforeValidator(empty_is_none)]
Secret = Annotated[SecretStr | None, BeforeValidator(empty_is_none)]
SecretFile = Annotated[Path | None, BeforeValidator(empty_is_none)]
Percent = Annotated[Decimal, Field(gt=0, le=100, decimal_places=4)]


def _host_list(value: object) -> object:
    """From the environment it comes as text, which is JSON. Raises ValueError that says what to write instead."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value, type=list[str])
    except msgspec.MsgspecError:
        raise ValueError(f"a JSON list of names is expected: write {_as_list(_words(value))}") from None


def _names_alone(names: list[str]) -> list[str]:
    if all(HOST_NAME.fullmatch(name) for name in names):
        return names
    bare = [re.sub(r"^\w+://|[:/].*$", "", name) for name in names]
    raise ValueError(f"host names alone are expected, without http://, port or path: write {_as_list(_words(*bare))}")


def _words(*texts: str) -> list[str]:
    """What in it could be a host's name."""
    return [word for text in texts for word in re.findall(r"[\w.-]+", text)] or ["polybot"]


def _as_list(names: list[str]) -> str:
    return f"{PREFIX}WEB_HOSTS='{msgspec.json.encode(names).decode()}'"


HOST_NAME = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")
HostNames = Annotated[list[str], NoDecode, BeforeValidator(_host_list), AfterValidator(_names_alone)]
