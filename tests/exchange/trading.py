"""Markets, depth and orders for the engine's tests, in decimal text; the official client, pointed at an exchange."""

import dataclasses
import random
import time
from collections.abc import Sequence
from typing import Any

from eth_account import Account as EthAccount
from polymarket import AsyncSecureClient
from polymarket.environments import PRODUCTION, Environment, _create_environment

from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Price, Shares, parse_units
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import (
    Accepted,
    Address,
    Answer,
    Listing,
    NewOrder,
    OrderHash,
    OwnerKey,
    Refused,
    Rules,
)
from polybot.exchange.core.news import News, OrderAnswered
from polybot.exchange.server import Server

START = Millis(1_790_586_000_000)
ALICE, BOB = Address("0x" + "a1" * 20), Address("0x" + "b0" * 20)
KEY_OF_ALICE = "0x" + "a1" * 32
SIGNER = str(EthAccount.from_key(KEY_OF_ALICE).address)
FEES = FeeSchedule(rate=70_000, rebate_rate=200_000)
Book = Sequence[tuple[str, str]]


def token(number: int, outcome: int, version: str = "v1") -> TokenId:
    """v1: any large number. v2: module 1, the number, and the outcome in the last byte; the reserved bits are 0."""
    if version == "v2":
        return TokenId(str((1 << 248) | (number + 1 << 104) | outcome))
    return TokenId(str(7 * 10**75 + (number << 41 | 1 << 40) + outcome))


def a_listing(number: int = 0, *, start: int = START, **changes: Any) -> Listing:
    """A 15-minute market without a taker delay unless one is named; `changes` are the market's, or the listing's."""
    version = changes.get("version", "v1")
    listing = {name: changes.pop(name) for name in ("neg_risk", "ready_at", "closes_at") if name in changes}
    terms: dict[str, Any] = {
        "id": MarketId(f"btc-updown-15m-{start // 1000 + 900 * number}"),
        "condition_id": ConditionId(f"0x{number + 1:064x}"),
        "series": SeriesId("BTC-15m"),
        "asset": "BTC",
        "window_start": Millis(start + 900_000 * number),
        "window_end": Millis(start + 900_000 * (number + 1)),
        "tick": Price(10_000),
        "size_min": Shares(5 * UNIT),
        "fees": FEES,
        "taker_delay_ms": 0,
        "rule_set": "chainlink-twap60-2026-08-07",
        "tokens": (token(number, 0, version), token(number, 1, version)),
    }
    return Listing(market=Market(**{**terms, **changes}), number=1000 + number, question="Up or Down?", **listing)


def levels(book: Book) -> list[tuple[Price, Shares]]:
    return [(Price(parse_units(price)), Shares(parse_units(size))) for price, size in book]


class Trading:
    """An engine with one market, two funded accounts, and a clock that the test moves."""

    def __init__(self, listing: Listing | None = None, rules: Rules | None = None, seed: int = 0) -> None:
        self.engine = Engine(rules or Rules(), random.Random(seed))
        self.now = START
        self.listing = listing or a_listing()
        self.engine.list_market(self.listing, self.now)
        for account in (ALICE, BOB):
            self.engine.deposit(account, Money(1_000 * UNIT))
        self.orders = 0

    @property
    def market(self) -> MarketId:
        return self.listing.market.id

    def depth(self, bids: Book = (), asks: Book = (), outcome: Outcome = Outcome.UP) -> None:
        self.engine.replace_depth(self.market, outcome, levels(bids), levels(asks), self.now)

    def wait(self, ms: int) -> list[News]:
        self.now = Millis(self.now + ms)
        self.engine.advance(self.now)
        return self.engine.take_news()

    def order(self, account: Address, side: Side, price: str, size: str, **terms: Any) -> NewOrder:
        """A limit order of `size` shares; of a FOK or FAK BUY its whole cost at that price is what may be spent."""
        self.orders += 1
        shares, cost = parse_units(size), parse_units(price) * parse_units(size) // UNIT
        maker, taker = (cost, shares) if side is Side.BUY else (shares, cost)
        return NewOrder(
            id=OrderHash(f"0x{self.orders:064x}"),
            owner=OwnerKey(f"key of {account}"),
            account=account,
            token=self.listing.tokens[terms.pop("outcome", Outcome.UP)],
            side=side,
            maker_amount=terms.pop("maker_amount", maker),
            taker_amount=terms.pop("taker_amount", taker),
            order_type=terms.pop("order_type", TimeInForce.GTC),
            **terms,
        )

    def place(self, account: Address, side: Side, price: str, size: str, **terms: Any) -> Answer | None:
        return self.engine.place(self.order(account, side, price, size, **terms), self.now)

    def taken(self, account: Address, side: Side, price: str, size: str, **terms: Any) -> Accepted:
        answer = self.place(account, side, price, size, **terms)
        assert isinstance(answer, Accepted), answer
        return answer

    def refused(self, account: Address, side: Side, price: str, size: str, **terms: Any) -> str:
        answer = self.place(account, side, price, size, **terms)
        assert isinstance(answer, Refused), answer
        return answer.text

    def settle(self) -> None:
        """Let every matched trade become final."""
        self.wait(60_000)

    def book(self, outcome: Outcome = Outcome.UP) -> tuple[dict[str, str], dict[str, str]]:
        bids, asks = self.engine.book_of(self.market, outcome)
        return text_of(bids), text_of(asks)

    def held(self, account: Address, outcome: Outcome = Outcome.UP) -> Shares:
        return self.engine.account(account).shares_of(self.listing.tokens[outcome])


def text_of(found: list[tuple[Price, Shares]]) -> dict[str, str]:
    return {f"{price / UNIT:g}": f"{size / UNIT:g}" for price, size in found}


def answers_in(news: list[News]) -> list[Answer]:
    return [one.answer for one in news if isinstance(one, OrderAnswered)]


# -- the official client ----------------------------------------------------------------------------------------------


def environment_of(server: Server) -> Environment:
    """The client's own production environment, its addresses and ids untouched, its hosts this server's (D17)."""
    config = dataclasses.replace(
        PRODUCTION._config,
        clob_url=f"{server.url}/clob",
        clob_market_ws_url=f"{server.ws_url}/ws/market",
        clob_user_ws_url=f"{server.ws_url}/ws/user",
        relayer_url=f"{server.url}/relayer",
        gamma_url=f"{server.url}/gamma",
        data_url=f"{server.url}/data",
        rtds_ws_url=f"{server.ws_url}/rtds",
        realtime_ws_url=f"{server.ws_url}/polybolt/ws",
        rpc_url=f"{server.url}/rpc",
    )
    return _create_environment(name="loopback", config=config)


async def official_client(server: Server, *, wallet: str = SIGNER, key: str = KEY_OF_ALICE) -> AsyncSecureClient:
    return await AsyncSecureClient.create(private_key=key, wallet=wallet, environment=environment_of(server))


def ending_in(seconds: float) -> int:
    """A window start, in milliseconds, such that the window of a listing is open for so long from now."""
    return int(time.time() * 1000 - 900_000 + seconds * 1000)
