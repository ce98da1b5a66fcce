"""The slice of the hunt takes minutes of a core, while most tests wait for servers and clocks: it runs beside them.

It is begun before the first test, and the last one asks what it found.
"""

import pytest

from tests.slice import Slice

SLICE = pytest.StashKey[Slice]()


def asks_the_slice(item: pytest.Item) -> bool:
    return "hunt_beside" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=asks_the_slice)


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(map(asks_the_slice, session.items)) and not session.config.option.collectonly:
        session.config.stash[SLICE] = Slice.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    hunt = config.stash.get(SLICE, None)
    if hunt is not None:
        hunt.end()


@pytest.fixture
def hunt_beside(pytestconfig: pytest.Config) -> Slice:
    return pytestconfig.stash[SLICE]
