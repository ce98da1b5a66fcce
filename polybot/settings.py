"""Settings: the environment (POLYBOT_*) over configs/floor.toml over the defaults; read once, unknown keys refused."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableSetting

from polybot.desk.desk import AgentPlan
from polybot.desk.sizing import Execution
from polybot.domain.errors import BadInput
from polybot.domain.ids import AgentId, SeriesId
from polybot.domain.units import UNIT, Money, parse_units
from polybot.live_settings import SECRETS, AccountSettings, account_troubles, live_troubles
from polybot.paths import configs_dir, tapes_dir
from polybot.risk.limits import Limits
from polybot.setting_kinds import PREFIX, DatabaseUrl, ExchangeUrl, HostNames, Percent, RedisUrl, SeriesNames
from polybot.strategies.base import BaseStrategy
from polybot.strategies.registry import find_strategies
from polybot.venue.fill_models import VenueModel

RESERVED = ("boss", "auditor", "monitor")
"""Names of the floor's own agents."""


class SettingsError(BadInput):
    """A setting is unknown or out of bounds; the text names it and says what it may be."""


class LimitSettings(BaseModel):
    """The owner's limits in percent of capital, seconds and counts (R13, R14)."""

    model_config = ConfigDict(extra="forbid")
    order_percent: Percent = Decimal(2)
    agent_percent: Percent = Decimal(10)
    floor_percent: Percent = Decimal(40)
    daily_loss_percent: Percent = Decimal(10)
    daily_drawdown_percent: Percent = Decimal(15)
    loss_streak: int = Field(5, ge=1, le=1_000_000)
    loss_streak_pause_s: int = Field(3600, ge=1, le=31_536_000)
    call_failure_percent: Percent = Decimal(10)
    call_failure_calls: int = Field(20, ge=1, le=10_000)
    call_failure_window_s: int = Field(300, ge=1, le=86_400)
    book_age_s: float = Field(5.0, gt=0, le=60)
    book_unchanged_s: float = Field(60.0, gt=0, le=86_400)
    entry_cutoff_s: float = Field(5.0, ge=0, le=86_400)

    def limits(self) -> Limits:
        return Limits(
            order_capital_share=_share(self.order_percent),
            agent_capital_share=_share(self.agent_percent),
            floor_capital_share=_share(self.floor_percent),
            daily_loss_share=_share(self.daily_loss_percent),
            daily_drawdown_share=_share(self.daily_drawdown_percent),
            loss_streak_max=self.loss_streak,
            loss_streak_pause_ms=self.loss_streak_pause_s * 1000,
            call_failure_share_max=_share(self.call_failure_percent),
            call_failure_calls_min=self.call_failure_calls,
            call_failure_window_ms=self.call_failure_window_s * 1000,
            book_age_ms_max=round(self.book_age_s * 1000),
            book_unchanged_ms_max=round(self.book_unchanged_s * 1000),
            entry_cutoff_ms=round(self.entry_cutoff_s * 1000),
        )


class VenueSettings(BaseModel):
    """The paper venue's assumptions (docs/paper-trading.md)."""

    model_config = ConfigDict(extra="forbid")
    latency_median_ms: int = Field(84, ge=1, le=60_000)
    latency_spread: float = Field(0.35, ge=0, le=3)
    confirm_ms: int = Field(3000, ge=1, le=600_000)
    ghost_fill_percent: Annotated[Decimal, Field(ge=0, le=100)] = Decimal(0)
    book_age_s: float = Field(30.0, gt=0, le=86_400)

    def model(self, seed: int) -> VenueModel:
        return VenueModel(
            seed=seed,
            latency_median_ms=self.latency_median_ms,
            latency_spread=self.latency_spread,
            confirm_ms=self.confirm_ms,
            ghost_fill_share=float(self.ghost_fill_percent) / 100,
            book_age_ms_max=round(self.book_age_s * 1000),
        )


class FeedSettings(BaseModel):
    """Live market data (docs/operations.md)."""

    model_config = ConfigDict(extra="forbid")
    series: SeriesNames = ["BTC-15m", "ETH-15m"]
    sockets: int = Field(1, ge=1, le=2)
    silence_s: float = Field(10.0, ge=1, le=300)
    refresh_s: float = Field(3.0, ge=0.5, le=60)
    check_s: float = Field(30.0, ge=0, le=3600)
    """How often the books are compared with what REST serves; 0: never."""


class RecordSettings(BaseModel):
    """What a live floor writes down of what it sees, for `polybot replay` and backtests."""

    model_config = ConfigDict(extra="forbid")
    enabled: bool = True
    disk_gb: float = Field(4.0, ge=0.01, le=10_000)
    segment_minutes: float = Field(60.0, ge=0.1, le=10_080)


