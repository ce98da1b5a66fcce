"""What there is to examine on this machine: the settings, the disk, the journal, database and Redis."""

import asyncio
import shutil
from pathlib import Path

from polybot.doctor.findings import Finding, failed, passed, skipped
from polybot.domain.units import UNIT, Money, format_units
from polybot.live_settings import account_troubles, live_troubles
from polybot.log import redact
from polybot.risk.gate import order_budget
from polybot.runs import journal_path
from polybot.settings import Settings
from polybot.storage import postgres
from polybot.storage.bus import BusAwayError
from polybot.storage.journal_file import JournalError
from polybot.storage.journal_verify import damage_of, is_empty
from polybot.storage.redis_line import RedisLine
from polybot.switch_file import SwitchFile, SwitchUnreadable

GIB = 2**30
SPARE_GIB = 1.0
"""Besides the recordings: journal, checkpoints, logs, and a database of its own where there is one."""
SHARES_MIN = 5
"""The venue's smallest order (polymarket.md 5.4)."""
STORE_S_MAX = 8.0
NO_DATABASE: tuple[type[Exception], ...] = (*postgres.OUTAGES, ValueError)
"""Away, or a URL that is none."""


async def examine_here(settings: Settings, *, at_start: bool) -> list[Finding]:
    """At a start the switch is left out: a floor that is stopped may be opened, and does not trade."""
    switch = [] if at_start else [await asyncio.to_thread(_switch, settings)]
    return [
        _live(settings),
        _limits(settings),
        *switch,
        await asyncio.to_thread(_disk, settings),
        await asyncio.to_thread(_journal, settings),
        await _database(settings),
        await _redis(settings),
    ]


def _live(settings: Settings) -> Finding:
    troubles = [*account_troubles(settings), *live_troubles(settings)]
    if troubles:
        return failed("live settings", "; ".join(troubles), "set what is named, all of it (docs/operations.md)")
    if settings.mode != "live":
        return skipped("live settings", "paper money: POLYBOT_MODE is paper")
    return passed("live settings", "mode, private key and acknowledgement are set")


def _limits(settings: Settings) -> Finding:
    """Whether the smallest order of the venue fits into the largest of ours."""
    limits, ramp = settings.floor_limits, settings.floor_limits.ramp
    budget = order_budget(settings.capital_money, limits, None if ramp is None else ramp.order_cost_first)
    told = f"an order costs ${format_units(budget)} at most"
    if budget < limits.marketable_notional_min:
        remedy = "raise POLYBOT_LIMITS__ORDER_PERCENT, POLYBOT_RAMP__ORDER_COST or the capital"
        return failed("limits", f"{told}, and the venue takes none below $1", remedy)
    if budget < SHARES_MIN * UNIT:
        told += f": at most {SHARES_MIN} shares at {budget / SHARES_MIN / UNIT:.2f}; dearer ones cannot be bought"
    if ramp is not None:
        stage = f"{ramp.trades} settled trades on {ramp.days} or more days"
        told += f", to begin with; {ramp.growth} times as much after {stage}"
    return passed("limits", told)


def _switch(settings: Settings) -> Finding:
    file = SwitchFile(settings.data_dir)
    try:
        wish = file.wish()
    except SwitchUnreadable as error:
        return failed("kill switch", str(error), "see to the folder's rights")
    if wish is not None and wish.stop:
        return failed("kill switch", f"{file.path} stands, by {wish.by}: nothing is traded", "type `polybot resume`")
    return passed("kill switch", "not thrown")


def _disk(settings: Settings) -> Finding:
    folder = _existing(settings.data_dir)
    needed = SPARE_GIB + (
        float(settings.record.disk_gb) if settings.source != "tape" and settings.record.enabled else 0
    )
    try:
        free = shutil.disk_usage(folder).free / GIB
        written = settings.data_dir / "doctor.unfinished"
        if settings.data_dir.exists():
            written.write_text("")
            written.unlink()
    except OSError as error:
        return failed("disk", f"{settings.data_dir}: {error.strerror}", "give the folder to the floor's user")
    if free < needed:
        text = f"{free:.1f} GiB are free, {needed:.1f} are needed with the recordings"
        return failed("disk", text, "make room, or lower POLYBOT_RECORD__DISK_GB")
    return passed("disk", f"{free:.1f} GiB are free, {needed:.1f} are needed")


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _journal(settings: Settings) -> Finding:
    path = journal_path(settings.data_dir)
    if not path.exists():
        return passed("journal", "there is none yet: the first start begins one")
    damage = damage_of(path)
    if damage is not None:
        return failed("journal", damage, "`polybot journal` says what can be done")
    return passed("journal", "whole, from its first row to its last")


async def _database(settings: Settings) -> Finding:
    if settings.database_url is None:
        return _own("database", "POLYBOT_DATABASE_URL", settings)
    try:
        async with asyncio.timeout(STORE_S_MAX):
            pool = await postgres.open_pool(settings.database_url, connections_max=1)
            try:
                version = await pool.fetchval("SHOW server_version")
            finally:
                await postgres.close_pool(pool)
    except NO_DATABASE as error:
        why = redact(str(error)) or "no answer in time"
        return failed("database", f"PostgreSQL does not answer: {why}", "start it, or correct POLYBOT_DATABASE_URL")
    return passed("database", f"PostgreSQL {version} answers")


async def _redis(settings: Settings) -> Finding:
    if settings.redis_url is None:
        return _own("redis", "POLYBOT_REDIS_URL", settings)
    line = RedisLine(settings.redis_url)
    try:
        await line.send({})
    except BusAwayError as error:
        return failed("redis", f"it does not answer: {redact(str(error))}", "start it, or correct POLYBOT_REDIS_URL")
    finally:
        await line.close()
    return passed("redis", "it answers")


def _own(check: str, variable: str, settings: Settings) -> Finding:
    if settings.embedded == "never":
        return failed(check, f"{variable} is not set, and POLYBOT_EMBEDDED=never forbids an own one", "set the URL")
    return skipped(check, "an own server is started with the floor")


def is_first_start(settings: Settings) -> bool:
    """A start makes its journal before it examines anything. One that cannot be read is the journal's finding."""
    try:
        return is_empty(journal_path(settings.data_dir))
    except JournalError:
        return False


def dollars(amount: Money) -> str:
    return f"${format_units(amount)}"
