"""A person, a floor and the loopback exchange: what was moved by hand there is shown, and booked as it was seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from polybot.account_file import AccountFile
from polybot.account_talk import AccountAnswer, AccountAsk
from polybot.desk.room import TradingRoom
from polybot.domain.account_facts import CashAccepted, CostAccepted, SharesAccepted
from polybot.domain.events import CapitalAllocated, IntentRecorded, MarketOpened, RunStarted, WalletMove, WalletMoved
from polybot.domain.ids import AgentId
from polybot.domain.market import Outcome
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import Money, format_units
from polybot.floor.dispatch import Dispatcher
from polybot.live_books import books_of
from polybot.live_clerk import AccountClerk
from polybot.risk.limits import Limits
from polybot.storage.journal import Journal
from polybot.venue.polymarket import account as account_module
from polybot.venue.polymarket.account import AccountWatch
from tests.builders import a_plan
from tests.facts import Story, money
from tests.venue.polymarket import orders
from tests.venue.polymarket.liar import soon
from tests.venue.polymarket.order_rehearsal import CASH, Rehearsal, rehearsal

AGENT = AgentId("momentum")
CAPITAL = money("900")


class Floor:
    """A live floor's account side: room, journal, dispatcher, watch and clerk, put together as live_trading.py does."""

    def __init__(self, at: Rehearsal, folder: Path) -> None:
        self.at, self.file, self.count = at, AccountFile(folder), 0
        self.journal = Journal.open(folder / "journal.sqlite")
        self.room = TradingRoom([a_plan(AGENT)], Limits())
        self.room.desks[AGENT].prove_ends()
        self.story = Story(format_units(CAPITAL), start=at.clock.now_ms() - 10_000)
        self.story.opened(at.listing.market)
        self.dispatcher = Dispatcher(self.room, at.venue, self.journal, at.clock, lockstep=False, patience_s=1.0)
        self.watch = AccountWatch(at.client, at.venue, at.clock, self._books, since=at.clock.now_ms())
        self.clerk = AccountClerk(
            self.file,
            self.dispatcher,
            self.watch,
            at.venue,
            at.clock,
            troubles=lambda: tuple(difference.text for difference in self.watch.unexplained),
            dust=lambda: Money(0),
        )

    def _books(self):
        return books_of(self.room, self.at.venue.hash_of)

    async def begin(self) -> None:
        at, market = self.at.clock.now_ms(), self.at.listing.market
        begun = RunStarted(at=at, run="r", source="live", mode="live", capital=CAPITAL, seed=1, version="1")
        capital = CapitalAllocated(at=at, agent=AGENT, capital=CAPITAL, moved=CAPITAL)
        opened = WalletMoved(at=at, kind=WalletMove.OPENED, market=None, amount=Money(CASH - CAPITAL))
        await self.dispatcher.commit([begun, capital, MarketOpened(at=at, market=market), opened])

    async def order(self, size: str, limit: str = "0.52", **terms: object) -> OrderIntent:
        """A FAK order of the floor's, placed and over; its fills are confirmed."""
        market, tif = self.at.listing.market, TimeInForce.FAK
        intent = self.story.intent(AGENT, market, size=size, limit=limit, ask=limit, tif=tif)
        intent = msgspec.structs.replace(intent, **terms)
        self.room.apply(IntentRecorded(at=intent.decided_at, agent=AGENT, intent=intent))
        await self.at.place(intent)
        await self.all_mined(1)
        return intent

    async def all_mined(self, trades: int) -> None:
        """At the exchange; nobody here has heard of it yet."""
        there = self.at.exchange.engine.trades
        await soon(lambda: len(list(there())) == trades and all(trade.status.is_final for trade in there()))

    async def heard(self) -> None:
        await self.dispatcher.tick(self.at.clock.now_ms())
        await self.dispatcher.finished()

    async def deposit(self, amount: str) -> None:
        await self.at.throw("deposit", address=self.at.client.wallet.address, amount=amount)

    async def asked(self, amounts: dict[str, int] | None = None, reason: str = "by hand") -> AccountAnswer:
        self.count += 1
        ask = AccountAsk(id=str(self.count), by="ann", amounts=amounts, reason=reason)
        self.file.ask(ask)
        await self.clerk.look()
        answer = self.file.answered()
        assert answer is not None
        assert answer.id == ask.id
        return answer

    async def seen_twice(self) -> None:
        await self.watch.look()  # trades, too, that no stream has told of
        await self.heard()
        await self.watch.look()
        await self.watch.look()

    def facts(self, *kinds: type) -> list[object]:
        return [entry.fact for entry in self.journal.read() if isinstance(entry.fact, kinds)]


