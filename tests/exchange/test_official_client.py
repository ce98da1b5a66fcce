"""The venue's own client, unmodified but for where it points, against the loopback exchange."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from polymarket import AsyncSecureClient
from polymarket.errors import RequestRejectedError
from polymarket.models.clob.order_response import AcceptedOrder
from polymarket.streams import UserSpec

from polybot.domain.market import Outcome
from polybot.domain.units import UNIT
from polybot.exchange.core.model import Address, Listing
from polybot.exchange.exchange import Exchange
from polybot.exchange.server import Server
from polybot.exchange.wallets import wallet_of
from tests.exchange.trading import SIGNER, a_listing, ending_in, official_client

KEY = Address(SIGNER.lower())


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncSecureClient]:
    client = await official_client(server)
    yield client
    await client.close()


async def test_it_creates_a_key_and_finds_it_again(server: Server) -> None:
    first = await official_client(server)
    again = await official_client(server)
    assert first._ctx.credentials.key == again._ctx.credentials.key
    await first.close()
    await again.close()


async def test_a_limit_order_rests_is_listed_streamed_and_cancelled(
    client: AsyncSecureClient, listing: Listing
) -> None:
    up = listing.tokens[Outcome.UP]
    stream = await client.subscribe(UserSpec())
    await _until_seated(client)
    placed = await client.place_limit_order(asset_id=up, price="0.40", size="10", side="BUY", post_only=True)
    assert isinstance(placed, AcceptedOrder)
    assert placed.status == "live"
    listed = [order async for order in client.list_open_orders().iter_items()]
    assert [(order.id, order.price, order.original_size) for order in listed] == [
        (placed.order_id, Decimal("0.4"), Decimal(10))
    ]
    cancelled = await client.cancel_order(order_id=placed.order_id)
    assert cancelled.canceled == (placed.order_id,)
    events = [await asyncio.wait_for(anext(stream), 5) for _ in range(2)]
    assert [getattr(event.payload, "order_event_type", None) for event in events] == ["PLACEMENT", "CANCELLATION"]
    assert (await client.get_order(order_id=placed.order_id)).status == "CANCELED"
    await stream.close()


async def test_a_market_order_is_matched_streamed_and_settled(
    client: AsyncSecureClient, listing: Listing, exchange: Exchange
) -> None:
    up = listing.tokens[Outcome.UP]
    stream = await client.subscribe(UserSpec(markets=[listing.market.condition_id]))
    await _until_seated(client)
    bought = await client.place_market_order(
        asset_id=up, side="BUY", amount="10.40", max_price="0.52", order_type="FOK"
    )
    assert isinstance(bought, AcceptedOrder)
    assert (bought.status, bought.making_amount, bought.taking_amount) == ("matched", Decimal("10.4"), Decimal(20))
    assert len(await client.wait_for_order_fill_settlement(bought, timeout_s=5)) == 1
    statuses = []
    while "CONFIRMED" not in statuses:
        event = await asyncio.wait_for(anext(stream), 5)
        statuses.append(event.payload.status)
    assert statuses == ["LIVE", "MATCHED", "MATCHED", "MINED", "CONFIRMED"]
    balance = await client.get_balance_allowance(asset_type="CONDITIONAL", asset_id=up)
    cash = await client.get_balance_allowance(asset_type="COLLATERAL")
    fee = 20 * 0.07 * 0.52 * 0.48
    assert balance.balance == 20 * UNIT
    assert cash.balance == round((1_000 - 10.4 - fee) * 1e5) * 10
    trades = [trade async for trade in client.list_account_trades().iter_items()]
    assert [(t.id, t.size, t.price, t.trader_side) for t in trades] == [
        (bought.trade_ids[0], Decimal(20), Decimal("0.52"), "TAKER")
    ]
    sold = await client.place_market_order(asset_id=up, side="SELL", shares="20", min_price="0.50")
    assert isinstance(sold, AcceptedOrder)
    assert sold.taking_amount == 10
    await stream.close()


@pytest.mark.parametrize("kind", range(4), ids=["EOA", "proxy", "Safe", "deposit wallet"])
async def test_every_kind_of_wallet_signs_orders_the_exchange_accepts(
    server: Server, listing: Listing, kind: int
) -> None:
    client = await official_client(server, wallet=wallet_of(KEY, kind))
    placed = await client.place_limit_order(asset_id=listing.tokens[0], price="0.40", size="10", side="BUY")
    assert isinstance(placed, AcceptedOrder)
    assert (await client.get_order(order_id=placed.order_id)).maker_address == wallet_of(KEY, kind)
    assert (await client.get_balance_allowance(asset_type="COLLATERAL")).balance == 1_000 * UNIT
    await client.close()


@pytest.mark.parametrize("kind", [0, 3], ids=["EOA", "deposit wallet"])
async def test_orders_in_a_protocol_v2_market_are_signed_for_the_other_domain(
    server: Server, exchange: Exchange, kind: int
) -> None:
    listing = a_listing(5, start=ending_in(600), version="v2")
    exchange.engine.list_market(listing, exchange.now())
    client = await official_client(server, wallet=wallet_of(KEY, kind))
    placed = await client.place_limit_order(asset_id=listing.tokens[1], price="0.40", size="10", side="BUY")
    assert isinstance(placed, AcceptedOrder)
    await client.close()


async def test_batches_heartbeats_books_and_cancel_all(client: AsyncSecureClient, listing: Listing) -> None:
    up = listing.tokens[Outcome.UP]
    signed = [await client.create_limit_order(asset_id=up, price=p, size="5", side="BUY") for p in ("0.40", "0.41")]
    placed = await client.post_orders(signed)
    assert [isinstance(order, AcceptedOrder) for order in placed] == [True, True]
    beat = await client.send_order_heartbeat()
    assert (await client.send_order_heartbeat(heartbeat_id=beat.heartbeat_id)).heartbeat_id != beat.heartbeat_id
    book = await client.get_order_book(asset_id=up)
    assert [level.price for level in book.bids] == [Decimal(p) for p in ("0.40", "0.41", "0.49", "0.50")]
    assert len((await client.cancel_all()).canceled) == 2


async def test_a_refusal_reaches_the_client_in_the_venues_words(client: AsyncSecureClient, listing: Listing) -> None:
    with pytest.raises(RequestRejectedError, match="order crosses book"):
        await client.place_limit_order(asset_id=listing.tokens[0], price="0.60", size="10", side="BUY", post_only=True)


async def _until_seated(client: AsyncSecureClient) -> None:
    """The user channel has no acknowledgement: an answered request on another connection comes after it was read."""
    await asyncio.sleep(0.1)
    await client.get_balance_allowance(asset_type="COLLATERAL")
