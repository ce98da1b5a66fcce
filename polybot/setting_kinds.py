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


def _is_root(url: str | None) -> str | None:
    """Every host of the venue is a path below it."""
    if url is not None and not re.fullmatch(r"https?://[^/?#]+/?", url):
        raise ValueError("the exchange's own address is expected, without a path, as in http://127.0.0.1:8085")
    return url


def _of_kind(*kinds: str) -> AfterValidator:
    def check(url: str | None) -> str | None:
        if url is not None and not url.startswith(kinds):
            raise ValueError(f"an address that begins with {' or '.join(kinds)} is expected")
        return url

    return AfterValidator(check)


DatabaseUrl = Annotated[str | None, BeforeValidator(empty_is_none), _of_kind("postgresql://", "postgres://")]
RedisUrl = Annotated[str | None, BeforeValidator(empty_is_none), _of_kind("redis://", "rediss://", "unix://")]
ExchangeUrl = Annotated[
    str | None, BeforeValidator(empty_is_none), _of_kind("http://", "https://"), AfterValidator(_is_root)
]
Text = Annotated[str | None, BeforeValidator(empty_is_none)]
Secret = Annotated[SecretStr | None, BeforeValidator(empty_is_none)]
SecretFile = Annotated[Path | None, BeforeValidator(empty_is_none)]
Percent = Annotated[Decimal, Field(gt=0, le=100, decimal_places=4)]


def _json_list(value: object, variable: str, nothing: str) -> object:
    """From the environment it comes as text, which is JSON. Raises ValueError that says what to write instead."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value, type=list[str])
    except msgspec.MsgspecError:
        words = _words(value) or [nothing]
        raise ValueError(f"a JSON list of names is expected: write {_as_list(variable, words)}") from None


def _host_list(value: object) -> object:
    return _json_list(value, HOSTS, "polybot")


def _names_alone(names: list[str]) -> list[str]:
    if all(HOST_NAME.fullmatch(name) for name in names):
        return names
    bare = _words(*(re.sub(r"^\w+://|[:/].*$", "", name) for name in names)) or ["polybot"]
    raise ValueError(f"host names alone are expected, without http://, port or path: write {_as_list(HOSTS, bare)}")


def _series_list(value: object) -> object:
    return _json_list(value, SERIES, "BTC-15m")


def _series_alone(names: list[str]) -> list[str]:
    if names and all(SERIES_NAME.fullmatch(name) for name in names):
        return names
    example = _as_list(SERIES, ["BTC-15m", "ETH-15m"])
    raise ValueError(f"coins in capitals with 5m, 15m or 4h are expected, as in {example}")


def _words(*texts: str) -> list[str]:
    """What in it could be a name."""
    return [word for text in texts for word in re.findall(r"[\w.-]+", text)]


def _as_list(variable: str, names: list[str]) -> str:
    return f"{PREFIX}{variable}='{msgspec.json.encode(names).decode()}'"


HOSTS, SERIES = "WEB_HOSTS", "FEED__SERIES"
HOST_NAME = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+\]")
SERIES_NAME = re.compile(r"[A-Z0-9]+-(5m|15m|4h)")
HostNames = Annotated[list[str], NoDecode, BeforeValidator(_host_list), AfterValidator(_names_alone)]
SeriesNames = Annotated[list[str], NoDecode, BeforeValidator(_series_list), AfterValidator(_series_alone)]
