"""What real money needs besides: keys, the acknowledgement, the control token, and how small it begins (R20).

Secrets come from the environment or from a file that nobody else may read, and go nowhere but where they are used.
"""

import os
import re
import stat
from collections.abc import MutableMapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from polybot.domain.units import Money, parse_units
from polybot.risk.ramp import RampPlan
from polybot.setting_kinds import PREFIX, Secret, SecretFile, Text

SECRETS = ("private_key", "relayer_key", "api_key", "api_secret", "api_passphrase", "rpc_url", "control_token")
"""Each may be given by its own name, or by that and `_file` as the file it stands in."""
ACKNOWLEDGEMENT = "I trade real money and may lose all of it"
PRIVATE_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
NODE = re.compile(r"https?://[^\s/?#]+\S*")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
KEYS_IN_URL = re.compile(r"[A-Za-z0-9_-]{16,}")
TOKEN_LENGTH_MIN = 16
SECRET_BYTES_MAX = 4096


class RampSettings(BaseModel):
    """How a live floor begins small (risk/ramp.py)."""

    model_config = ConfigDict(extra="forbid")
    order_cost: Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=6)] = Decimal(5)
    growth: int = Field(2, ge=1, le=100)
    trades: int = Field(20, ge=1, le=1_000_000)
    days: int = Field(1, ge=0, le=365)
    losses: int = Field(5, ge=1, le=1_000)

    def plan(self) -> RampPlan:
        return RampPlan(
            order_cost_first=Money(parse_units(f"{self.order_cost:f}")),
            growth=self.growth,
            trades=self.trades,
            days=self.days,
            losses_max=self.losses,
        )


class AccountSettings(BaseModel):
    """Who we are at the venue, and who may stop the floor from afar. Part of `Settings`, under the same names."""

    private_key: Secret = None
    private_key_file: SecretFile = None
    wallet: Text = None
    """None: the key's deposit wallet."""
    relayer_key: Secret = None
    relayer_key_file: SecretFile = None
    relayer_address: Text = None
    """The address the relayer's key was made for."""
    api_key: Secret = None
    api_key_file: SecretFile = None
    api_secret: Secret = None
    api_secret_file: SecretFile = None
    api_passphrase: Secret = None
    api_passphrase_file: SecretFile = None
    rpc_url: Secret = None
    """A Polygon node's address, which often has a key in it. None: the public one that the official client names."""
    rpc_url_file: SecretFile = None
    control_token: Secret = None
    control_token_file: SecretFile = None
    live_acknowledgement: Text = None
    ramp: RampSettings = RampSettings()


