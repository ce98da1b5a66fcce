"""The book improves between seeing and matching: a market BUY brings more shares for its money, and the desk's books,
the auditor's and the exchange's are the same to the millionth."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from polybot.desk.intake import Taken
from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    AnyFact,
    FillMatched,
    OrderClosed,
    RunStarted,
    TradeAudited,
    VenueReply,
)
from polybot.domain.ids import AgentId
from polybot.domain.ledger import CASH as PUSD
from polybot.domain.market import Outcome
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.risk.audit import Auditor
from polybot.risk.limits import Limits
from tests.builders import a_plan
from tests.exchange.trading import levels
from tests.facts import Story, money
from tests.venue.polymarket.order_rehearsal import CASH, Rehearsal, rehearsal

AGENT = AgentId("momentum")
FOK, FAK = TimeInForce.FOK, TimeInForce.FAK
CAPITAL = "900"


class Floor:
    """A room with one desk beside the exchange, and the auditor behind it, as on a live floor."""

    def __init__(self, at: Rehearsal) -> None:
        self.at = at
        self.story = Story(CAPITAL, start=at.clock.now_ms() - 10_000)
        self.room = TradingRoom([a_plan(AGENT)], Limits())
        self.auditor = Auditor()
        self.story.agent(AGENT, CAPITAL)
        market = self.story.opened(at.listing.market)
        self.verdicts: list[TradeAudited] = []
        self.taken: list[Taken] = []
        self.market = market

    def order(self, tif: TimeInForce, **terms: Any) -> OrderIntent:
        """20 shares at 0.55, and 0.55 is the best that was seen; durable."""
        intent = self.story.intent(AGENT, self.market, ask="0.55", tif=tif, **terms)
        self.tell(self.story.facts)
        return intent

    def tell(self, facts: Sequence[AnyFact]) -> None:
        for fact in facts:
            told = msgspec.structs.replace(fact, mode="live") if isinstance(fact, RunStarted) else fact
            self.room.apply(told)
            self.verdicts += [said for said in self.auditor.apply(told) if isinstance(said, TradeAudited)]

    def hear(self, replies: Sequence[VenueReply]) -> None:
        taken = self.room.intake(replies)
        self.taken.append(taken)
        self.tell(taken.facts)

    async def place(self, intent: OrderIntent, *asks: tuple[str, str]) -> None:
        """The book becomes what `asks` say, and only then the order arrives. Until all is said of it."""
        bids = levels([("0.40", "100")])
        exchange, market = self.at.exchange, self.market.id
        exchange.engine.replace_depth(market, Outcome.UP, bids, levels(list(asks)), exchange.now())
        await self.at.place(intent)
        await self.at.until(lambda: bool(self.at.ledger.of(OrderClosed)) and not self.at.ledger.provisional)
        self.hear(self.at.ledger.facts)

    @property
    def desk(self):
        return self.room.desks[AGENT].state

    def agrees(self) -> bool:
        """Desk, auditor and exchange have the same money, and the desk and the exchange the same shares."""
        paid = CASH - self.at.account.cash
        held = [self.desk.held(self.market.id).get(outcome, 0) for outcome in Outcome]
        cash = money(CAPITAL) - paid
        return self.desk.cash == self.auditor.agents[AGENT].cash == cash and held == self.at.holds


@asynccontextmanager
async def a_floor():
    async with rehearsal() as at:
        exchange = at.exchange
        bids, asks = levels([("0.40", "100")]), levels([("0.55", "100")])
        exchange.engine.replace_depth(at.listing.market.id, Outcome.UP, bids, asks, exchange.now())
        yield Floor(at)


@pytest.mark.parametrize("tif", [FOK, FAK])
async def test_a_better_price_than_was_seen_brings_more_shares_and_every_book_is_the_exchanges(tif):
    async with a_floor() as floor:
        intent = floor.order(tif)
        await floor.place(intent, ("0.47", "7.777777"), ("0.49", "100"))
        fills = floor.at.ledger.of(FillMatched)
        assert {fill.price for fill in fills} == {470_000, 490_000}
        ended = floor.desk.ended[intent.id]
        assert ended.reason is CloseReason.FILLED
        assert ended.filled == sum(fill.shares for fill in fills) > intent.shares
        assert ended.spent == CASH - floor.at.account.cash <= intent.cost_max
        assert floor.agrees()
        assert floor.desk.reserved == 0
        assert floor.desk.ledger.total(PUSD) == 0
        assert [verdict.findings for verdict in floor.verdicts] == [[]]
        assert all(not taken.doubtful and not taken.strangers for taken in floor.taken)


@pytest.mark.parametrize("tif", [FOK, FAK])
async def test_at_the_price_that_was_seen_the_same_money_brings_fewer_and_the_auditor_knows_why(tif):
    async with a_floor() as floor:
        intent = floor.order(tif)
        await floor.place(intent, ("0.55", "100"))
        assert 0 < floor.desk.ended[intent.id].filled < intent.shares
        assert floor.agrees()
        assert [verdict.findings for verdict in floor.verdicts] == [[]]


async def test_a_fill_that_cost_more_than_was_reserved_is_booked_and_found_by_the_auditor():
    """The fee is not what was reckoned with when the order was written down: nothing was reserved for one."""
    async with a_floor() as floor:
        intent = floor.order(FAK, cost_max=money("11"))
        await floor.place(intent, ("0.55", "100"))
        assert 0 < floor.desk.ended[intent.id].filled <= intent.shares
        assert floor.agrees()
        assert any(verdict.findings for verdict in floor.verdicts)
