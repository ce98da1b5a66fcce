"""Money that comes into the wallet from outside stops nobody for long; money that is gone waits for a person."""

import pytest

from polybot.domain.market import Outcome
from polybot.live_accept import ARRIVED_S, Arrivals
from polybot.venue.polymarket.account_values import ROUNDED_MAX
from tests.facts import money
from tests.wallets import AGENTS, Wallet


@pytest.fixture
def wallet() -> Wallet:
    return Wallet()


def booked(wallet: Wallet, arrivals: Arrivals, now_s: float) -> bool:
    """Whether what differs now is booked as not the floor's."""
    found, elsewhere = wallet.differences(), wallet.books().elsewhere
    fact = arrivals.believed(found, elsewhere, now_s, wallet.now())
    if fact is not None:
        wallet.tell(fact)
    return fact is not None


def test_a_rebate_is_booked_as_not_the_floors_once_it_has_stood_for_a_while(wallet: Wallet) -> None:
    arrivals, before = Arrivals(), wallet.books().elsewhere
    assert before is not None
    wallet.chain.pusd += money("1.25")
    assert not booked(wallet, arrivals, 0.0)
    assert not booked(wallet, arrivals, ARRIVED_S - 1)
    wallet.chain.pusd += money("1")
    assert not booked(wallet, arrivals, ARRIVED_S), "another sum, and a wait of its own"
    assert booked(wallet, arrivals, 2 * ARRIVED_S)
    assert wallet.books().elsewhere == before + money("2.25")
    assert wallet.differences() == []
    assert wallet.recovered(wallet.journal()).state.wallet == wallet.room.state.wallet


def test_money_beside_any_other_difference_is_not_believed(wallet: Wallet) -> None:
    arrivals = Arrivals()
    wallet.bought(AGENTS[0], wallet.markets[0], Outcome.UP, "10")
    wallet.chain.pusd += money("5.4")
    wallet.chain.shares[wallet.markets[0].id] = [0, 0]  # it never reached the chain, whatever was said
    assert not any(booked(wallet, arrivals, now_s) for now_s in (0.0, ARRIVED_S, 2 * ARRIVED_S))


def test_money_that_is_gone_waits_for_a_person(wallet: Wallet) -> None:
    arrivals = Arrivals()
    wallet.chain.pusd -= money("1")
    assert not any(booked(wallet, arrivals, now_s) for now_s in (0.0, ARRIVED_S, 1e6))


def test_what_rounding_took_is_booked_without_a_person_and_not_a_millionth_more(wallet: Wallet) -> None:
    arrivals, before = Arrivals(), wallet.books().elsewhere
    assert before is not None
    wallet.chain.pusd -= ROUNDED_MAX
    assert not booked(wallet, arrivals, 0.0)
    assert booked(wallet, arrivals, ARRIVED_S)
    assert wallet.books().elsewhere == before - ROUNDED_MAX
    wallet.chain.pusd -= ROUNDED_MAX + 1
    assert not any(booked(wallet, arrivals, now_s) for now_s in (2 * ARRIVED_S, 1e6))


def test_what_a_person_has_booked_meanwhile_is_not_booked_again(wallet: Wallet) -> None:
    arrivals = Arrivals()
    wallet.chain.pusd += money("7")
    seen = wallet.differences()
    assert not booked(wallet, arrivals, 0.0)
    wallet.accept({"cash": money("7")})
    assert arrivals.believed(seen, wallet.books().elsewhere, ARRIVED_S, wallet.now()) is None
