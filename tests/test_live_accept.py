"""Whatever a person moves by hand, once he has accepted it the books are the wallet's again, and the floor's result and
limits are as if he had not."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.account_talk import ItemSeen
from polybot.domain.account_facts import CashAccepted, SharesAccepted
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT
from polybot.live_accept import CASH, CostOf, OpenItem, acceptances, refusal
from tests.facts import money
from tests.test_live_books import AFTERWARDS, ORDERS, afterwards, come_to_rest, order
from tests.wallets import AGENTS, CAPITAL, Wallet

BY_HAND = ("deposit", "withdraw", "shares in", "shares out")
DEEDS = (*ORDERS, *(deed for deed in AFTERWARDS if deed != "die"))
deeds = st.lists(st.tuples(st.sampled_from((*DEEDS, *BY_HAND, *BY_HAND)), st.integers(0, 2**16)), max_size=40)


def move_by_hand(wallet: Wallet, deed: str, number: int) -> dict[str, int]:
    """Move something now; the shares that were, by market and outcome (negative: away)."""
    market, outcome = wallet.markets[number % len(wallet.markets)], Outcome(number // 2 % 2)
    amount = money(("1", "0.000001", "37.5")[number // 4 % 3])
    sign = 1 if deed in ("deposit", "shares in") else -1
    wallet.is_parted = True
    if deed in ("deposit", "withdraw"):
        wallet.chain.pusd += sign * amount
        return {}
    held = wallet.chain.shares.setdefault(market.id, [0, 0])
    before = held[outcome]
    held[outcome] = max(0, before + sign * amount)
    name = f"{market.id}:{outcome.name.lower()}"
    moved = held[outcome] - before
    if not any(item.seen.name == name and item.seen.is_exact for item in wallet.items()):
        held[outcome] = before  # nobody could tell this one yet
        return {}
    wallet.accept({name: moved})
    return {name: moved}


def pays(wallet: Wallet, name: str, shares: int) -> int:
    market, _, side = name.rpartition(":")
    up = next(paid for known, paid in wallet.chain.payouts.items() if known == market)
    return shares * (up if side == "up" else UNIT - up) // UNIT


def results(wallet: Wallet) -> list[tuple[int, ...]]:
    return [(desk.state.cash, desk.state.capital, desk.state.realised) for desk in wallet.room.desks.values()]


def begun() -> Wallet:
    """With shares of one outcome in either market, so that there is something to add to and to take away."""
    wallet = Wallet()
    for market, outcome in zip(wallet.markets, Outcome, strict=True):
        wallet.bought(AGENTS[0], market, outcome, "10")
    return wallet


def lived(story: Iterable[tuple[str, int]]) -> Wallet:
    """The same story without a hand in it."""
    wallet = begun()
    for deed, number in story:
        if deed not in BY_HAND:
            (order if deed in ORDERS else afterwards)(wallet, deed, number)
    come_to_rest(wallet)
    return wallet


@settings(max_examples=100, deadline=None)
@given(deeds)
def test_what_is_moved_by_hand_is_nobodys_result_and_no_millionth_of_it_is_lost(story: list[tuple[str, int]]) -> None:
    wallet, shares, deposits = begun(), list[tuple[str, int]](), 0
    for deed, number in story:
        before = wallet.chain.pusd
        if deed in BY_HAND:
            shares += move_by_hand(wallet, deed, number).items()
            deposits += wallet.chain.pusd - before
        else:
            (order if deed in ORDERS else afterwards)(wallet, deed, number)
    come_to_rest(wallet)
    wallet.accept()
    untouched = lived(story)
    assert wallet.differences() == []
    assert results(wallet) == results(untouched)
    assert wallet.room.state.day == untouched.room.state.day
    elsewhere = untouched.room.state.wallet.elsewhere
    assert elsewhere is not None
    came = deposits + sum(pays(wallet, name, moved) for name, moved in shares)
    assert wallet.room.state.wallet.elsewhere == elsewhere + came
    assert wallet.room.state.wallet.beside == {}
    assert wallet.recovered(wallet.journal()).state.wallet == wallet.room.state.wallet


@pytest.fixture
def wallet() -> Wallet:
    return Wallet(markets=1)


@pytest.mark.parametrize(("moved", "left"), [("250", "750"), ("-499.999999", "0.000001"), ("-600", "-100")])
def test_a_deposit_or_a_withdrawal_is_one_exact_item_and_is_not_the_floors(wallet: Wallet, moved, left) -> None:
    wallet.chain.pusd += money(moved)
    (item,) = wallet.items()
    assert (item.seen.name, item.seen.least, item.seen.most) == (CASH, money(moved), money(moved))
    (fact,) = wallet.accept()
    assert isinstance(fact, CashAccepted)
    assert wallet.differences() == []
    assert wallet.room.state.wallet.elsewhere == money(left)
    assert (wallet.room.capital(), wallet.room.equity(), wallet.room.capital_base()) == (CAPITAL, CAPITAL, CAPITAL)


def test_while_a_win_is_on_its_way_the_amount_is_a_span_in_which_the_person_knows_the_number(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    wallet.chain.pusd += money("250")
    (item,) = wallet.items()
    assert (item.seen.least, item.seen.most) == (money("240"), money("250"))
    assert wallet.accept() == []  # nothing is exact
    wallet.accept({CASH: money("250")})
    wallet.claim(market)
    wallet.tell_claims()
    assert wallet.differences() == []
    assert wallet.room.state.wallet.elsewhere == money("750")


@pytest.mark.parametrize(("payout", "elsewhere"), [(UNIT, "504"), (0, "500")])
def test_shares_that_were_moved_in_pay_what_is_not_the_floors(wallet: Wallet, payout: int, elsewhere: str) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.chain.shares[market.id][Outcome.UP] += money("4")
    (fact,) = wallet.accept()
    assert isinstance(fact, SharesAccepted)
    assert wallet.differences() == []
    wallet.resolve(market, payout)
    wallet.settle(market)
    wallet.claim(market)
    wallet.tell_claims()
    assert wallet.room.state.wallet.elsewhere == money(elsewhere)
    assert wallet.room.state.wallet.unpaid == 0
    assert wallet.differences() == []


def test_the_floors_shares_that_were_taken_away_are_paid_out_of_what_is_not_its(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    cost = CAPITAL - sum(desk.state.cash for desk in wallet.room.desks.values())
    wallet.chain.shares[market.id][Outcome.UP] = 0
    wallet.accept()
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    assert wallet.differences() == []
    assert wallet.room.equity() == CAPITAL + money("10") - cost
    assert wallet.room.state.wallet.elsewhere == money("490")


def test_shares_accepted_in_the_moment_their_market_was_settled_show_as_money_and_are_forgotten(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.chain.shares[market.id][Outcome.UP] += money("4")
    seen, wallet.is_parted = wallet.items(), True
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    amounts = {item.seen.name: item.seen.least for item in seen}
    for fact in acceptances(amounts, seen, at=wallet.now(), by="ann", reason="bought by hand"):
        wallet.tell(fact)
    wallet.claim(market)
    wallet.tell_claims()
    wallet.a_day_later()
    assert wallet.room.state.wallet.beside == {}
    wallet.accept()
    assert wallet.differences() == []
    assert wallet.room.state.wallet.elsewhere == money("504")


def test_what_was_accepted_is_known_after_a_restart(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.chain.shares[market.id][Outcome.UP] += money("4")
    wallet.chain.pusd += 1
    wallet.accept()
    wallet.restart()
    assert wallet.differences() == []
    assert wallet.recovered(wallet.journal()).state.wallet == wallet.room.state.wallet


# -- what is refused ---------------------------------------------------------------------------------------------------


def item(name: str, least: int, most: int, *, is_first: bool = False) -> OpenItem:
    seen = ItemSeen(name=name, least=least, most=most, text="", is_first=is_first)
    return OpenItem(seen=seen, subject=CostOf(AGENTS[0], name) if is_first else None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amounts", "reason", "why"),
    [
        ({}, "a deposit", "no amount"),
        ({CASH: 250}, " ", "a reason is needed"),
        ({CASH: 250}, "two\nlines", "a reason is needed"),
        ({CASH: 251}, "a deposit", "+0.000251 was given, and the difference is +0.00025"),
        ({"other": 1}, "a deposit", "other: there is no such difference"),
        ({CASH: 250, "other": 1}, "a deposit", "other: there is no such difference"),
    ],
)
def test_what_was_not_seen_is_not_booked(amounts: dict[str, int], reason: str, why: str) -> None:
    refused = refusal(amounts, reason, [item(CASH, 250, 250)])
    assert refused is not None
    assert why in refused
    assert refusal({CASH: 250}, "a deposit", [item(CASH, 250, 250)]) is None


def test_an_unbooked_fill_comes_before_the_money_it_explains() -> None:
    items = [item("cost:momentum-000001", 12, 12, is_first=True), item(CASH, -12, -12)]
    refused = refusal({CASH: -12}, "lost", items)
    assert refused is not None
    assert refused.startswith("cost:momentum-000001 comes first")
    assert refusal({"cost:momentum-000001": 12}, "a higher fee", items) is None
