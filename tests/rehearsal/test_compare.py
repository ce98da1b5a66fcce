"""The comparison after a rehearsal passes equal books, and names each thing in which they may differ."""

from collections.abc import Callable

import msgspec
import pytest

from polybot.domain.events import AnyFact, FillConfirmed, FillFailed, FillMatched, Journaled, OrderClosed, TradeSettled
from polybot.domain.ids import FillId, TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, TimeInForce
from polybot.domain.units import Money, Price, Shares
from polybot.exchange.core.model import (
    STREET,
    Address,
    Leg,
    Order,
    OrderHash,
    OrderStatus,
    OwnerKey,
    Trade,
    TradeId,
    TradeStatus,
)
from polybot.rehearsal.compare import Ledger, compare, is_quiet
from polybot.rehearsal.switches import Account, ExchangeBooks, ListedMarket
from tests.facts import MOMENTUM, Story, a_market, money, paid, price, shares

WALLET = Address("0x" + "ab" * 20)
ELSEWHERE = money("123.456789")
TOKENS = (TokenId("1001"), TokenId("1002"))
MARKET = msgspec.structs.replace(a_market(), tokens=TOKENS)
HASH = OrderHash("0x" + "11" * 32)
TRADE, GHOST = TradeId("t-1"), TradeId("t-2")
Change = Callable[[ExchangeBooks], ExchangeBooks]


def told(facts: list[AnyFact]) -> Ledger:
    ledger = Ledger()
    for seq, fact in enumerate(facts, 1):
        ledger.take(Journaled(seq=seq, position=seq, fact=fact))
    return ledger


def a_story() -> list[AnyFact]:
    """One order, two trades: 12 shares confirmed, 8 undone on chain; it wins."""
    story = Story()
    story.agent(MOMENTUM, "1000")
    story.opened(MARKET)
    intent = story.intent(MOMENTUM, MARKET)
    story.accepted(intent)
    fills = [story.matched(intent, size, "0.54") for size in ("12", "8")]
    story.closed(intent, CloseReason.FILLED)
    story.confirmed_fill(fills[0])
    story.failed_fill(fills[1])
    story.settled(MARKET, "1")
    names = {fill.fill: FillId(f"{trade}/taker/540000") for fill, trade in zip(fills, (TRADE, GHOST), strict=True)}
    return [
        msgspec.structs.replace(fact, fill=names[fact.fill])
        if isinstance(fact, FillMatched | FillConfirmed | FillFailed)
        else fact
        for fact in story.facts
    ]


def a_trade(name: TradeId, size: str, status: TradeStatus) -> Trade:
    cost, fee = money("0.54") * shares(size) // 1_000_000, MARKET.fees.taker_fee(price("0.54"), shares(size))
    return Trade(
        id=name,
        market=MARKET.id,
        condition_id=MARKET.condition_id,
        token=TOKENS[0],
        outcome=Outcome.UP,
        side=Side.BUY,
        price=price("0.54"),
        shares=shares(size),
        fee=fee,
        taker_order=HASH,
        taker_owner=OwnerKey("key"),
        taker_account=WALLET,
        makers=(),
        legs=(
            Leg(account=WALLET, token=TOKENS[0], cash=Money(-cost), shares=shares(size), fee=fee),
            Leg(account=STREET, token=TOKENS[0], cash=Money(cost), shares=Shares(-shares(size))),
        ),
        minted=Money(0),
        matched_at=MARKET.window_start,
        updated_at=MARKET.window_start,
        status=status,
    )


def equal_books() -> ExchangeBooks:
    trades = [a_trade(TRADE, "12", TradeStatus.CONFIRMED), a_trade(GHOST, "8", TradeStatus.FAILED)]
    spent = sum(-leg.cash + leg.fee for leg in trades[0].legs if leg.account == WALLET)
    order = Order(
        id=HASH,
        owner=OwnerKey("key"),
        account=WALLET,
        market=MARKET.id,
        condition_id=MARKET.condition_id,
        token=TOKENS[0],
        outcome=Outcome.UP,
        side=Side.BUY,
        price=price("0.55"),
        size=shares("20"),
        order_type=TimeInForce.FAK,
        post_only=False,
        expiration=0,
        created_at=MARKET.window_start,
        status=OrderStatus.MATCHED,
        matched=shares("20"),
    )
    cash = Money(money("1000") + ELSEWHERE - spent + shares("12"))
    return ExchangeBooks(
        now=MARKET.window_end,
        deposited=money("2000"),
        held=money("2000"),
        accounts={WALLET: Account(cash=cash, reserved=Money(0), pending=Money(0), shares={})},
        open_orders=[],
        orders=[order],
        trades=trades,
        markets=[
            ListedMarket(
                slug=MARKET.id,
                condition=MARKET.condition_id,
                tokens=TOKENS,
                window_start=MARKET.window_start,
                window_end=MARKET.window_end,
                payout_up=Price(1_000_000),
            )
        ],
        posted={HASH: 1},
        batched=0,
    )


