"""The account as the venue has it against our books: what was missed is booked, what differs twice is shown."""

import asyncio

import msgspec
import pytest

from polybot.domain.events import FillMatched
from polybot.domain.ids import ConditionId, MarketId
from polybot.domain.order import OrderIntent
from polybot.domain.units import Money, Shares
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket import permission
from polybot.venue.polymarket.account import AccountWatch
from polybot.venue.polymarket.account_compare import (
    UnknownOrderRule,
    compare,
    elsewhere_at_first,
    rule_for,
    unexplained,
    widened,
)
from polybot.venue.polymarket.account_values import (
    ROUNDED_MAX,
    AccountReading,
    Balance,
    Books,
    DifferenceKind,
    Holding,
)
from polybot.venue.polymarket.geoblock import Geoblock, ask_geoblock
from polybot.venue.polymarket.standing import Standing
from polybot.venue.polymarket.venue import PolymarketVenue
from tests.venue.polymarket.desk import Answer, Desk, a_desk, a_venue, hosts, taken
from tests.venue.polymarket.liar import WindowClock
from tests.venue.polymarket.orders import CONDITION, NOW, TOKENS, an_intent, approved
from tests.venue.polymarket.test_order_replies import entry, order, trade
from tests.venue.polymarket.test_venue_orders import hash_of, kinds

UP = TOKENS[0]
OURS = "0x" + "aa" * 32
NOBODYS = "0x" + "ff" * 32
HOLDING = Holding(market=MarketId("m"), token=UP, least=Shares(0), most=Shares(10_000_000))
BOOKS = Books(
    cash_least=Money(90_000_000),
    cash_most=Money(95_000_000),
    elsewhere=Money(0),
    holdings=(HOLDING,),
    intents={OURS: an_intent()},
    open=frozenset([OURS]),
    conditions=frozenset([CONDITION]),
)
READING = AccountReading(
    at=NOW,
    collateral=Balance(Money(92_000_000), {"0xe1": 2**255}),
    held={UP: Shares(10_000_000)},
    orders=(order(),),
    trades=(trade(entry()),),
)


def books(**changes) -> Books:
    return msgspec.structs.replace(BOOKS, **changes)


def reading(**changes) -> AccountReading:
    return msgspec.structs.replace(READING, **changes)


def only(found):
    (difference,) = found
    return difference


def test_books_and_account_that_agree_differ_in_nothing():
    assert compare(BOOKS, READING) == []


@pytest.mark.parametrize(("theirs", "ours"), [(89_999_999, 90_000_000), (95_000_001, 95_000_000)])
def test_cash_outside_what_the_books_allow_differs_by_the_millionth(theirs, ours):
    found = only(compare(BOOKS, reading(collateral=Balance(Money(theirs), {}))))
    assert (found.kind, found.ours, found.theirs) == (DifferenceKind.CASH, ours, theirs)


def test_money_of_the_wallet_that_is_not_the_floors_is_left_out():
    rich = reading(collateral=Balance(Money(592_000_000), {}))
    assert compare(books(elsewhere=Money(500_000_000)), rich) == []
    assert compare(books(elsewhere=None), rich) == [], "not known before the first comparison"
    assert elsewhere_at_first(books(elsewhere=None), rich) == 497_000_000


def test_shares_outside_what_the_books_allow_differ():
    found = only(compare(BOOKS, reading(held={UP: Shares(10_000_001)})))
    assert (found.kind, found.subject, found.ours, found.theirs) == (DifferenceKind.SHARES, UP, 10_000_000, 10_000_001)


def test_an_order_nobody_here_placed_is_foreign_and_one_we_closed_is_a_stray():
    foreign = only(compare(BOOKS, reading(orders=(msgspec.structs.replace(order(), hash="0xff"),))))
    stray = only(compare(books(open=frozenset()), READING))
    assert (foreign.kind, foreign.order) == (DifferenceKind.FOREIGN_ORDER, None)
    assert (stray.kind, stray.order) == (DifferenceKind.STRAY_ORDER, an_intent().id)


