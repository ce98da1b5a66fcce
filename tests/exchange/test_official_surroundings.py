"""The venue's own client against the hosts beside the CLOB: it finds markets, streams prices, and redeems gaslessly."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import cast

import aiohttp
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from polymarket import AsyncSecureClient
from polymarket._internal.actions.relayer.calls import TransactionCall, ctf_redeem_positions_call
from polymarket.auth import RelayerApiKey
from polymarket.environments import PRODUCTION, _create_environment
from polymarket.errors import RequestRejectedError, TransactionFailedError
from polymarket.streams import CryptoPriceSpec, CryptoPricesSpec, CryptoTwapPriceSpec, MarketSpec
from polymarket.types import EvmAddress

from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Money, Price
from polybot.exchange.core.model import Address, Listing, Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.relayer import RelayTerms
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.tape_market import MarketTerms
from polybot.exchange.timetable import plan_series
from polybot.exchange.wallets import wallet_of
from tests.exchange.tapes import PRESENT_START, plain_windows
from tests.exchange.trading import KEY_OF_ALICE, SIGNER, environment_of

KEY = Address(SIGNER.lower())
EOA, PROXY, SAFE, DEPOSIT = range(4)
Connect = Callable[..., Awaitable[AsyncSecureClient]]


class Rehearsal:
    """A served exchange early in a window, with BTC and ETH windows of protocol v1 and v2 in turn."""

    def __init__(self, around: Surroundings, server: Server) -> None:
        self.around, self.server, self.engine = around, server, around.exchange.engine

    def listing(self, version: str = "v1") -> Listing:
        """A window that is open and a while from its end."""
        windows = self.around.market.windows.values()
        fitting = [w.listing for w in windows if w.listing.market.version == version]
        return max(fitting, key=lambda listing: listing.market.window_start)

    def playing(self) -> Listing:
        """The BTC window of this quarter of an hour, whose book is there."""
        plan = self.around.market.plans[0]
        return self.around.market.windows[plan.market(plan.current_start(self.around.exchange.now())).id].listing

    def fund(self, kind: int, dollars: int = 100) -> Address:
        wallet = wallet_of(KEY, kind)
        self.engine.deposit(wallet, Money(dollars * UNIT))
        return wallet

    def resolve(self, listing: Listing, payout_up: int) -> None:
        self.engine.resolve(listing.market.id, Price(payout_up), self.around.exchange.now())
        self.around.exchange.publish()

    def shares(self, wallet: Address, listing: Listing) -> list[int]:
        return [self.engine.account(wallet).shares_of(token) // UNIT for token in listing.tokens]

    def cash(self, wallet: Address) -> int:
        return self.engine.account(wallet).cash // UNIT


@pytest.fixture
async def rehearsal() -> AsyncIterator[Rehearsal]:
    exchange = Exchange(FastClock(start=Millis(PRESENT_START + 100_000)))
    plans = plan_series(plain_windows(), ["BTC", "ETH"], version="both")
    quick = RelayTerms(executed_ms=5, mined_ms=10, confirmed_ms=15)
    around = Surroundings(exchange, plans, market_terms=MarketTerms(listed_ahead=2), relay_terms=quick)
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    yield Rehearsal(around, server)
    await server.close()


@pytest.fixture
async def connect(rehearsal: Rehearsal) -> AsyncIterator[Connect]:
    clients: list[AsyncSecureClient] = []

    async def connected(wallet: str | None = SIGNER) -> AsyncSecureClient:
        environment = environment_of(rehearsal.server)
        config = dataclasses.replace(environment._config, relayer_poll_frequency_ms=20)
        async with aiohttp.ClientSession() as session:
            url = f"{rehearsal.server.url}/_control/relayer-key"
            async with session.post(url, json={"address": SIGNER}) as response:
                key = (await response.json())["key"]
        client = await AsyncSecureClient.create(
            private_key=KEY_OF_ALICE,
            wallet=wallet,
            environment=_create_environment(name="loopback", config=config),
            api_key=RelayerApiKey(key=key, address=SIGNER),
        )
        clients.append(client)
        return client

    yield connected
    for client in clients:
        await client.close()


# -- finding ----------------------------------------------------------------------------------------------------------


async def test_it_finds_a_market_by_slug_and_by_condition_with_its_terms(
    rehearsal: Rehearsal, connect: Connect
) -> None:
    client, listing = await connect(), rehearsal.listing()
    by_slug = await client.get_market(slug=listing.market.id)
    (by_condition,) = (await client.list_markets(condition_ids=[listing.market.condition_id]).first_page()).items
    assert by_slug == by_condition
    assert (by_slug.outcomes.yes.label, str(by_slug.outcomes.yes.token_id)) == ("Up", listing.tokens[0])
    assert by_slug.trading.fee_schedule is not None
    assert (float(by_slug.trading.fee_schedule.rate), by_slug.trading.fee_type) == (0.07, "crypto_fees_v2")
    assert by_slug.state.accepting_orders


async def test_it_finds_the_windows_of_a_series_ahead_of_time(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect()
    (series,) = (await client.list_series(slug="eth-up-or-down-15m").first_page()).items
    events = [e async for e in client.list_events(series_ids=[int(series.id)], closed=False).iter_items()]
    assert len(events) == 3
    starts = [event.schedule.start_time for event in events if event.schedule.start_time is not None]
    assert [later - earlier for earlier, later in itertools.pairwise(starts)] == [timedelta(minutes=15)] * 2


async def test_a_market_of_protocol_v2_has_position_ids(rehearsal: Rehearsal, connect: Connect) -> None:
    client, listing = await connect(), rehearsal.listing("v2")
    market = await client.get_market(slug=listing.market.id)
    assert [str(outcome.position_id) for outcome in (market.outcomes.yes, market.outcomes.no)] == list(listing.tokens)
    assert market.outcomes.yes.token_id is None


# -- streaming --------------------------------------------------------------------------------------------------------


async def test_it_streams_spot_and_average_prices_from_polybolt(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect()
    specs: list[CryptoPriceSpec | CryptoTwapPriceSpec] = [
        CryptoPriceSpec(symbols=["btcusd"]),
        CryptoTwapPriceSpec(symbols=["ethusd"]),
    ]
    async with await client.subscribe(specs) as stream:
        events = [await asyncio.wait_for(anext(stream), 5) for _ in range(4)]
    spot, average = ([e for e in events if e.topic == topic] for topic in ("prices.crypto", "prices.crypto.twap"))
    for found, symbol, source in ((spot, "btcusd", "pyth"), (average, "ethusd", "chainlink")):
        snapshot, update = found
        assert snapshot.type == "subscribe"
        assert len(snapshot.payload.data) == 120
        assert update.type == "update"
        assert (update.payload.symbol, update.payload.source) == (symbol, source)
        assert update.payload.timestamp > snapshot.payload.data[-1].timestamp


async def test_it_streams_chainlink_prices_from_rtds(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect()
    async with await client.subscribe(CryptoPricesSpec(topic="prices.crypto.chainlink", symbols=["btc/usd"])) as stream:
        event = await asyncio.wait_for(anext(stream), 5)
    assert event.payload.symbol == "btc/usd"
    assert event.payload.value > 50_000


async def test_it_streams_the_recorded_book(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect()
    listing = rehearsal.playing()
    async with await client.subscribe(MarketSpec(asset_ids=[listing.tokens[Outcome.UP]])) as stream:
        event = await asyncio.wait_for(anext(stream), 5)
    assert event.type == "book"
    bids, asks = rehearsal.engine.book_of(listing.market.id, Outcome.UP)
    assert [int(level.price * UNIT) for level in event.payload.bids] == [price for price, _ in bids]
    assert len(event.payload.asks) == len(asks)


async def test_a_purchase_shows_in_its_positions_and_trades(rehearsal: Rehearsal, connect: Connect) -> None:
    wallet = rehearsal.fund(DEPOSIT)
    rehearsal.engine.rules = Rules(mine_ms=5, confirm_ms=5)
    client, listing = await connect(wallet), rehearsal.playing()
    up = listing.tokens[Outcome.UP]
    bought = await client.place_market_order(asset_id=up, side="BUY", amount="20", max_price="0.99", order_type="FAK")
    assert bought.ok
    await client.wait_for_order_fill_settlement(bought, timeout_s=5)
    (trade,) = (await client.list_trades(user=wallet).first_page()).items
    (held,) = (await client.list_positions(user=wallet).first_page()).items
    assert (str(trade.asset_id), trade.side, trade.size) == (up, "BUY", held.current_size)
    assert held.avg_price == trade.price
    assert held.entry_fees_usdc > 0


# -- gasless transactions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DEPOSIT, SAFE, PROXY])
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_it_splits_merges_and_redeems_for_every_kind_of_wallet_and_version(
    rehearsal: Rehearsal, connect: Connect, kind: int, version: str
) -> None:
    wallet, listing = rehearsal.fund(kind), rehearsal.listing(version)
    client, condition = await connect(wallet), listing.market.condition_id
    await (await client.split_position(condition_id=condition, amount=10 * UNIT)).wait()
    assert rehearsal.shares(wallet, listing) == [10, 10]
    await (await client.merge_positions(condition_id=condition, amount=4 * UNIT)).wait()
    assert rehearsal.shares(wallet, listing) == [6, 6]
    rehearsal.resolve(listing, UNIT)
    (owed,) = (await client.list_positions(user=wallet, status="REDEEMABLE").first_page()).items
    assert (str(owed.condition_id), int(owed.current_size), owed.redeemable) == (condition, 6, True)
    outcome = await (await client.redeem_positions(condition_id=condition)).wait()
    assert outcome.transaction_hash.startswith("0x")
    assert (rehearsal.shares(wallet, listing), rehearsal.cash(wallet)) == ([0, 0], 100)


async def test_several_redeems_go_in_one_signed_batch(rehearsal: Rehearsal, connect: Connect) -> None:
    wallet = rehearsal.fund(SAFE)
    client = await connect(wallet)
    listings = [w.listing for w in rehearsal.around.market.windows.values() if w.listing.market.version == "v1"][:3]
    for listing in listings:
        rehearsal.engine.split(wallet, listing.market.id, Money(10 * UNIT), rehearsal.around.exchange.now())
    handle = await client.merge_multiple_positions(
        positions=[{"condition_id": listing.market.condition_id} for listing in listings]
    )
    await handle.wait()
    assert rehearsal.cash(wallet) == 100


async def test_a_new_key_deploys_its_deposit_wallet_through_the_relayer(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect(None)
    assert client.wallet.lower() == wallet_of(KEY, DEPOSIT)
    assert rehearsal.around.relayer.deployed == {wallet_of(KEY, DEPOSIT)}


async def test_a_redemption_before_the_resolution_fails(rehearsal: Rehearsal, connect: Connect) -> None:
    wallet, listing = rehearsal.fund(DEPOSIT), rehearsal.listing()
    client = await connect(wallet)
    rehearsal.engine.split(wallet, listing.market.id, Money(10 * UNIT), rehearsal.around.exchange.now())
    handle = await client.execute_transaction(calls=[_redeem_call(listing)], metadata="too early")
    with pytest.raises(TransactionFailedError, match="not received"):
        await handle.wait()
    assert rehearsal.shares(wallet, listing) == [10, 10]


async def test_a_transaction_signed_by_another_key_is_refused(rehearsal: Rehearsal, connect: Connect) -> None:
    client = await connect(rehearsal.fund(DEPOSIT))
    client._ctx = dataclasses.replace(client._ctx, signer=cast(LocalAccount, _Stranger(client._ctx.signer)))
    with pytest.raises(RequestRejectedError, match="invalid signature"):
        await client.split_position(condition_id=rehearsal.listing().market.condition_id, amount=UNIT)
    assert rehearsal.cash(wallet_of(KEY, DEPOSIT)) == 100


class _Stranger:
    """Says it is `account`, and signs with another key."""

    def __init__(self, account: LocalAccount) -> None:
        self.address = account.address
        self.sign_message = Account.from_key("0x" + "77" * 32).sign_message


def _redeem_call(listing: Listing) -> TransactionCall:
    return ctf_redeem_positions_call(
        ctf=EvmAddress(PRODUCTION._config.collateral_adapter),
        collateral=EvmAddress(PRODUCTION._config.collateral_token),
        condition_id=listing.market.condition_id,
    )