class Settings(AccountSettings, BaseSettings):
    """All of the service's settings. Each can be given as POLYBOT_<NAME>; nested: POLYBOT_LIMITS__ORDER_PERCENT."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,  # of pydantic's own words; ours leave secrets out (_explain)
    )

    source: Literal["tape", "polymarket"] = "tape"
    """Where the world comes from: a recorded tape, or live public data."""
    exchange: ExchangeUrl = None
    """A loopback exchange (`polybot exchange`) that stands in for every host of the venue."""
    mode: Literal["paper", "live"] = "paper"
    """live: real money. Needs keys and the acknowledgement (live_settings.py), and a passing `polybot doctor`."""
    tape: Path = Field(default_factory=lambda: tapes_dir() / "btc15m_l2.tape")
    speed: float = Field(60.0, ge=0, le=1_000_000)
    """How many seconds of the tape pass in one of ours; 0: as fast as it goes."""
    at_end: Literal["exit", "hold"] = "exit"
    """When the tape is over: end with the report, or keep the page up until stopped (as in a container)."""
    capital: Annotated[Decimal, Field(gt=0, le=10_000_000, decimal_places=6)] = Decimal(1000)
    seed: int = Field(1, ge=0, le=2**63 - 1)
    data_dir: Path = Path("data")
    database_url: DatabaseUrl = None
    redis_url: RedisUrl = None
    embedded: Literal["auto", "never"] = "auto"
    """auto: start own servers where no URL is given. never: a missing URL is an error (as in the container image)."""
    web_host: str = "127.0.0.1"
    web_port: int = Field(8080, ge=0, le=65535)
    web_hosts: HostNames = []
    """Names besides localhost under which the page may be asked for."""
    config_dir: Path = Field(default_factory=configs_dir)
    strategies_dir: Path | None = None
    """A folder of your own strategy files, beside the shipped ones."""
    log_format: Literal["pretty", "json"] = "pretty"
    """The container image sets json: one object a line."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    checkpoint_s: float = Field(30.0, gt=0, le=3600)
    agent_hang_s: float = Field(10.0, gt=0, le=600)
    stall_exit_s: float = Field(30.0, ge=1, le=600)
    """Of the event loop, the journal or the boss: the process ends itself, and is started again."""
    stop_s_max: float = Field(30.0, ge=1, le=600)
    role: Literal["all", "feed", "floor"] = "all"
    """feed: market data to Redis for several floors, nothing else. floor: takes it from there. all: one process."""
    feed: FeedSettings = FeedSettings()
    record: RecordSettings = RecordSettings()
    limits: LimitSettings = LimitSettings()
    venue: VenueSettings = VenueSettings()

    @property
    def capital_money(self) -> Money:
        return Money(parse_units(f"{self.capital:f}"))

    @property
    def floor_limits(self) -> Limits:
        """The owner's limits; with real money, the ramp as well."""
        ramp = self.ramp.plan() if self.mode == "live" else None
        return msgspec.structs.replace(self.limits.limits(), ramp=ramp)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = Path(os.environ.get(f"{PREFIX}CONFIG_DIR") or configs_dir())
        return init_settings, env_settings, _FloorFile(settings_cls, toml_file=folder / "floor.toml")


class _FloorFile(TomlConfigSettingsSource):
    """configs/floor.toml, which is copied, shown and committed: no place for a secret."""

    def __call__(self) -> dict[str, Any]:
        found = super().__call__()
        secrets = [name for name in SECRETS if name in found]
        if secrets:
            name = secrets[0]
            raise SettingsError(
                f"{name} stands in configs/floor.toml, which others may read: take it out, and set "
                f"{PREFIX}{name.upper()}_FILE to a file that only you may read"
            )
        return found


GROUPS: dict[str, type[BaseModel]] = {
    name.upper(): type(field.default)
    for name, field in Settings.model_fields.items()
    if isinstance(field.default, BaseModel)
}
"""Settings with parts: LIMITS__..., VENUE__... and so on."""


