"""An order's life: only the steps there are, and never more filled, or spent, than was asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.errors import OrderError
from polybot.domain.market import Side
from polybot.domain.order import Closed, CloseReason, Intended, OrderState, TimeInForce, Working, accept, close, fill
from polybot.domain.units import Money, Shares
from tests.venue.builders import an_intent, price, shares

INTENT = an_intent(1, limit=price("0.50"), size=shares("10"))
INTENDED, WORKING = Intended(intent=INTENT), Working(intent=INTENT)
CLOSED = Closed(intent=INTENT, reason=CloseReason.KILLED, filled=Shares(0), spent=Money(0))


def test_an_order_is_accepted_filled_and_closed() -> None:
    working = fill(fill(accept(INTENDED), shares("4"), Money(3)), shares("6"), Money(2))
    assert isinstance(working, Working)
    assert (working.filled, working.spent) == (shares("10"), 5)
    closed = Closed(intent=INTENT, reason=CloseReason.FILLED, filled=shares("10"), spent=Money(5))
    assert close(working, CloseReason.FILLED) == closed


def test_an_order_never_sent_is_closed_empty() -> None:
    assert close(INTENDED, CloseReason.NEVER_SENT).filled == 0


@pytest.mark.parametrize("order", [WORKING, CLOSED])
def test_only_an_intended_order_is_accepted(order: OrderState) -> None:
    with pytest.raises(OrderError):
        accept(order)


def test_an_order_nobody_accepted_is_not_filled() -> None:
    with pytest.raises(OrderError):
        fill(INTENDED, shares("1"), Money(1))


def test_a_fill_told_of_after_the_close_is_counted_and_the_order_stays_closed() -> None:
    late = fill(CLOSED, shares("4"), Money(2))
    assert late == Closed(intent=INTENT, reason=CloseReason.KILLED, filled=shares("4"), spent=Money(2))
    with pytest.raises(OrderError):
        fill(late, shares("7"), Money(INTENT.cost_max - 1))


def test_a_fill_that_cost_more_than_was_reserved_is_true_all_the_same() -> None:
    """The venue raised its fee between decision and match: the shares are those that were asked for."""
    assert fill(WORKING, shares("10"), Money(INTENT.cost_max + 1)).filled == shares("10")


@pytest.mark.parametrize("size", ["0", "-1"])
def test_no_fill_is_empty(size: str) -> None:
    with pytest.raises(OrderError):
        fill(WORKING, shares(size), Money(1))


@pytest.mark.parametrize(
    "terms", [(Side.BUY, TimeInForce.GTC), (Side.BUY, TimeInForce.GTD), *((Side.SELL, tif) for tif in TimeInForce)]
)
def test_no_fill_of_a_resting_order_or_a_sell_is_beyond_its_shares(terms: tuple[Side, TimeInForce]) -> None:
    side, tif = terms
    order = Working(intent=an_intent(1, limit=price("0.50"), size=shares("10"), side=side, tif=tif))
    whole = fill(order, shares("10"), Money(1))
    for state in (whole, close(whole, CloseReason.FILLED)):
        with pytest.raises(OrderError):
            fill(state, Shares(1), Money(0))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([TimeInForce.FOK, TimeInForce.FAK]),
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 6_000_000)), max_size=20),
    st.integers(0, 20),
)
def test_a_market_buy_takes_any_fills_within_its_shares_or_its_money_and_none_beyond_both(
    tif: TimeInForce, fills: list[tuple[int, int]], told_late: int
) -> None:
    """It gives pUSD: what shares they bring is for the venue to say, before the order closed or after."""
    intent = an_intent(1, limit=price("0.50"), size=shares("10"), tif=tif)
    order: Working | Closed = accept(Intended(intent=intent))
    filled = spent = 0
    for number, (size, cost) in enumerate(fills):
        if number == told_late and isinstance(order, Working):
            order = close(order, CloseReason.KILLED)
        if filled + size > intent.shares and spent + cost > intent.cost_max:
            with pytest.raises(OrderError):
                fill(order, Shares(size), Money(cost))
            continue
        order = fill(order, Shares(size), Money(cost))
        filled, spent = filled + size, spent + cost
    assert (order.filled, order.spent) == (filled, spent)
    assert isinstance(order, Closed) == (told_late < len(fills))


def test_nothing_is_closed_twice() -> None:
    with pytest.raises(OrderError):
        close(CLOSED, CloseReason.CANCELLED)


def test_two_of_the_four_kinds_rest() -> None:
    assert [tif for tif in TimeInForce if tif.rests] == [TimeInForce.GTC, TimeInForce.GTD]
