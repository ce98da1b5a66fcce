"""A whole live floor on the loopback exchange: money that comes by hand pauses it; accepted, it trades on, and the next
start knows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from polybot.account_file import AccountFile
from polybot.account_talk import AccountAnswer, AccountAsk
from polybot.app import house_terms
from polybot.domain.units import UNIT, Money
from polybot.floor.dispatch import Dispatcher
from polybot.floor.status import ACCOUNT
from polybot.house import House, restore
from polybot.live import steady_clock
from polybot.live_trading import LiveTrading
from polybot.recovery import new_memory
from polybot.settings import Settings
from polybot.storage.journal import Journal
from polybot.venue.polymarket import account
from tests.test_doctor import WALLET, Venue, venue
from tests.venue.polymarket.liar import soon

TICK_S = 0.05
__all__ = ["venue"]


@pytest.fixture(autouse=True)
def reads_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVERY_S", "AGAIN_S", "SPACING_S"):
        monkeypatch.setattr(account, name, TICK_S)


@asynccontextmanager
async def a_floor(settings: Settings) -> AsyncIterator[House]:
    """What app.py puts together, without stores, page and market data."""
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(Journal.open(settings.data_dir / "journal.sqlite"))
        terms = house_terms(settings, "live exchange", lockstep=False)
        was = restore(terms, new_memory(settings.capital_money), journal, ())
        clock = await steady_clock(settings)
        trading = LiveTrading(settings, clock, was)
        house = House(terms, was, await trading.open(stack), journal, clock, _keep)
        trading.wire(house)
        stop = asyncio.Event()
        running = asyncio.create_task(house.run(_ticking, stop))
        try:
            yield house
        finally:
            stop.set()
            await running


async def _keep(seq: int, position: int, at: int, memory: bytes) -> None: ...


async def _ticking(dispatcher: Dispatcher, stop: asyncio.Event) -> bool:
    while not stop.is_set():
        await dispatcher.tick(dispatcher.clock.now_ms())
        await asyncio.sleep(TICK_S)
    return False


def trades(house: House) -> Callable[[], bool]:
    return lambda: ACCOUNT not in house.room.state.pauses and house.room.fence()


async def accepted(file: AccountFile, number: int, amounts: dict[str, int]) -> AccountAnswer:
    file.ask(AccountAsk(id=str(number), by="ann", amounts=amounts, reason="a deposit"))
    await soon(lambda: (answer := file.answered()) is not None and answer.id == str(number))
    answer = file.answered()
    assert answer is not None
    return answer


async def test_money_that_comes_by_hand_pauses_the_floor_until_it_is_accepted_and_stays_accepted(venue: Venue):
    settings = venue.settings()
    settings.data_dir.mkdir()
    file = AccountFile(settings.data_dir)
    async with a_floor(settings) as house:
        await soon(trades(house))
        venue.exchange.engine.deposit(WALLET, Money(250 * UNIT))
        await soon(lambda: not trades(house)() and ACCOUNT in house.room.state.pauses)
        assert (await accepted(file, 1, {"cash": 251 * UNIT})).refused
        assert not trades(house)()
        assert (await accepted(file, 2, {"cash": 250 * UNIT})).done == "booked"
        await soon(trades(house))
        assert house.room.capital() == house.room.equity() == settings.capital_money
    with Journal.open(settings.data_dir / "journal.sqlite") as journal:
        was = restore(house.terms, new_memory(settings.capital_money), journal, ())
    assert was.room.state.wallet.elsewhere == 250 * UNIT
    assert ACCOUNT not in was.room.state.pauses
