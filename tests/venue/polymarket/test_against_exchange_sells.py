"""Shares that were bought are sold again at the loopback exchange, to the last millionth.

No agent of ours sells, every position is held until its market pays (risk/gate.py): this is for a person's own orders,
and for the day when one does.
"""

import asyncio

import pytest

from polybot.domain.events import FillFailed, FillMatched, Liquidity, OrderClosed, OrderRejected
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Money, Shares, notional_floor
from tests.exchange.trading import BOB, FEES
from tests.venue.polymarket.order_rehearsal import CASH, DEPOSIT, Rehearsal, rehearsal
from tests.venue.polymarket.test_against_exchange_losses import a_watch
from tests.venue.polymarket.test_venue_orders import kinds

FAK, FOK = TimeInForce.FAK, TimeInForce.FOK


async def bought(at: Rehearsal, size: str = "40") -> OrderIntent:
    """Up at 0.52, confirmed; what it was asked for is in `at.holds`."""
    intent = at.intent(1, "0.52", size, FAK)
    await at.place(intent)
    await at.until(lambda: len(at.ledger.final) == 1 and len(at.ledger.of(OrderClosed)) == 1)
    return intent


def selling(at: Rehearsal, number: int, limit: str, size: str, tif: TimeInForce, **more: object) -> OrderIntent:
    return at.intent(number, limit, size, tif, side=Side.SELL, **more)


def fills_of(at: Rehearsal, intent: OrderIntent) -> list[FillMatched]:
    return [fill for fill in at.ledger.of(FillMatched) if fill.order == intent.id]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("wallet", [0, DEPOSIT], ids=["EOA", "deposit"])
async def test_part_of_what_was_bought_is_sold_and_its_fee_comes_out_of_the_proceeds(version, wallet):
    async with rehearsal(version=version, wallet=wallet) as at:
        await bought(at)
        held, cash, fees = at.holds[0], at.account.cash, at.exchange.engine.bank.fees
        sale = selling(at, 2, "0.50", "15.25", FAK)
        await at.place(sale)
        await at.until(lambda: len(at.ledger.final) == 2 and len(at.ledger.of(OrderClosed)) == 2)
        (fill,) = fills_of(at, sale)
        assert (fill.side, fill.price, fill.shares, fill.liquidity) == (
            Side.SELL,
            UNIT // 2,
            sale.shares,
            Liquidity.TAKER,
        )
        assert fill.fee == FEES.taker_fee(fill.price, fill.shares) > 0
        assert at.account.cash == cash + notional_floor(fill.price, fill.shares) - fill.fee, "in pUSD"
        assert at.holds[0] == held - sale.shares, "and none of it in shares"
        assert at.exchange.engine.bank.fees == fees + fill.fee
        assert at.ledger.of(OrderClosed)[-1].reason is CloseReason.FILLED
        assert at.agrees()


async def test_a_sale_over_two_levels_gets_each_levels_price_and_pays_each_levels_fee():
    async with rehearsal() as at:
        at.exchange.engine.split(at.account.address, at.listing.market.id, Money(150 * UNIT), at.exchange.now())
        sale = selling(at, 1, "0.49", "150", FAK)
        await at.place(sale)
        await at.until(lambda: len(at.ledger.final) == 2 and len(at.ledger.of(OrderClosed)) == 1)
        told = [fact for fact in at.ledger.facts if isinstance(fact, FillMatched | OrderClosed)]
        assert kinds(told) == ["FillMatched", "FillMatched", "OrderClosed"], "not before all of it is told"
        assert at.ledger.of(OrderClosed)[0].reason is CloseReason.FILLED
        sold = {(fill.price, fill.shares) for fill in fills_of(at, sale)}
        assert sold == {(500_000, 100 * UNIT), (490_000, 50 * UNIT)}
        paid = sum(FEES.taker_fee(fill.price, fill.shares) for fill in fills_of(at, sale))
        assert at.account.cash == CASH - 150 * UNIT + at.ledger.cash
        assert at.ledger.cash == 50 * UNIT + 24_500_000 - paid