def test_a_trade_in_our_markets_without_any_of_our_orders_is_foreign():
    theirs = trade(entry(), taker="0xff", name="t9")
    assert only(compare(BOOKS, reading(trades=(theirs,)))).kind is DifferenceKind.FOREIGN_TRADE
    assert compare(books(conditions=frozenset()), reading(trades=(theirs,))) == []


def test_an_allowance_below_the_balance_is_shown_with_what_to_do():
    found = only(compare(BOOKS, reading(collateral=Balance(Money(92_000_000), {"0xe1": 5_000_000}))))
    assert found.kind is DifferenceKind.ALLOWANCE
    assert "approve it anew" in found.text


def test_an_allowance_has_to_cover_the_floors_money_and_not_the_whole_wallet():
    rich = reading(collateral=Balance(Money(1_092_000_000), {"0xe1": 95_000_000}))
    assert compare(books(elsewhere=Money(1_000_000_000)), rich) == []


async def test_only_the_contracts_that_orders_are_signed_for_have_to_be_approved():
    async with a_venue() as (desk, venue):
        used, other = "0xE111180000d2663C0091e4f400237545B87B996B", "0xe2222d279d744050d28e00520010520000310F59"
        desk.allowances = {used: str(2**255), other: "0"}
        assert (await venue.client.collateral()).allowances == {used.lower(): 2**255}


def test_only_what_two_readings_show_alike_is_unexplained():
    first = compare(BOOKS, reading(held={UP: Shares(11_000_000)}))
    again = compare(BOOKS, reading(held={UP: Shares(11_000_000)}))
    moved = compare(BOOKS, reading(held={UP: Shares(12_000_000)}))
    assert unexplained(first, again) == again
    assert unexplained(first, moved) == []
    assert unexplained([], first) == []


def test_books_that_changed_during_a_reading_allow_both():
    after = books(
        cash_least=Money(80_000_000),
        cash_most=Money(85_000_000),
        holdings=(msgspec.structs.replace(HOLDING, least=Shares(20_000_000), most=Shares(20_000_000)),),
    )
    both = widened(BOOKS, after)
    assert (both.cash_least, both.cash_most) == (80_000_000, 95_000_000)
    assert [(one.least, one.most) for one in both.holdings] == [(0, 20_000_000)]
    settled = widened(BOOKS, books(holdings=()))
    assert [(one.least, one.most) for one in settled.holdings] == [(0, 10_000_000)]


@pytest.mark.parametrize(
    ("name", "condition", "rule"),
    [
        (OURS, CONDITION, UnknownOrderRule.ADOPT),
        (OURS, ConditionId("0xother"), UnknownOrderRule.ADOPT),
        ("0xff", CONDITION, UnknownOrderRule.CANCEL),
        ("0xff", ConditionId("0xother"), UnknownOrderRule.LEAVE),
    ],
)
def test_an_unknown_order_is_adopted_cancelled_or_left_by_rule(name, condition, rule):
    assert rule_for(msgspec.structs.replace(order(), hash=name, condition=condition), BOOKS) is rule


def test_what_the_rounding_of_fees_can_make_is_told_apart():
    few, more = (
        only(compare(BOOKS, reading(collateral=Balance(Money(95_000_000 + too_much), {}))))
        for too_much in (ROUNDED_MAX, ROUNDED_MAX + 1)
    )
    assert few.is_rounding
    assert not more.is_rounding


# -- the watch, over real sockets -------------------------------------------------------------------------------------

PAID = books(cash_least=Money(100_000_000), cash_most=Money(100_000_000), holdings=(), intents={}, open=frozenset())


class Watched:
    """An account watch over a desk, with books that a test may change."""

    def __init__(self, venue) -> None:
        self.books = PAID
        self.watch = AccountWatch(venue.client, venue, WindowClock(), lambda: self.books, since=NOW)


