"""An order's life: only the steps there are, and never more filled than was asked."""

import pytest

from polybot.domain.errors import OrderError
from polybot.domain.order import Closed, CloseReason, Intended, OrderState, TimeInForce, Working, accept, close, fill
from polybot.domain.units import Money, Shares
from tests.venue.builders import an_intent, price, shares

INTENT = an_intent(1, limit=price("0.50"), size=shares("10"))
INTENDED, WORKING = Intended(intent=INTENT), Working(intent=INTENT)
CLOSED = Closed(intent=INTENT, reason=CloseReason.KILLED, filled=Shares(0))


def test_an_order_is_accepted_filled_and_closed() -> None:
    working = fill(fill(accept(INTENDED), shares("4"), Money(3)), shares("6"), Money(2))
    assert isinstance(working, Working)
    assert (working.filled, working.spent) == (shares("10"), 5)
    assert close(working, CloseReason.FILLED) == Closed(intent=INTENT, reason=CloseReason.FILLED, filled=shares("10"))


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
    assert late == Closed(intent=INTENT, reason=CloseReason.KILLED, filled=shares("4"))
    with pytest.raises(OrderError):
        fill(late, shares("7"), Money(2))


@pytest.mark.parametrize("size", ["0", "-1", "10.000001"])
def test_no_fill_is_empty_or_beyond_what_was_asked(size: str) -> None:
    with pytest.raises(OrderError):
        fill(WORKING, shares(size), Money(1))


def test_nothing_is_closed_twice() -> None:
    with pytest.raises(OrderError):
        close(CLOSED, CloseReason.CANCELLED)


def test_two_of_the_four_kinds_rest() -> None:
    assert [tif for tif in TimeInForce if tif.rests] == [TimeInForce.GTC, TimeInForce.GTD]