class Given(Protocol):
    """The settings, as far as this file minds."""

    @property
    def mode(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def exchange(self) -> str | None: ...
    @property
    def wallet(self) -> str | None: ...
    @property
    def relayer_address(self) -> str | None: ...
    @property
    def live_acknowledgement(self) -> str | None: ...


class SecretUnreadable(ValueError):
    """A secret's file cannot be used; the text names file and remedy, and nothing of what is in it."""


def secret_of(settings: Given, name: str) -> str | None:
    """The secret of this name, None where none is given. Raises SecretUnreadable."""
    value: SecretStr | None = getattr(settings, name)
    file: Path | None = getattr(settings, f"{name}_file")
    if value is not None and file is not None:
        variable = f"{PREFIX}{name}".upper()
        raise SecretUnreadable(f"{variable} and {variable}_FILE are both set: take one of them away")
    if file is not None:
        return _read(file, f"{PREFIX}{name}_file".upper())
    return value.get_secret_value().strip() if value is not None else None


def _read(file: Path, variable: str) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                rights = f"{stat.S_IMODE(mode):04o}"
                raise SecretUnreadable(f"{variable}: others may read {file} (rights {rights}): chmod 600 {file}")
            content = opened.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SecretUnreadable(f"{variable}: {file} cannot be read: {error.strerror}") from None
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(content) > SECRET_BYTES_MAX:
        raise SecretUnreadable(f"{variable}: {file} holds no secret, or is no text: it has the secret alone")
    return text


def secret_values(settings: Given) -> list[str]:
    """All that must never be shown. Files that cannot be read are left out: nobody has what is in them."""
    found: list[str] = []
    for name in SECRETS:
        try:
            value = secret_of(settings, name)
        except SecretUnreadable:
            continue
        if value:
            found.append(value)
        if value and name == "rpc_url":
            found += KEYS_IN_URL.findall(value)  # an error may name a part of it
    return found


def forget_secrets(environment: MutableMapping[str, str]) -> None:
    """Once read they are nothing for the servers and other processes that are started with the same environment."""
    names = {f"{PREFIX}{name}".upper() for name in SECRETS}
    for name in [name for name in environment if name.upper() in names]:
        del environment[name]


# -- what is wrong with them ------------------------------------------------------------------------------------------


def account_troubles(settings: Given) -> list[str]:
    """What is wrong with what is given, whatever the mode: every trouble with its remedy, never with a secret."""
    found, troubles = _readable(settings)
    key, token = found.get("private_key"), found.get("control_token")
    if key is not None and not PRIVATE_KEY.fullmatch(key):
        troubles.append("POLYBOT_PRIVATE_KEY is no private key: 64 hexadecimal digits are expected, with or without 0x")
    for name in ("wallet", "relayer_address"):
        address = getattr(settings, name)
        if address is not None and not ADDRESS.fullmatch(address):
            variable = f"{PREFIX}{name}".upper()
            troubles.append(f"{variable} is no address: 0x and 40 hexadecimal digits are expected")
    if token is not None and len(token) < TOKEN_LENGTH_MIN:
        remedy = f"{TOKEN_LENGTH_MIN} characters at least, from `openssl rand -hex 24` say"
        troubles.append(f"POLYBOT_CONTROL_TOKEN is too short: {remedy}")
    if ("relayer_key" in found) != (settings.relayer_address is not None):
        troubles.append("POLYBOT_RELAYER_KEY and POLYBOT_RELAYER_ADDRESS belong together: set both, or none")
    if "rpc_url" in found:
        troubles += _node_troubles(found["rpc_url"], settings.exchange)
    credentials = [name for name in ("api_key", "api_secret", "api_passphrase") if name in found]
    if 0 < len(credentials) < 3:
        missing = [n for n in ("api_key", "api_secret", "api_passphrase") if n not in found]
        names = ", ".join(f"{PREFIX}{name}".upper() for name in missing)
        troubles.append(f"an API key has three parts, and {names} is not set: set all of them, or none")
    return troubles


def _node_troubles(url: str, exchange: str | None) -> list[str]:
    if not NODE.fullmatch(url):
        return ["POLYBOT_RPC_URL is no node's address: http:// or https:// and a host are expected"]
    if exchange is not None:
        return [
            "POLYBOT_EXCHANGE has a chain of its own: take POLYBOT_RPC_URL away, which names a node of the real one"
        ]
    return []


def live_troubles(settings: Given) -> list[str]:
    """What is missing for real money; [] in paper mode."""
    if settings.mode != "live":
        return []
    troubles: list[str] = []
    if settings.source == "tape":
        troubles.append("POLYBOT_SOURCE is tape, and real orders need live data: set POLYBOT_SOURCE=polymarket")
    if not _is_given(settings, "private_key"):
        troubles.append("no private key: set POLYBOT_PRIVATE_KEY_FILE to a file that only you may read (chmod 600)")
    if settings.live_acknowledgement != ACKNOWLEDGEMENT:
        is_set = "is not set" if settings.live_acknowledgement is None else "says something else"
        troubles.append(f"POLYBOT_LIVE_ACKNOWLEDGEMENT {is_set}: it must be exactly: {ACKNOWLEDGEMENT}")
    return troubles


def _is_given(settings: Given, name: str) -> bool:
    """Usable or not: what is wrong with one that is not has been said (`account_troubles`)."""
    return getattr(settings, name) is not None or getattr(settings, f"{name}_file") is not None


def _readable(settings: Given) -> tuple[dict[str, str], list[str]]:
    """The secrets that can be read, by name, and why others cannot."""
    found: dict[str, str] = {}
    troubles: list[str] = []
    for name in SECRETS:
        try:
            value = secret_of(settings, name)
        except SecretUnreadable as error:
            troubles.append(str(error))
            continue
        if value:
            found[name] = value
    return found, troubles
