"""The floor that is put under strain: the shipped agents and five that order all the time, some of whose fills fail."""

import os
import shutil
from decimal import Decimal
from pathlib import Path

from polybot.bench import busy
from polybot.paths import configs_dir
from polybot.settings import LimitSettings, Settings, VenueSettings, load_settings

SPEED = 200.0
"""The shipped tape in 64 s: about 400 market events and 280 facts a second."""
CAPITAL = Decimal(1_000_000)
"""Enough, with the limits below, that orders of the usual $20 are never refused for want of it."""
LIMITS = LimitSettings(
    order_percent=Decimal("0.002"),
    agent_percent=Decimal(100),
    floor_percent=Decimal(100),
    daily_loss_percent=Decimal(100),
    daily_drawdown_percent=Decimal(100),
    loss_streak=1_000_000,
)
VENUE = VenueSettings(ghost_fill_percent=Decimal(10))
BUSY_AGENTS = 5
MAKERS = 2
LOOKS_PER_ORDER = 24
AGENT = """
strategy = "{strategy}"
[parameters]
messages = {messages}
[execution]
{execution}
orders_per_window = 1000
"""
TAKER = 'style = "taker"\ntime_in_force = "FAK"\nslippage_ticks = 5'
MAKER = 'style = "maker"\nrest_s = 150'


def write_load(folder: Path, *, tape: Path | None = None, looks_per_order: int = LOOKS_PER_ORDER) -> Settings:
    """Write configuration and strategies to `folder`; the settings of a service that runs on them.

    `tape`: another than the shipped one.
    """
    configs, own = folder / "configs", folder / "strategies"
    shutil.copytree(configs_dir(), configs)
    own.mkdir()
    shutil.copy(str(busy.__file__), own / "busy.py")  # where the service finds an owner's own strategies
    for number in range(BUSY_AGENTS):
        execution = MAKER if number < MAKERS else TAKER
        text = AGENT.format(strategy=busy.Busy.name, messages=looks_per_order + number, execution=execution)
        (configs / "strategies" / f"busy_{number + 1}.toml").write_text(text)
    return load_settings(
        config_dir=configs,
        strategies_dir=own,
        data_dir=folder / "data",
        tape=tape,
        capital=CAPITAL,
        limits=LIMITS.model_dump(exclude_unset=True),
        venue=VENUE.model_dump(exclude_unset=True),
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """These settings as a process of its own is told them, in an environment with no other word to PolyBot."""
    given = {
        "CONFIG_DIR": settings.config_dir,
        "STRATEGIES_DIR": settings.strategies_dir,
        "DATA_DIR": settings.data_dir,
        "TAPE": settings.tape,
        "CAPITAL": settings.capital,
        **{f"LIMITS__{name.upper()}": value for name, value in LIMITS.model_dump(exclude_unset=True).items()},
        **{f"VENUE__{name.upper()}": value for name, value in VENUE.model_dump(exclude_unset=True).items()},
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    return others | {f"POLYBOT_{name}": str(value) for name, value in given.items()}