async def placed(desk: Desk, venue: PolymarketVenue) -> tuple[OrderIntent, str]:
    """An order of ours that the venue took, and its hash."""
    intent = an_intent()
    name = hash_of(venue, intent)
    desk.answer = lambda body: taken(order_id=name)
    await venue.place(approved(intent), NOW)
    return intent, name


async def test_an_account_that_agrees_is_fine_and_says_when_it_was_read():
    async with a_venue() as (_, venue):
        watched = Watched(venue)
        assert await watched.watch.look()
        assert watched.watch.unexplained == ()
        assert watched.watch.read_at is not None


async def test_a_difference_is_unexplained_at_its_second_sight_and_gone_when_it_is_explained():
    async with a_venue() as (desk, venue):
        watched = Watched(venue)
        desk.balances[""] = 99_000_000
        assert not await watched.watch.look()
        assert watched.watch.unexplained == ()
        assert not await watched.watch.look()
        assert only(watched.watch.unexplained).kind is DifferenceKind.CASH
        desk.balances[""] = 100_000_000
        assert await watched.watch.look()
        assert watched.watch.unexplained == ()


async def test_a_fill_that_the_channel_never_told_is_booked():
    async with a_venue() as (desk, venue):
        intent, name = await placed(desk, venue)
        venue.advance(NOW)
        desk.orders[name] = desk.order(name, "MATCHED", "10")
        desk.trades = [desk.trade(name)]
        watched = Watched(venue)
        watched.books = msgspec.structs.replace(PAID, intents={name: intent}, open=frozenset([name]))
        await watched.watch.look()
        replies = venue.advance(NOW)
        assert kinds(replies) == ["FillMatched", "FillConfirmed", "OrderClosed"]
        assert isinstance(replies[0], FillMatched)


async def test_an_order_of_a_lost_run_in_our_market_is_cancelled_and_said():
    async with a_venue() as (desk, venue):
        desk.orders[NOBODYS] = desk.order(NOBODYS)
        assert not await Watched(venue).watch.look()
        assert desk.cancelled == [NOBODYS]
        assert NOBODYS in venue.standing.drain()[0].text


async def test_an_order_of_somebody_elses_market_is_left():
    async with a_venue() as (desk, venue):
        desk.orders[NOBODYS] = desk.order(NOBODYS, market="0x" + "99" * 32)
        await Watched(venue).watch.look()
        assert desk.cancelled == []


async def test_an_order_of_ours_that_we_closed_is_adopted_so_that_its_fills_are_heard_and_cancelled():
    async with a_venue() as (desk, venue):
        intent = an_intent()
        name = hash_of(venue, intent)
        desk.orders[name] = desk.order(name)
        watched = Watched(venue)
        watched.books = msgspec.structs.replace(PAID, intents={name: intent})
        await watched.watch.look()
        assert desk.cancelled == [name]
        assert kinds(venue.advance(NOW)) == ["OrderAccepted"], "the floor's intake makes it a stray"


async def test_an_order_that_cannot_be_read_by_itself_does_not_hide_what_differs():
    async with a_venue() as (desk, venue):
        intent, name = await placed(desk, venue)
        desk.unreadable.add(name)
        watched = Watched(venue)
        watched.books = msgspec.structs.replace(PAID, intents={name: intent}, open=frozenset([name]))
        desk.balances[""] = 99_000_000
        await watched.watch.look()
        await watched.watch.look()
        assert only(watched.watch.unexplained).kind is DifferenceKind.CASH


async def test_a_cancel_that_is_not_answered_does_not_hide_what_differs():
    async with a_venue() as (desk, venue):
        desk.orders[NOBODYS] = desk.order(NOBODYS)
        desk.cancel_answer = lambda name: Answer(500, {"error": "away"})
        desk.balances[""] = 99_000_000
        watched = Watched(venue)
        await watched.watch.look()
        await watched.watch.look()
        kinds_found = [difference.kind for difference in watched.watch.unexplained]
        assert kinds_found == [DifferenceKind.CASH, DifferenceKind.FOREIGN_ORDER]