def findings(facts: list[AnyFact], books: ExchangeBooks) -> list[str]:
    ledger = told(facts)
    return compare(ledger, books, WALLET, dict.fromkeys(ledger.intents, HASH), ELSEWHERE)


def with_account(**changes: object) -> Change:
    return lambda books: msgspec.structs.replace(
        books, accounts={WALLET: msgspec.structs.replace(books.accounts[WALLET], **changes)}
    )


def with_order(**changes: object) -> Change:
    return lambda books: msgspec.structs.replace(books, orders=[msgspec.structs.replace(books.orders[0], **changes)])


def with_trade(**changes: object) -> Change:
    return lambda books: msgspec.structs.replace(
        books, trades=[msgspec.structs.replace(books.trades[0], **changes), books.trades[1]]
    )


def with_books(**changes: object) -> Change:
    return lambda books: msgspec.structs.replace(books, **changes)


def test_books_that_agree_have_no_findings_and_are_at_rest():
    facts, books = a_story(), equal_books()
    assert findings(facts, books) == []
    assert told(facts).is_at_rest
    assert is_quiet(books, WALLET)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_account(cash=Money(0)), "cash: "),
        (with_account(reserved=Money(1)), "sets aside 1 for orders"),
        (with_account(shares={TOKENS[0]: shares("12")}), "were not redeemed"),
        (with_account(shares={TOKENS[1]: shares("1")}), "the journal knows of 0"),
        (with_books(held=money("1999")), "the exchange itself"),
        (with_order(matched=shares("12")), "20000000 shares filled by the journal, 12000000 there"),
        (with_order(id=OrderHash("0x" + "22" * 32)), "was never written down here"),
        (with_order(created_at=MARKET.window_end), "outside its window"),
        (with_books(posted={HASH: 2}), "handed in 2 times"),
        (with_books(orders=[]), "the exchange does not know it"),
        (with_trade(status=TradeStatus.FAILED), "is FAILED there"),
        (with_trade(fee=Money(1)), "by the journal, 1 there"),
        (with_trade(id=TradeId("t-9")), "is not in the journal"),
        (with_trade(shares=shares("11")), "12000000 shares by the journal, 11000000 there"),
    ],
)
def test_whatever_differs_at_the_exchange_is_named(change, named):
    assert any(named in finding for finding in findings(a_story(), change(equal_books())))


def test_one_millionth_of_cash_is_a_difference():
    books = equal_books()
    cash = books.accounts[WALLET].cash
    assert findings(a_story(), with_account(cash=Money(cash + 1))(books)) == [
        f"cash: {cash} by the journal, {cash + 1} at the exchange: +1 millionths"
    ]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (OrderClosed, "is still open in the journal"),
        (FillConfirmed, "is still provisional"),
        (FillFailed, "is still provisional"),
        (TradeSettled, "is not paid out"),
    ],
)
def test_a_story_without_its_end_is_not_at_rest_and_is_named(missing, named):
    facts = [fact for fact in a_story() if not isinstance(fact, missing)]
    assert not told(facts).is_at_rest
    assert any(named in finding for finding in findings(facts, equal_books()))


def test_the_exchange_is_not_quiet_while_an_order_a_trade_or_a_winning_share_is_there():
    books = equal_books()
    for change in (
        with_books(open_orders=books.orders),
        with_trade(status=TradeStatus.MINED),
        with_account(shares={TOKENS[0]: shares("1")}),
    ):
        assert not is_quiet(change(books), WALLET)
    assert is_quiet(with_account(shares={TOKENS[1]: shares("1")})(books), WALLET)


def test_the_cash_of_the_ledger_counts_confirmed_fills_with_their_fees_and_what_markets_paid():
    story = Story()
    story.agent(MOMENTUM, "1000")
    story.opened(MARKET)
    intent = story.intent(MOMENTUM, MARKET)
    story.accepted(intent)
    fill = story.matched(intent, "20", "0.54")
    story.closed(intent, CloseReason.FILLED)
    story.confirmed_fill(fill)
    assert told(story.facts).cash() == money("1000") - paid(fill)
