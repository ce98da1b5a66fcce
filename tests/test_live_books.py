"""Whatever happens on chain, and whenever the floor hears of it, the wallet lies where the books say: at rest exactly
there."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.desk.wallet import LEFT_LYING
from polybot.domain.events import CapitalAllocated, MarketSettled, WalletMove, WalletMoved
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.live_books import STUCK_MS, books_of, stuck_fills, wallet_opened
from polybot.storage.journal import Journal
from polybot.venue.polymarket.account_settlement import DUST, MERGE_MIN
from polybot.venue.polymarket.account_values import DifferenceKind
from tests.facts import money
from tests.wallets import AGENTS, CAPITAL, Wallet

SIZES = ("5", "10", "7.512345", "0.6")
ORDERS = ("buy", "buy", "pair", "pair", "mine", "confirm", "confirm", "fail")
AFTERWARDS = ("claim", "claim", "tell", "gift", "resolve", "settle", "settle", "restart", "die")
deeds = st.lists(st.tuples(st.sampled_from((*ORDERS, *AFTERWARDS)), st.integers(0, 2**16)), max_size=40)


def order(wallet: Wallet, deed: str, number: int) -> None:
    """One thing that may happen to an order or a fill now; nothing, where it may not."""
    market = wallet.markets[number % len(wallet.markets)]
    is_open = market.id not in wallet.chain.payouts
    fill = wallet.fills[number % len(wallet.fills)] if wallet.fills else None
    match deed:
        case "buy" if is_open:
            outcome, agent = Outcome(number // 2 % 2), AGENTS[number // 4 % 2]
            wallet.buy(agent, market, outcome, SIZES[number // 8 % len(SIZES)], f"0.{20 + number // 32 % 60}")
        case "pair" if is_open:
            for agent, outcome in zip(AGENTS, Outcome, strict=True):
                wallet.bought(agent, market, outcome, SIZES[number // (2 + 6 * outcome) % len(SIZES)])
        case "mine" if fill is not None:
            wallet.mine(fill)
        case "confirm" if fill is not None:
            wallet.confirm(fill)
        case "fail" if fill is not None and fill.fill not in wallet.mined:
            wallet.fail(fill)
        case _:
            pass


def afterwards(wallet: Wallet, deed: str, number: int) -> None:
    """The same of a market's end, its shares and our own."""
    market = wallet.markets[number % len(wallet.markets)]
    is_open = market.id not in wallet.chain.payouts
    match deed:
        case "claim":
            wallet.claim(market)
        case "tell":
            wallet.tell_claims()
        case "gift":
            wallet.tell_claims()
            wallet.gift("3.25")
        case "resolve" if is_open:
            wallet.resolve(market, UNIT * (number // 2 % 2))
        case "settle" if not is_open:
            wallet.settle(market)
        case "restart":
            wallet.restart()
        case "die":  # before what was claimed could be written down
            wallet.claims = []
            wallet.restart()
        case _:
            pass


def come_to_rest(wallet: Wallet) -> None:
    """Everything that is on its way arrives, and is told."""
    for fill in tuple(wallet.fills):
        wallet.confirm(fill)
    for market in wallet.markets:
        if market.id not in wallet.chain.payouts:
            wallet.resolve(market, UNIT)
        wallet.settle(market)
        while wallet.claim(market) is not None:
            pass
    wallet.tell_claims()


def assert_exact(wallet: Wallet) -> None:
    books = wallet.books()
    assert books.elsewhere is not None
    assert books.cash_least == books.cash_most == wallet.chain.pusd - books.elsewhere
    assert books.holdings == ()
    assert wallet.room.state.wallet.markets == {}


@settings(max_examples=150, deadline=None)
@given(deeds)
def test_the_wallet_always_lies_within_the_books_and_at_rest_they_are_the_same(story: list[tuple[str, int]]) -> None:
    wallet = Wallet()
    for deed, number in story:
        (order if deed in ORDERS else afterwards)(wallet, deed, number)
        assert wallet.differences() == [], deed
    come_to_rest(wallet)
    assert wallet.differences() == []
    if not any(deed == "die" for deed, _ in story):
        assert_exact(wallet)
    assert wallet.recovered(wallet.journal()).state.wallet == wallet.room.state.wallet
    wallet.a_day_later()  # claims that nobody was told of are forgotten
    assert wallet.differences() == []
    assert_exact(wallet)


@pytest.fixture
def wallet() -> Wallet:
    return Wallet(markets=1)


def test_the_first_comparison_tells_what_is_not_the_floors(wallet: Wallet) -> None:
    (opened,) = [fact for fact in wallet.facts if isinstance(fact, WalletMoved)]
    assert (opened.kind, opened.amount) == (WalletMove.OPENED, money("500"))
    assert (wallet.books().elsewhere, wallet.books().cash_least) == (money("500"), CAPITAL)


def test_a_win_is_unpaid_until_it_is_redeemed_and_a_loss_leaves_nothing_unpaid(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.bought(AGENTS[1], market, Outcome.DOWN, "0.7")
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    assert wallet.room.state.wallet.unpaid == money("10")
    assert wallet.books().cash_most - wallet.books().cash_least == money("10")
    wallet.claim(market)
    wallet.tell_claims()
    assert_exact(wallet)


def test_what_is_paid_short_stays_unpaid_to_the_millionth(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    short = money("9.999999")
    wallet.tell(WalletMoved(at=wallet.now(), kind=WalletMove.REDEEMED, market=market.id, amount=short))
    assert wallet.room.state.wallet.unpaid == 1


def test_a_win_that_is_not_paid_within_a_day_is_shown(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    wallet.a_day_later()
    (found,) = wallet.differences()
    assert (found.kind, found.ours - found.theirs) == (DifferenceKind.CASH, money("10"))


def test_dust_that_is_never_redeemed_is_known_for_ever(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "0.005")
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    assert wallet.claim(market) is None
    assert LEFT_LYING == DUST
    wallet.a_day_later()
    assert wallet.room.state.wallet.dust == money("0.005")
    assert_exact(wallet)


def test_merged_sets_are_pusd_ahead_of_time_and_the_rest_is_redeemed(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.bought(AGENTS[1], market, Outcome.DOWN, "7")
    wallet.claim(market)
    wallet.tell_claims()
    books = wallet.books()
    assert books.cash_least == books.cash_most == wallet.chain.pusd - money("500")
    assert [(held.least, held.most) for held in books.holdings] == [(money("3"), money("3")), (0, 0)]
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    assert wallet.room.state.wallet.unpaid == money("3")
    wallet.claim(market)
    wallet.tell_claims()
    assert_exact(wallet)


def test_money_that_is_gone_is_seen_while_sets_are_held(wallet: Wallet) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.bought(AGENTS[1], market, Outcome.DOWN, "10")
    wallet.chain.pusd -= MERGE_MIN
    assert [found.kind for found in wallet.differences()] == [DifferenceKind.CASH]


def test_capital_that_is_added_later_comes_out_of_what_was_not_the_floors(wallet: Wallet) -> None:

    more = money("100")
    wallet.tell(CapitalAllocated(at=wallet.now(), agent=AGENTS[0], capital=money("600"), moved=more))
    assert wallet.books().elsewhere == money("400")
    assert wallet.differences() == []


def test_nothing_is_measured_while_a_fill_is_on_its_way() -> None:

    wallet = Wallet(markets=1)
    wallet.room.state.wallet.elsewhere = None
    fill = wallet.buy(AGENTS[0], wallet.markets[0], Outcome.UP, "10")
    reading = wallet.reading(wallet.books())
    assert wallet_opened(wallet.room, lambda intent: intent.id, reading, wallet.now()) is None
    wallet.confirm(fill)
    reading = wallet.reading(wallet.books())
    opened = wallet_opened(wallet.room, lambda intent: intent.id, reading, wallet.now())
    assert opened is not None
    assert opened.amount == money("500")


async def test_a_start_from_the_journal_on_disk_goes_on_comparing(wallet: Wallet, tmp_path: Path) -> None:
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.bought(AGENTS[1], market, Outcome.DOWN, "7")
    wallet.claim(market)
    wallet.tell_claims()
    wallet.resolve(market, UNIT)
    wallet.settle(market)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        await journal.append(wallet.facts, position=0)
        room = wallet.recovered(journal.read(0))
    assert room.state.wallet.unpaid == money("3")
    assert books_of(room, lambda intent: intent.id) == wallet.books()


def test_a_paper_run_owes_nobody_anything() -> None:
    wallet = Wallet(markets=1, mode="paper")
    (market,) = wallet.markets
    wallet.bought(AGENTS[0], market, Outcome.UP, "10")
    wallet.resolve(market, UNIT)
    wallet.tell(MarketSettled(at=wallet.now(), market=market.id, payout_up=Price(UNIT)))
    (won,) = wallet.room.desks[AGENTS[0]].settlements(wallet.now())
    wallet.tell(won)
    assert won.payout == money("10")
    assert wallet.room.state.wallet.markets == {}


def test_a_fill_that_never_ends_is_shown_after_half_an_hour_and_not_before(wallet: Wallet) -> None:
    fill = wallet.buy(AGENTS[0], wallet.markets[0], Outcome.UP, "10")
    wallet.bought(AGENTS[1], wallet.markets[0], Outcome.UP, "10")
    assert stuck_fills(wallet.room, Millis(fill.at + STUCK_MS - 1)) == []
    assert stuck_fills(wallet.room, Millis(fill.at + STUCK_MS)) == [fill]
