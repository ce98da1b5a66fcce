"""A slice of real chaos: nine kills of the real service, PostgreSQL and Valkey, and everything compared afterwards."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from polybot.chaos.real import run_chaos
from polybot.chaos.real_plan import Target
from polybot.domain.events import BookReplaced, MarketEvent, MarketListed, MarketResolved, TickSizeChanged
from polybot.paths import tapes_dir
from polybot.storage.tape import TapeReader
from polybot.storage.tape_writer import new_tape

pytestmark = pytest.mark.slow
MARKETS = 2
SEED = 3


def beginning(tape: TapeReader) -> Iterator[MarketEvent]:
    """What concerns the first markets, up to their end."""
    markets = [market.id for market in tape.totals.markets[:MARKETS]] if tape.totals else []
    for event in tape.events():
        match event:
            case MarketListed():
                market = event.market.id
            case BookReplaced() | TickSizeChanged() | MarketResolved():
                market = event.market
            case _:
                continue
        if market in markets:
            yield event


@pytest.fixture
def short_tape(tmp_path: Path) -> Path:
    shipped, path = TapeReader(tapes_dir() / "btc15m_l2.tape"), tmp_path / "short.tape"
    with new_tape(path, shipped.header) as writer:
        for event in beginning(shipped):
            writer.append(event)
    return path


async def test_nine_kills_lose_nothing_and_double_nothing(tmp_path: Path, short_tape: Path) -> None:
    told: list[str] = []
    outcome = await run_chaos(9, SEED, tmp_path / "c", told.append, tape=short_tape)
    assert outcome.findings == []
    assert outcome.kills == Counter({Target.SERVICE: 3, Target.DATABASE: 3, Target.CACHE: 3})
    assert outcome.rounds == 2, "with servers of their own, and with the service's own"
    assert outcome.orders > 100
    assert outcome.records == outcome.rounds * MARKETS * 8
    assert outcome.rows > 3 * outcome.facts
    assert outcome.comebacks
    assert told
