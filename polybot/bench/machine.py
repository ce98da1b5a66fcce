"""Which machine, which versions: a figure without them says nothing."""

import os
import platform
import resource
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from polybot import __version__

LIBRARIES = ("msgspec", "uvloop", "aiohttp", "asyncpg", "zstandard")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str
    cores: int
    system: str
    python: str
    polybot: str
    libraries: dict[str, str]


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        polybot=__version__,
        libraries={name: version(name) for name in LIBRARIES},
    )


def resident_mb() -> float:
    """Resident memory of this process now, in megabytes of 1e6 bytes; its highest so far where /proc is missing."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def stolen_s() -> float:
    """Seconds that the host of a virtual machine has kept its processors from it, all of them together, since it began.

    /proc/stat's eighth figure, in hundredths of a second (man 5 proc_stat); 0 where the system does not say.
    """
    stat = Path("/proc/stat")
    return int(stat.read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK") if stat.exists() else 0.0


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """By least squares, in the second number's unit for one of the first's; 0 where there is none."""
    if len(samples) < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in samples) / len(samples), sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