def load_settings(**overrides: Any) -> Settings:
    """Read everything once. Raises SettingsError naming what is wrong and where it can be set."""
    _refuse_unknown(os.environ)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)
        settings.limits.limits()
    except SettingsError:
        raise
    except BadInput as error:
        raise SettingsError(f"[limits] in configs/floor.toml (or {PREFIX}LIMITS__...): {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(dict(item)) for item in error.errors())) from error
    except UnreadableSetting as error:
        raise SettingsError(
            f"{error}: a group of settings is given one by one: POLYBOT_LIMITS__ORDER_PERCENT=2"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"configs/floor.toml is not TOML: {error}") from error
    return settings


def require_startable(settings: Settings) -> None:
    """Raises SettingsError with everything that is wrong or missing for this mode, all at once."""
    troubles = [*account_troubles(settings), *live_troubles(settings), *_role_troubles(settings)]
    if troubles:
        raise SettingsError("\n".join(troubles))


def _role_troubles(settings: Settings) -> list[str]:
    """A feed of its own serves live data through one Redis that both ends reach."""
    if settings.role == "all":
        return []
    found = []
    if settings.source == "tape":
        found.append(f"{PREFIX}ROLE={settings.role} is for live data: set {PREFIX}SOURCE=polymarket")
    if settings.redis_url is None:
        found.append(f"{PREFIX}ROLE={settings.role} needs the Redis that feed and floors share: set {PREFIX}REDIS_URL")
    if settings.role == "feed" and settings.mode == "live":
        found.append(f"{PREFIX}ROLE=feed trades nothing: {PREFIX}MODE=live is for {PREFIX}ROLE=floor or all")
    return found


def public_settings(settings: Settings) -> dict[str, object]:
    """The settings as they may be written down: no secrets, no URLs, which can hold passwords, no paths of here.

    `polybot replay` runs a window again with these.
    """
    hidden = {"database_url", "redis_url", "data_dir", "config_dir", "strategies_dir", "tape"}
    hidden |= set(AccountSettings.model_fields) - {"ramp"}
    plain: dict[str, object] = settings.model_dump(mode="json", exclude=hidden)
    return plain | {"agents": msgspec.to_builtins(agent_files(settings))}


def load_plans(settings: Settings) -> list[AgentPlan]:
    """One agent per file of <config_dir>/strategies/*.toml, in the order of their names."""
    return make_plans(agent_files(settings), settings)


def agent_files(settings: Settings) -> "dict[str, AgentFile]":
    """The enabled agents' files by the agents' names, in order: what a run writes down of them."""
    folder = settings.config_dir / "strategies"
    read = {path: _agent_file(path) for path in sorted(folder.glob("*.toml"))}
    files = {path.stem: file for path, file in read.items() if file.enabled}
    if not files:
        raise SettingsError(f"no agent is configured: {folder} has no enabled *.toml (see docs/strategies.md)")
    return files


def make_plans(files: "Mapping[str, AgentFile]", settings: Settings) -> list[AgentPlan]:
    """Agents from their files, or from what a run wrote down of them."""
    strategies = find_strategies(settings.strategies_dir)
    folder = settings.config_dir / "strategies"
    return [_plan(folder / f"{name}.toml", file, strategies) for name, file in files.items()]


class AgentFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of configs/strategies/<agent>.toml."""

    strategy: str
    enabled: bool = True
    series: list[str] = []
    parameters: dict[str, Any] = {}
    execution: dict[str, Any] = {}


def _agent_file(path: Path) -> AgentFile:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), AgentFile)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _plan(path: Path, file: AgentFile, strategies: Mapping[str, type[BaseStrategy]]) -> AgentPlan:
    try:
        if path.stem in RESERVED:
            raise BadInput(f"an agent cannot be named {path.stem}: the floor has one; rename the file")
        if file.strategy not in strategies:
            raise BadInput(f"there is no strategy {file.strategy!r}; there are {', '.join(sorted(strategies))}")
        return AgentPlan(
            agent=AgentId(path.stem),
            strategy=strategies[file.strategy].create(file.parameters),
            execution=_execution(file.execution),
            series=frozenset(SeriesId(series) for series in file.series),
        )
    except (BadInput, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _execution(settings: Mapping[str, Any]) -> Execution:
    money = {name: _units(name, settings[name]) for name in ("edge_min", "order_cost_max") if name in settings}
    return msgspec.convert({**settings, **money}, Execution)


def _units(name: str, value: object) -> int:
    try:
        return parse_units(str(value))
    except BadInput as error:
        raise BadInput(f"execution.{name}: {error}") from error


def _share(percent: Decimal) -> int:
    return int(percent * UNIT / 100)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for nested, model in GROUPS.items():
        known |= {f"{PREFIX}{nested}__{name.upper()}" for name in model.model_fields}
    for name in environment:
        if name.startswith(PREFIX) and name.upper() not in known:
            endings = sorted(setting.removeprefix(PREFIX) for setting in known)
            near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), endings, n=1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
            raise SettingsError(f"{name} is no setting of PolyBot{hint} (docs/operations.md lists them)")


def _explain(item: Mapping[str, Any]) -> str:
    place = [str(part) for part in item["loc"]]
    name = PREFIX + "__".join(place).upper()
    message = str(item["msg"]).removeprefix("Value error, ")
    if place[:1] and place[0] in SECRETS:
        return f"{name}: {message}"
    return f"{name} (or {'.'.join(place)} in configs/floor.toml): {message}, not {item['input']!r}"
