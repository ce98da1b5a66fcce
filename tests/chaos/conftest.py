"""What every test of the simulated world needs."""

from collections.abc import Iterator

import pytest

from tests.chaos.worlds import Bench


@pytest.fixture(autouse=True)
def closed_loops() -> Iterator[None]:
    yield
    Bench.close_all()
