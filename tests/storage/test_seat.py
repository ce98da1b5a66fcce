"""One process a data folder, and the proofs that another has ended: with real processes and real locks."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polybot.storage import seat
from polybot.storage.seat import SeatTakenError, SeatUnusableError, has_ended, take_seat

HOLD = """
import sys, time
from pathlib import Path
from polybot.storage.seat import take_seat
held = take_seat(Path(sys.argv[1]))
print(held.identity.seat, held.identity.process, flush=True)
time.sleep(60)
"""


class Holder:
    """Another process in the seat."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.seat, self.name = self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def holder(tmp_path):
    other = Holder(tmp_path / "data")
    yield other
    other.kill()


def test_a_folder_is_one_process_own_and_says_whose(holder, tmp_path):
    with pytest.raises(SeatTakenError, match=f"process {holder.process.pid}"):
        take_seat(tmp_path / "data")


def test_a_killed_holder_frees_the_folder_and_its_heir_knows_that_it_is_dead(holder, tmp_path):
    holder.kill()
    heir = take_seat(tmp_path / "data")
    assert heir.identity.seat == holder.seat
    assert heir.proves_dead(holder.seat, "unknown")
    heir.close()


def test_a_stopped_holder_keeps_the_folder(holder, tmp_path):
    holder.process.send_signal(signal.SIGSTOP)
    wait_for_state(holder.process.pid, "T")
    with pytest.raises(SeatTakenError, match=f"suspended and does nothing: `kill -9 {holder.process.pid}`"):
        take_seat(tmp_path / "data")
    holder.process.send_signal(signal.SIGCONT)


def test_a_process_of_another_folder_is_proven_dead_only_when_it_is(holder, tmp_path):
    other = take_seat(tmp_path / "elsewhere")
    assert not other.proves_dead(holder.seat, holder.name)
    holder.process.send_signal(signal.SIGSTOP)
    assert not other.proves_dead(holder.seat, holder.name)
    holder.process.kill()
    wait_for_state(holder.process.pid, "Z")
    assert other.proves_dead(holder.seat, holder.name)  # nobody has reaped it yet, and it runs no more
    holder.kill()
    assert other.proves_dead(holder.seat, holder.name)
    other.close()


def test_a_pid_that_was_given_to_a_later_process_is_no_life(holder):
    place = holder.name.rpartition(":")[0]
    assert has_ended(f"{place}:1")


@pytest.mark.parametrize("name", ["", "unknown", "another-boot/4026531836/1:5"])
def test_nothing_is_proven_of_a_process_of_another_machine_or_boot(name):
    assert not has_ended(name)


def test_where_the_kernel_does_not_name_its_boot_nothing_is_proven(holder, tmp_path, monkeypatch):
    holder.kill()
    monkeypatch.setattr(seat, "BOOT_ID", tmp_path / "none")
    heir = take_seat(tmp_path / "data")
    assert not heir.proves_dead(holder.seat, holder.name)
    heir.close()


def test_a_copied_folder_is_another_seat(tmp_path):
    first, second = take_seat(tmp_path / "data"), take_seat(tmp_path / "copy")
    assert first.identity.seat != second.identity.seat
    first.close()
    second.close()


def test_a_folder_that_is_a_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(SeatUnusableError, match="choose another folder"):
        take_seat(tmp_path / "data")


def wait_for_state(pid: int, letter: str) -> None:
    end = time.monotonic() + 5
    while seat.state_of(pid) != letter:
        assert time.monotonic() < end, seat.state_of(pid)
        time.sleep(0.01)