async def test_a_floor_that_may_have_been_replaced_cancels_nothing():
    async with a_venue() as (desk, venue):
        desk.orders[NOBODYS] = desk.order(NOBODYS)
        watch = AccountWatch(venue.client, venue, WindowClock(), lambda: PAID, since=NOW, may_act=lambda: False)
        assert not await watch.look()
        assert desk.cancelled == []


async def test_the_venue_looks_at_the_chain_before_its_first_word_and_where_its_word_differs():
    async with a_venue() as (desk, venue):
        watched = Watched(venue)
        assert await watched.watch.look()
        assert desk.refreshed == [("COLLATERAL", "")]
        assert await watched.watch.look()
        assert desk.refreshed == [("COLLATERAL", "")], "what agrees is not asked for again"
        watched.books = msgspec.structs.replace(PAID, holdings=(msgspec.structs.replace(HOLDING, least=Shares(5)),))
        desk.chain[""] = 99_000_000
        desk.refreshed.clear()
        venue.balance_doubted = True
        await watched.watch.look()
        await watched.watch.look()
        kinds_found = {difference.kind for difference in watched.watch.unexplained}
        assert kinds_found == {DifferenceKind.CASH, DifferenceKind.SHARES}
        assert desk.refreshed == [("COLLATERAL", ""), ("COLLATERAL", ""), ("CONDITIONAL", UP)]


async def test_a_stale_copy_of_the_balance_ends_with_the_look_after_it():
    """No order is sent while that pauses the floor, so nothing else would have the venue look."""
    async with a_venue() as (desk, venue):
        watched = Watched(venue)
        assert await watched.watch.look()
        desk.chain[""] = 105_000_000  # redeemed: the books know, the venue's copy does not
        watched.books = msgspec.structs.replace(PAID, cash_least=Money(105_000_000), cash_most=Money(105_000_000))
        assert not await watched.watch.look()
        assert await watched.watch.look()
        assert watched.watch.unexplained == ()


async def test_an_account_that_cannot_be_read_changes_nothing():
    async with a_venue() as (desk, venue):
        watched = Watched(venue)
        desk.outage = Answer(500, {"error": "away"})
        assert not await watched.watch.look()
        assert watched.watch.read_at is None
        assert watched.watch.unexplained == ()


# -- geoblock ---------------------------------------------------------------------------------------------------------


async def test_a_permission_that_is_asked_for_and_never_answered_is_asked_for_again(monkeypatch):
    class Dripping:
        async def closed_only(self) -> bool:
            await asyncio.sleep(60)
            return False

    async def here(url: str) -> Geoblock:
        return Geoblock(blocked=False)

    monkeypatch.setattr(permission, "ASKING_S_MAX", 0.01)
    monkeypatch.setattr(permission, "ask_geoblock", here)
    watch = permission.PermissionWatch(Dripping(), Standing(), "", WindowClock())  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        assert not await watch.ask()


async def test_the_geoblock_answer_is_read_and_believed():
    async with a_desk() as desk:
        assert (await ask_geoblock(hosts(desk).geoblock)).refusal == ""
        desk.geoblock = {"blocked": True, "ip": "203.0.113.42", "country": "US", "region": "NY"}
        assert "US-NY" in (await ask_geoblock(hosts(desk).geoblock)).refusal
        desk.geoblock = {"blocked": "perhaps"}
        with pytest.raises(VenueUnavailable):
            await ask_geoblock(hosts(desk).geoblock)


@pytest.mark.parametrize(("country", "region", "refused"), [("DE", "", True), ("CA", "ON", True), ("CA", "NS", False)])
def test_places_where_only_closing_is_allowed_are_known(country, region, refused):
    answer = Geoblock(blocked=False, country=country, region=region)
    assert bool(answer.refusal) is refused
