"""The slice of the hunt that every change must pass; the whole of it is `polybot chaos --seeds 10000`."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEEDS = 200
SECONDS_MAX = 900


@dataclass(frozen=True)
class Slice:
    """A hunt that runs in a process of its own, beside whatever else is tested, and gives way to it."""

    process: subprocess.Popen[str]
    folder: Path

    @classmethod
    def begin(cls) -> "Slice":
        folder = Path(tempfile.mkdtemp(prefix="polybot-slice-"))
        hunt = [sys.executable, "-m", "polybot", "chaos", "--seeds", str(SEEDS), "--jobs", "1"]
        with (folder / "said").open("w") as said:
            command = ["nice", "-n", "10", *hunt, "--json", str(folder / "results.json")]
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, text=True)
        return cls(process, folder)

    def finish(self) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired where it takes longer than a quarter of an hour more."""
        return self.process.wait(SECONDS_MAX)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def results(self) -> list[str]:
        """A line of JSON for each seed."""
        return (self.folder / "results.json").read_text().splitlines()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.folder)
