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
    assert (working.filled, working.spent) == (shares("10"), 5)
    assert close(working, CloseReason.FILLED) == Closed(intent=INTENT, reason=CloseReason.FILLED, filled=shares("10"))


def test_an_order_never_sent_is_closed_empty() -> None:
    assert close(INTENDED, CloseReason.NEVER_SENT).filled == 0


@pytest.mark.parametrize("order", [WORKING, CLOSED])
def test_only_an_intended_order_is_accepted(order: OrderState) -> None:
    with pytest.raises(OrderError):
        accept(order)


@pytest.mark.parametrize("order", [INTENDED, CLOSED])
def test_only_a_working_order_is_filled(order: OrderState) -> None:
    with pytest.raises(OrderError):
        fill(order, shares("1"), Money(1))


@pytest.mark.parametrize("size", ["0", "-1", "10.000001"])
def test_no_fill_is_empty_or_beyond_what_was_asked(size: str) -> None:
    with pytest.raises(OrderError):
        fill(WORKING, shares(size), Money(1))


def test_nothing_is_closed_twice() -> None:
    with pytest.raises(OrderError):
        close(CLOSED, CloseReason.CANCELLED)


def test_two_of_the_four_kinds_rest() -> None:
    assert [tif for tif in TimeInForce if tif.rests] == [TimeInForce.GTC, TimeInForce.GTD]
