"""A trade that the venue tells anew after a restart, with other makers than before: what is booked stays as it is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.desk.room import TradingRoom
from polybot.desk.state import DeskState
from polybot.domain.ids import AgentId
from polybot.domain.market import Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.risk.limits import Limits
from polybot.venue.polymarket.order_replies import TrackedOrder, account_of, by_trade
from polybot.venue.polymarket.wire_user import MakerEntry, TradePhase, TradeSeen
from tests.builders import a_plan
from tests.facts import Story, a_market, money
from tests.venue.polymarket.orders import CONDITION, TOKENS, sent

AGENT = AgentId("scripted")
OURS = "0x" + "aa" * 32
OTHER = "0x" + "bb" * 32
SHARES = 12
Shape = list[tuple[int, int]]
"""What makers gave: whole shares at so many cents."""

shapes = st.lists(st.integers(1, SHARES - 1), max_size=3, unique=True).flatmap(
    lambda cuts: st.tuples(*(st.tuples(st.just(size), st.integers(50, 54)) for size in _sizes(cuts))).map(list)
)


def _sizes(cuts: list[int]) -> list[int]:
    ends = [*sorted(cuts), SHARES]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


class Books:
    """A room with one order of more shares than the trade has: a trade booked twice would fit into it."""

    def __init__(self) -> None:
        story = Story()
        self.room = TradingRoom([a_plan("scripted")], Limits())
        story.agent(AGENT, "1000")
        market = story.opened(msgspec.structs.replace(a_market(), condition_id=CONDITION, tokens=TOKENS))
        self.intent: OrderIntent = story.intent(AGENT, market, size="30", tif=TimeInForce.GTC)
        for fact in story.facts:
            self.room.apply(fact)

    @property
    def desk(self) -> DeskState:
        return self.room.desks[AGENT].state

    def followed(self) -> TrackedOrder:
        """The order as a process follows it that has just begun."""
        return TrackedOrder(sent(self.intent, OURS), booked=by_trade(self.desk.provisional.values(), self.desk.final))

    def hear(self, order: TrackedOrder, trade: TradeSeen) -> int:
        """How many facts came of it."""
        facts = self.room.intake(order.see_trade(trade)).facts
        for fact in facts:
            self.room.apply(fact)
        return len(facts)

    def told(self, shape: Shape, phase: TradePhase) -> TradeSeen:
        makers = [
            MakerEntry(order=OTHER, token=TOKENS[0], side=Side.SELL, price=_cents(at), shares=Shares(size * UNIT))
            for size, at in shape
        ]
        return TradeSeen(
            id="trade-1",
            phase=phase,
            condition=CONDITION,
            taker_order=OURS,
            token=TOKENS[0],
            side=Side.BUY,
            price=_cents(54),
            shares=Shares(SHARES * UNIT),
            makers=tuple(makers),
            matched_at=Millis(self.intent.decided_at + 500),
            updated_at=Millis(self.intent.decided_at + 3_500),
        )


def _cents(price: int) -> Price:
    return Price(price * UNIT // 100)


@given(shapes, shapes, st.booleans())
def test_a_trade_told_in_another_shape_after_a_restart_is_booked_once_and_becomes_final(
    before: Shape, after: Shape, final_before: bool
):
    books = Books()
    first = books.followed()
    books.hear(first, books.told(before, TradePhase.MATCHED))
    if final_before:
        books.hear(first, books.told(before, TradePhase.CONFIRMED))
    else:
        booked = books.desk.cash_available, books.desk.exposure
        books.hear(books.followed(), books.told(after, TradePhase.MINED))
        assert (books.desk.cash_available, books.desk.exposure) == booked
    cash, held = books.desk.cash_available, dict(books.desk.held(books.intent.market))

    books.hear(books.followed(), books.told(after, TradePhase.CONFIRMED))

    assert (books.desk.cash_available, dict(books.desk.held(books.intent.market))) == (cash, held)
    assert sum(held.values()) == SHARES * UNIT
    assert not books.desk.provisional
    assert books.desk.exposure < money("1000")


@given(shapes, shapes)
def test_a_ghost_told_in_another_shape_after_a_restart_is_given_back_whole(before: Shape, after: Shape):
    books = Books()
    books.hear(books.followed(), books.told(before, TradePhase.MATCHED))

    books.hear(books.followed(), books.told(after, TradePhase.FAILED))

    assert not books.desk.provisional
    assert books.desk.held(books.intent.market) == {}
    assert books.desk.cash == money("1000")


def test_a_look_up_after_a_restart_knows_the_fills_by_their_names_and_the_order_by_all_its_shares():
    books = Books()
    books.hear(books.followed(), books.told([(5, 52), (7, 53)], TradePhase.MATCHED))
    named = set(books.desk.provisional)
    assert len(named) == 2

    again = books.told([(12, 54)], TradePhase.CONFIRMED)
    account = account_of(sent(books.intent, OURS), None, [again], booked=by_trade(books.desk.provisional.values(), ()))

    assert account is not None
    facts = books.room.intake(account).facts
    assert {fact.fill for fact in facts} == named  # type: ignore[union-attr]
    assert {type(fact).__name__ for fact in facts} == {"FillConfirmed"}


def test_what_was_refused_of_a_trade_is_still_to_be_booked_after_a_restart():
    books = Books()
    whole = books.told([(5, 52), (7, 53)], TradePhase.MATCHED)
    _, half, _ = books.followed().see_trade(whole)
    for fact in books.room.intake([half]).facts:
        books.room.apply(fact)
    assert sum(books.desk.held(books.intent.market).values()) == 5 * UNIT

    books.hear(books.followed(), whole)

    assert sum(books.desk.held(books.intent.market).values()) == SHARES * UNIT


@pytest.mark.parametrize("shape", [[(12, 54)], [(5, 52), (7, 53)]])
def test_a_trade_that_nobody_has_booked_is_taken_as_it_is_told(shape: Shape):
    books = Books()
    assert books.hear(books.followed(), books.told(shape, TradePhase.MATCHED)) == 1 + len(shape)
    assert {(fill.shares // UNIT, fill.price * 100 // UNIT) for fill in books.desk.provisional.values()} == set(shape)
