"""Double entry: nothing comes from nowhere, nothing is booked twice, and what is held is not there to spend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import LedgerError
from polybot.domain.ledger import CASH, Ledger, Movement


def moved(amount: int, source: str = "a", target: str = "b", asset: str = CASH) -> tuple[Movement, Movement]:
    return Movement(source, asset, -amount), Movement(target, asset, amount)


@pytest.mark.parametrize(
    "movements", [(), (Movement("a", CASH, 1),), (Movement("a", CASH, -1), Movement("b", "UP", 1))]
)
def test_a_transfer_that_does_not_sum_to_zero_in_every_asset_is_refused(movements: tuple[Movement, ...]) -> None:
    with pytest.raises(LedgerError):
        Ledger().post("t", movements)
    with pytest.raises(LedgerError):
        Ledger().hold("t", movements)


def test_money_on_its_way_out_is_gone_and_on_its_way_in_not_yet_there() -> None:
    ledger = Ledger()
    ledger.hold("t", moved(5))
    assert (ledger.balance("a", CASH).posted, ledger.balance("a", CASH).available) == (0, -5)
    assert (ledger.balance("b", CASH).posted, ledger.balance("b", CASH).available) == (0, 0)
    ledger.confirm("t")
    assert (ledger.balance("a", CASH).posted, ledger.balance("b", CASH).available) == (-5, 5)


def test_a_voided_transfer_never_was() -> None:
    ledger = Ledger()
    ledger.hold("t", moved(5))
    ledger.void("t")
    assert ledger.balance("a", CASH) == ledger.balance("nobody", CASH)


def test_the_same_fill_is_held_once_and_ends_once() -> None:
    ledger = Ledger()
    ledger.hold("t", moved(5))
    with pytest.raises(LedgerError):
        ledger.hold("t", moved(5))
    ledger.confirm("t")
    for again in (ledger.confirm, ledger.void):
        with pytest.raises(LedgerError):
            again("t")


accounts, assets = st.sampled_from("abc"), st.sampled_from((CASH, "UP"))
stories = st.lists(
    st.tuples(st.sampled_from(("post", "hold", "confirm", "void")), st.integers(0, 9), accounts, accounts, assets)
)


@given(stories)
def test_every_asset_sums_to_zero_whatever_happens(story: list[tuple[str, int, str, str, str]]) -> None:
    ledger = Ledger()
    for number, (act, amount, source, target, asset) in enumerate(story):
        if act in ("post", "hold"):
            getattr(ledger, act)(f"t{number}", moved(amount, source, target, asset))
        elif ledger.held:
            getattr(ledger, act)(next(iter(ledger.held)))
        assert ledger.total(CASH) == ledger.total("UP") == 0
        pending = [m for movements in ledger.held.values() for m in movements]
        assert sum(b.held_in for b in ledger.balances.values()) == sum(max(m.amount, 0) for m in pending)
        assert sum(b.held_out for b in ledger.balances.values()) == sum(max(-m.amount, 0) for m in pending)
