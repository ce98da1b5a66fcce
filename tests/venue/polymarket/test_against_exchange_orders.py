"""The live venue against the loopback exchange: placing, filling and cancelling, to the last millionth."""

import msgspec
import pytest

from polybot.domain.events import (
    CancelRefused,
    FillFailed,
    FillMatched,
    Liquidity,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
)
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, TimeInForce
from tests.venue.polymarket.order_rehearsal import DEPOSIT, GHOSTS, PROXY, QUICK, rehearsal
from tests.venue.polymarket.test_venue_orders import kinds

FAK, FOK, GTC = TimeInForce.FAK, TimeInForce.FOK, TimeInForce.GTC


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("wallet", range(4), ids=["EOA", "proxy", "safe", "deposit"])
async def test_every_wallets_order_is_accepted_under_the_hash_we_knew_and_cancelled_by_it(wallet, version):
    async with rehearsal(wallet=wallet, version=version) as at:
        intent = at.intent(1, "0.40", "10")
        await at.place(intent)
        order = at.order(intent)
        assert order is not None
        assert order.status.is_open
        assert kinds(at.drain()) == ["OrderAccepted"]
        await at.venue.cancel(intent.id, at.clock.now_ms())
        closed = at.drain()[-1]
        assert isinstance(closed, OrderClosed)
        assert closed.reason is CloseReason.CANCELLED
        assert at.exchange.engine.open_orders() == []


async def test_a_second_cancel_is_refused_in_the_exchanges_words():
    async with rehearsal(streams=False) as at:
        intent = at.intent(1, "0.40", "10")
        await at.place(intent)
        await at.venue.cancel(intent.id, at.clock.now_ms())
        await at.venue.cancel(intent.id, at.clock.now_ms())
        assert isinstance(at.drain()[-1], CancelRefused)


async def test_a_market_buy_is_matched_and_confirmed():
    async with rehearsal(wallet=DEPOSIT) as at:
        await at.place(at.intent(1, "0.52", "33.33", FAK))
        await at.until(lambda: bool(at.ledger.final) and bool(at.ledger.of(OrderClosed)))
        assert len(at.ledger.of(OrderAccepted)) == 1
        assert at.holds[0] == sum(fill.shares for fill in at.ledger.of(FillMatched)) > 0
        assert at.agrees()


async def test_a_buy_over_two_levels_pays_each_levels_price_and_fee():
    async with rehearsal() as at:
        await at.place(at.intent(1, "0.55", "150", FAK, best_ask="0.52"))
        await at.until(lambda: len(at.ledger.final) == 2)
        assert {fill.price for fill in at.ledger.of(FillMatched)} == {520_000, 550_000}
        assert at.agrees()


async def test_improvement_never_brings_more_shares_than_were_meant_while_the_book_stands():
    async with rehearsal() as at:
        intent = at.intent(1, "0.60", "50", FAK, best_ask="0.52")
        await at.place(intent)
        await at.until(lambda: bool(at.ledger.of(OrderClosed)))
        assert 0 < at.ledger.shares[Outcome.UP] <= intent.shares


async def test_a_better_book_than_was_seen_brings_more_shares_for_the_same_money_and_the_fill_says_so():
    """A FOK or FAK BUY gives pUSD (polymarket.md 6.1): what it brings is only known when it is matched."""
    async with rehearsal() as at:
        intent = at.intent(1, "0.55", "20", FAK, best_ask="0.55")
        await at.place(intent)
        await at.until(lambda: bool(at.ledger.final) and bool(at.ledger.of(OrderClosed)))
        assert at.ledger.shares[Outcome.UP] > intent.shares
        assert -at.ledger.cash < intent.cost_max
        assert at.agrees()


async def test_where_a_market_buy_is_for_shares_it_costs_less_instead():
    """The other reading of the same sentence: which one holds is for the venue to show."""
    async with rehearsal(rules=msgspec.structs.replace(QUICK, market_buy_spends=False)) as at:
        intent = at.intent(1, "0.55", "20", FAK, best_ask="0.55")
        await at.place(intent)
        await at.until(lambda: bool(at.ledger.final) and bool(at.ledger.of(OrderClosed)))
        assert 0 < at.ledger.shares[Outcome.UP] <= intent.shares
        assert at.agrees()


async def test_a_down_buy_is_matched_with_ups_bids():
    async with rehearsal() as at:
        await at.place(at.intent(1, "0.50", "20", FAK, outcome=Outcome.DOWN))
        await at.until(lambda: bool(at.ledger.final))
        assert at.holds == [0, at.ledger.shares[Outcome.DOWN]]
        assert at.agrees()


async def test_an_order_that_cannot_be_filled_is_killed_and_costs_nothing():
    async with rehearsal() as at:
        await at.place(at.intent(1, "0.52", "500", FOK))
        await at.place(at.intent(2, "0.51", "10", FAK))
        await at.until(lambda: len(at.ledger.of(OrderClosed)) == 2)
        assert {closed.reason for closed in at.ledger.of(OrderClosed)} == {CloseReason.KILLED}
        assert at.agrees()


async def test_a_resting_order_is_filled_as_a_maker_by_its_own_price_and_pays_no_fee():
    async with rehearsal() as at:
        await at.place(at.intent(1, "0.51", "11", post_only=True))
        at.bob(Side.BUY, "0.49", "5", Outcome.DOWN)  # buys Down at 0.49: the other half of our Up at 0.51
        await at.until(lambda: len(at.ledger.final) == 1)
        at.bob(Side.BUY, "0.49", "6", Outcome.DOWN)
        await at.until(lambda: len(at.ledger.final) == 2 and bool(at.ledger.of(OrderClosed)))
        fills = at.ledger.of(FillMatched)
        assert {(fill.price, fill.side, fill.outcome, fill.fee, fill.liquidity) for fill in fills} == {
            (510_000, Side.BUY, Outcome.UP, 0, Liquidity.MAKER)
        }
        assert at.ledger.of(OrderClosed)[0].reason is CloseReason.FILLED
        assert at.agrees()


async def test_a_post_only_order_that_would_take_is_refused():
    async with rehearsal(streams=False) as at:
        await at.place(at.intent(1, "0.52", "10", post_only=True))
        (refused,) = at.drain()
        assert isinstance(refused, OrderRejected)
        assert "crosses" in refused.text


async def test_a_ghost_fill_fails_and_everything_is_as_before():
    async with rehearsal(wallet=PROXY, rules=GHOSTS) as at:
        await at.place(at.intent(1, "0.52", "20", FAK))
        await at.until(lambda: bool(at.ledger.of(FillFailed)))
        assert (at.ledger.cash, at.holds) == (0, [0, 0])
        assert at.agrees()
