"""The watchdog's second net: a small process that ends ours when even the watchdog's thread gets no turn.

A C extension that holds the interpreter holds every thread in it. Only somebody outside can tell, and can also tell
that from a process that was suspended: a guard that is suspended with it counts nothing, and one that is not sees the
kernel's word for it. Python's own way out (`faulthandler.dump_traceback_later(exit=True)`) kills what was suspended as
soon as it wakes. Run as a script, this file is the guard; it imports nothing of polybot.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading

STEP_S = 0.5
LAST_WORDS_S = 2.0
"""From SIGABRT, on which faulthandler writes all stacks without needing the interpreter, to SIGKILL."""
CLOSE_S_MAX = 1.0
SAY_S_MAX = 0.5


class GuardProcess:
    """Our side of it. Without a guard (no process to be had, or it died) the floor goes on, with one net less."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def start(self) -> None:
        """Raises nothing: where no process can be had there is no guard."""
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), f"{self._limit_s}"]
        try:
            self._process = subprocess.Popen(
                command, stdin=reading, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True
            )
        except OSError:
            self.close()
        finally:
            os.close(reading)

    def beat(self) -> None:
        if self._pipe >= 0:
            with contextlib.suppress(OSError):  # it is full (the guard is slow) or broken (the guard is gone)
                os.write(self._pipe, b".")

    def close(self) -> None:
        """The guard ends when the pipe does, however that comes about."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(CLOSE_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# -- the guard's own side ---------------------------------------------------------------------------------------------


def keep_watch(guarded: int, limit_s: float) -> None:
    """Until stdin ends. Time is counted in steps that were waited through, so a suspended guard counts nothing."""
    silent_s = 0.0
    while True:
        ready, _, _ = select.select([0], [], [], STEP_S)
        if ready:
            if not os.read(0, 4096):
                return
            silent_s = 0.0
        elif not _is_suspended(guarded):
            silent_s += STEP_S
        if silent_s > limit_s:
            _end(guarded, silent_s)
            return


def _is_suspended(process: int) -> bool:
    """What the kernel says; where it cannot be asked (no /proc), not."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def _end(guarded: int, silent_s: float) -> None:
    if os.getppid() != guarded:  # it is gone, and its number may be another's
        return
    words = (
        f"CRITICAL: the event loop has not turned for {silent_s:g} s and no thread has; the guard ends the process\n"
    )
    saying = threading.Thread(target=_say, args=(words,), daemon=True)
    saying.start()
    saying.join(SAY_S_MAX)
    if os.getppid() != guarded:
        return
    os.kill(guarded, signal.SIGABRT)
    select.select([0], [], [], LAST_WORDS_S)  # returns at once when it is gone
    if os.getppid() == guarded:
        os.kill(guarded, signal.SIGKILL)


def _say(words: str) -> None:
    """In a thread, for nobody may read. (A terminal made non-blocking would be that for the whole shell.)"""
    with contextlib.suppress(OSError):
        os.write(2, words.encode())


if __name__ == "__main__":
    keep_watch(int(sys.argv[1]), float(sys.argv[2]))