@pytest.fixture
async def floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Floor]:
    monkeypatch.setattr(account_module, "SPACING_S", 0.01)
    async with rehearsal(streams=False) as at:
        made = Floor(at, tmp_path)
        await made.begin()
        reading = asyncio.create_task(made.watch.run())
        try:
            yield made
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            made.journal.close()


@pytest.mark.parametrize(("amount", "elsewhere"), [("250", "350"), ("-60.000001", "39.999999")])
async def test_money_moved_by_hand_is_shown_and_booked_to_the_millionth(floor: Floor, amount: str, elsewhere: str):
    await floor.deposit(amount)
    await floor.seen_twice()
    (item,) = (await floor.asked()).view.items
    assert (item.name, item.least, item.most) == ("cash", money(amount), money(amount))
    assert item.since is not None
    answer = await floor.asked({"cash": money(amount)}, "moved by hand")
    assert (answer.done, answer.refused, answer.view.items, answer.view.others) == ("booked", "", (), ())
    assert answer.view.elsewhere == money(elsewhere)
    (fact,) = floor.facts(CashAccepted)
    assert isinstance(fact, CashAccepted)
    assert (fact.amount, fact.by, fact.text) == (money(amount), "ann", "moved by hand")
    assert (floor.room.equity(), floor.room.capital()) == (CAPITAL, CAPITAL)


async def test_what_has_changed_since_it_was_seen_is_not_booked(floor: Floor):
    await floor.deposit("250")
    await floor.seen_twice()
    seen = (await floor.asked()).view.items[0].least
    await floor.deposit("1")
    answer = await floor.asked({"cash": seen})
    assert answer.done == ""
    assert answer.refused
    assert floor.facts(CashAccepted) == []


async def test_shares_bought_by_hand_are_money_and_shares_of_nobody_here(floor: Floor):
    await floor.order("20")
    await floor.heard()
    by_hand = floor.at.intent(77, "0.52", "10", TimeInForce.FAK)
    await floor.at.venue.place(orders.approved(by_hand), floor.at.clock.now_ms())
    await floor.all_mined(2)
    await floor.seen_twice()
    items = (await floor.asked()).view.items
    cash, held = items
    assert (cash.name, held.name) == ("cash", f"{floor.at.listing.market.id}:up")
    assert cash.least == cash.most < 0 < held.least == held.most
    answer = await floor.asked({item.name: item.least for item in items})
    assert (answer.done, answer.view.items) == ("booked", ())
    assert len(floor.facts(CashAccepted, SharesAccepted)) == 2


async def test_a_fill_that_cost_more_than_was_reserved_is_booked_as_the_floors_own_once_accepted(floor: Floor):
    """The book improves and a fee is taken that was not reckoned with: more shares, for more than was reserved."""
    intent = await floor.order("20", "0.55", cost_max=money("10.5"))
    await floor.heard()
    await floor.seen_twice()
    desk = floor.room.desks[AGENT].state
    before = await floor.asked()
    cost, *others = before.view.items
    assert cost.name == f"cost:{intent.id}"
    assert cost.is_first
    assert others, "until it is booked, it shows as money and shares as well"
    early = await floor.asked({others[0].name: others[0].least})
    assert "comes first" in early.refused
    answer = await floor.asked({cost.name: cost.least}, "the fee was raised")
    assert (answer.done, answer.view.items) == ("booked", ())
    assert len(floor.facts(CostAccepted)) == 1
    assert desk.cash == CAPITAL - cost.least == floor.at.account.cash - (CASH - CAPITAL)
    assert desk.held(floor.at.listing.market.id)[Outcome.UP] == floor.at.holds[0]


async def test_what_was_asked_of_a_floor_that_is_gone_is_not_done_by_the_next(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("polybot.live_clerk.LOOK_EVERY_S", 0.01)
    await floor.deposit("250")
    await floor.seen_twice()
    floor.file.ask(AccountAsk(id="of the last", by="ann", amounts={"cash": money("250")}, reason="a deposit"))
    running = asyncio.create_task(floor.clerk.run())
    try:
        await asyncio.sleep(0.3)
        floor.file.ask(AccountAsk(id="of this one", by="ann"))
        await soon(lambda: floor.file.answered() is not None)
        answer = floor.file.answered()
        assert answer is not None
        assert answer.id == "of this one"
        assert floor.facts(CashAccepted) == []
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