async def test_a_sale_that_is_only_met_in_part_ends_with_what_was_sold():
    async with rehearsal() as at:
        at.exchange.engine.split(at.account.address, at.listing.market.id, Money(150 * UNIT), at.exchange.now())
        sale, whole = selling(at, 1, "0.50", "130", FAK), selling(at, 2, "0.50", "20", FOK)
        await at.place(sale)
        await at.place(whole)
        await at.until(lambda: len(at.ledger.of(OrderClosed)) == 2)
        assert [fill.shares for fill in fills_of(at, sale)] == [100 * UNIT]
        assert fills_of(at, whole) == []
        assert {closed.reason for closed in at.ledger.of(OrderClosed)} == {CloseReason.KILLED}


async def test_an_offer_rests_is_met_as_a_maker_pays_no_fee_and_what_is_left_is_cancelled():
    async with rehearsal() as at:
        await bought(at)
        offer = selling(at, 2, "0.51", "20", TimeInForce.GTC, post_only=True)
        await at.place(offer)
        assert await a_watch(at).look(), "an offer's shares are still ours"
        at.bob(Side.BUY, "0.51", "8")
        await at.until(lambda: len(at.ledger.final) == 2)
        await at.venue.cancel(offer.id, at.clock.now_ms())
        await at.until(lambda: len(at.ledger.of(OrderClosed)) == 2)
        (fill,) = fills_of(at, offer)
        assert (fill.side, fill.price, fill.shares, fill.fee, fill.liquidity) == (
            Side.SELL,
            510_000,
            8 * UNIT,
            0,
            Liquidity.MAKER,
        )
        assert at.ledger.of(OrderClosed)[-1].reason is CloseReason.CANCELLED
        assert at.agrees()


async def test_two_sellers_of_opposite_outcomes_meet_by_merging_and_ours_has_its_own_price():
    async with rehearsal() as at:
        await bought(at)
        offer = selling(at, 2, "0.51", "10", TimeInForce.GTC, post_only=True)
        await at.place(offer)
        at.exchange.engine.split(BOB, at.listing.market.id, Money(10 * UNIT), at.exchange.now())
        at.bob(Side.SELL, "0.49", "10", Outcome.DOWN)
        await at.until(lambda: len(at.ledger.final) == 2 and len(at.ledger.of(OrderClosed)) == 2)
        (fill,) = fills_of(at, offer)
        assert (fill.outcome, fill.side, fill.price, fill.shares) == (Outcome.UP, Side.SELL, 510_000, 10 * UNIT)
        assert at.agrees()


async def test_more_than_is_held_cannot_be_sold_and_nothing_moves():
    async with rehearsal() as at:
        await bought(at, "10")
        before = at.account.cash, at.holds
        await at.place(selling(at, 2, "0.50", "10.01", FAK))
        at.drain()
        (refused,) = at.ledger.of(OrderRejected)
        assert "not enough balance" in refused.text
        assert (at.account.cash, at.holds) == before


async def test_a_sale_that_fails_on_chain_gives_the_shares_back():
    async with rehearsal() as at:
        await bought(at)
        before = at.account.cash, at.holds
        await at.throw("rules", ghost_rate=1.0)
        await at.place(selling(at, 2, "0.50", "15", FAK))
        await at.until(lambda: bool(at.ledger.of(FillFailed)))
        assert (at.account.cash, at.holds) == before
        assert at.agrees()


async def test_a_sale_and_purchases_leave_in_one_batch():
    async with rehearsal() as at:
        await bought(at)
        sale, dear = selling(at, 2, "0.50", "15", FAK), selling(at, 3, "0.50", "9000", FAK)
        more = at.intent(4, "0.52", "10", FAK)
        await asyncio.gather(*(at.place(intent) for intent in (sale, dear, more)))
        await at.until(lambda: len(at.ledger.final) == 3 and len(at.ledger.of(OrderClosed)) == 3)
        assert [fact.order for fact in at.ledger.of(OrderRejected)] == [dear.id]
        assert sum(fill.shares for fill in fills_of(at, sale)) == Shares(15 * UNIT)
        assert at.agrees()
