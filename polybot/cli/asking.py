"""How a verb asks a running floor by a file in its folder: who asks, which question, and the wait for an answer."""

import os
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

STEP_S = 0.05


class _Answer(Protocol):
    @property
    def id(self) -> str: ...


AnswerT = TypeVar("AnswerT", bound=_Answer)


def who_asks() -> str:
    return f"{os.environ.get('USER', 'somebody')} at the terminal"


def new_id() -> str:
    return f"{os.getpid()}-{time.perf_counter_ns()}"


def answer_to(asked: str, read: Callable[[], AnswerT | None], seconds: float) -> AnswerT | None:
    """What `read` finds with the id `asked`; None where nothing is found for so long."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        answer = read()
        if answer is not None and answer.id == asked:
            return answer
        time.sleep(STEP_S)
    return None
