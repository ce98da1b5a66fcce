"""The live venue and the loopback exchange face to face: two independent readings of the venue's documents."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import aiohttp
import msgspec

from polybot.clock import SystemClock
from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, VenueReply
from polybot.domain.ids import ConditionId, FillId, TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Shares, notional_floor
from polybot.exchange.core.faults import Fault
from polybot.exchange.core.model import Address, Listing, Order, Refused, Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.relayer import RelayTerms
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.wallets import wallet_of
from polybot.venue.polymarket.account_values import Books, Holding
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.keys import Hosts, Keys
from polybot.venue.polymarket.live import open_account
from polybot.venue.polymarket.loopback import account_hosts_of
from polybot.venue.polymarket.socket import TextSocket
from polybot.venue.polymarket.user_stream import UserStream
from polybot.venue.polymarket.venue import PolymarketVenue
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen
from tests.exchange.trading import BOB, KEY_OF_ALICE, SIGNER, Trading, a_listing, ending_in, levels, token
from tests.venue.polymarket import orders
from tests.venue.polymarket.desk import few_certificates

Fact = TypeVar("Fact", bound=VenueReply)
QUICK = Rules(mine_ms=20, confirm_ms=20, retry_ms=20)
GHOSTS = msgspec.structs.replace(QUICK, ghost_rate=1.0)
CASH = Money(1_000 * UNIT)
KEY = Address(SIGNER.lower())
EOA, PROXY, SAFE, DEPOSIT = range(4)


class ShiftedClock(SystemClock):
    """The machine's clock, and a hand on it."""

    def __init__(self) -> None:
        self.shift_ms = 0

    def now_ms(self) -> Millis:
        return Millis(super().now_ms() + self.shift_ms)


class Ledger:
    """Money and shares by the facts alone: a match moves both at once, a failed one moves them back."""

    def __init__(self) -> None:
        self.cash = 0
        self.shares: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.provisional: dict[FillId, FillMatched] = {}
        self.final: set[FillId] = set()
        self.matched: set[FillId] = set()
        self.facts: list[VenueReply] = []

    def take(self, replies: Iterable[VenueReply]) -> None:
        for reply in replies:
            self.facts.append(reply)
            match reply:
                case FillMatched() if reply.fill not in self.matched:
                    self.matched.add(reply.fill)
                    self.provisional[reply.fill] = reply
                    self._move(reply, 1)
                case FillFailed() if reply.fill not in self.final:
                    self._move(self.provisional.pop(reply.fill), -1)
                    self.final.add(reply.fill)
                case FillConfirmed() if reply.fill not in self.final:
                    self.provisional.pop(reply.fill)
                    self.final.add(reply.fill)

    def _move(self, fill: FillMatched, sign: int) -> None:
        buys = fill.side is Side.BUY
        notional = notional_floor(fill.price, fill.shares)
        self.cash += sign * ((-notional if buys else notional) - fill.fee)
        self.shares[fill.outcome] += sign * (fill.shares if buys else -fill.shares)

    def of(self, kind: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


class Rehearsal:
    """A served exchange with one market, an account at it, and the venue object with its stream running."""

    def __init__(self, exchange: Exchange, listing: Listing, server: Server, client: AccountClient) -> None:
        self.exchange, self.listing, self.server, self.client = exchange, listing, server, client
        self.clock = SystemClock()
        self.ledger = Ledger()
        self.intents: dict[str, OrderIntent] = {}
        self.venue = self.new_venue()
        self.connects = 0
        self.around: Surroundings | None = None

    def new_venue(self) -> PolymarketVenue:
        """As after a crash: nothing is remembered but what is journaled."""
        market = self.listing.market
        return PolymarketVenue(self.client, lambda name: market if name == market.id else None, self.clock)

    def intent(
        self, number: int, limit: str, size: str, tif: TimeInForce = TimeInForce.GTC, **more: Any
    ) -> OrderIntent:
        terms: dict[str, Any] = {"market": self.listing.market.id, "decided_at": self.clock.now_ms()} | more
        return orders.an_intent(number, limit=limit, size=size, tif=tif, **terms)

    async def place(self, intent: OrderIntent) -> None:
        self.intents[self.hash_of(intent)] = intent
        await self.venue.place(orders.approved(intent), self.clock.now_ms())

    def hash_of(self, intent: OrderIntent) -> str:
        form, _ = self.venue._form(intent)
        return self.client.signer.hash_of(form)

    def order(self, intent: OrderIntent) -> Order | None:
        return self.exchange.engine.order(self.hash_of(intent))  # type: ignore[arg-type]

    def drain(self) -> list[VenueReply]:
        replies = self.venue.advance(self.clock.now_ms())
        self.ledger.take(replies)
        return replies

    async def until(self, true: Callable[[], bool], within_s: float = 5.0) -> None:
        """Drain until it is true."""
        async with asyncio.timeout(within_s):
            while not true():
                self.drain()
                await asyncio.sleep(0.005)

    @property
    def account(self):
        return self.exchange.engine.account(Address(self.client.wallet.address.lower()))

    @property
    def holds(self) -> list[int]:
        return [self.account.shares_of(held) for held in self.listing.tokens]

    def agrees(self) -> bool:
        """Whether the facts and the exchange's own books are the same to the last millionth."""
        ours = [self.ledger.shares[outcome] for outcome in Outcome]
        return not self.ledger.provisional and self.account.cash - CASH == self.ledger.cash and self.holds == ours

    def bob(self, side: Side, limit: str, size: str, outcome: Outcome = Outcome.UP, **terms: Any) -> None:
        """Somebody else's order, straight into the engine."""
        trading = object.__new__(Trading)
        trading.engine, trading.now, trading.listing = self.exchange.engine, self.exchange.now(), self.listing
        trading.orders = random.Random(limit + size + str(self.clock.monotonic())).getrandbits(60)
        answer = trading.place(BOB, side, limit, size, outcome=outcome, **terms)
        assert not isinstance(answer, Refused), answer
        self.exchange.publish()

    def fault(self, **fault: Any) -> None:
        self.exchange.faults.pending.append(Fault(**fault))

    async def throw(self, switch: str, **body: Any) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.server.url}/_control/{switch}", json=body) as response,
        ):
            assert response.status == 200, await response.text()

    def books(self) -> Books:
        """Our side as the floor would give it: provisional fills may be on chain or not."""
        costs = [notional_floor(fill.price, fill.shares) + fill.fee for fill in self.ledger.provisional.values()]
        cash = CASH + self.ledger.cash
        holdings = []
        for outcome, held in zip(Outcome, self.listing.tokens, strict=True):
            coming = sum(fill.shares for fill in self.ledger.provisional.values() if fill.outcome is outcome)
            most = self.ledger.shares[outcome]
            holdings.append(_holding(self.listing, held, most - coming, most))
        still = {name for name, tracked in self.venue._tracked.items() if not tracked.closed}
        return Books(
            cash_least=Money(cash),
            cash_most=Money(cash + sum(costs)),
            elsewhere=Money(0),
            holdings=tuple(holdings),
            intents=dict(self.intents),
            open=frozenset(still),
            conditions=frozenset([self.listing.market.condition_id]),
        )


def _holding(listing: Listing, held: TokenId, least: int, most: int) -> Holding:
    return Holding(market=listing.market.id, token=held, least=Shares(least), most=Shares(most))


def hosts_of(server: Server) -> Hosts:
    return msgspec.structs.replace(account_hosts_of(server.url), relayer_poll_ms=20, listed_s=60.0)


@asynccontextmanager
async def rehearsal(
    *, wallet: int = EOA, rules: Rules = QUICK, wall: ShiftedClock | None = None, streams: bool = True, **market: Any
) -> AsyncIterator[Rehearsal]:
    """Bids 0.50 and 0.49, asks 0.52 and 0.55, 100 shares each, 1000 pUSD in the wallet."""
    if market.get("version") == "v2":  # a condition is 31 bytes there, the beginning of its positions (1.4)
        market["condition_id"] = ConditionId(f"0x{int(token(0, 0, 'v2')):064x}"[:-2] + "00")
    listing = a_listing(start=ending_in(600), **({"taker_delay_ms": 10} | market))
    exchange = Exchange(SystemClock(), rules=rules, seed=3, wall=wall)
    now = exchange.now()
    exchange.engine.list_market(listing, now)
    bids, asks = levels([("0.49", "100"), ("0.50", "100")]), levels([("0.52", "100"), ("0.55", "100")])
    exchange.engine.replace_depth(listing.market.id, Outcome.UP, bids, asks, now)
    address = wallet_of(KEY, wallet)
    for funded in (address, BOB):
        exchange.engine.deposit(funded, CASH)
    around = Surroundings(exchange, [], relay_terms=RelayTerms(executed_ms=5, mined_ms=10, confirmed_ms=15))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/_control/relayer-key", json={"address": SIGNER}) as response,
    ):
        relayer_key = (await response.json())["key"]
    keys = Keys(private_key=KEY_OF_ALICE, wallet=address, relayer_key=relayer_key, relayer_address=SIGNER)
    with few_certificates():
        client = await open_account(keys, hosts_of(server), SystemClock())
    made = Rehearsal(exchange, listing, server, client)
    made.around = around
    stream = _stream(made)
    running = asyncio.create_task(stream.run(random.Random(1))) if streams else None
    try:
        if streams:
            await made.until(lambda: made.connects > 0)
        yield made
    finally:
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        await stream.close()
        await client.close()
        await server.close()


def _stream(made: Rehearsal) -> UserStream:
    socket = TextSocket(hosts_of(made.server).user_socket, "user", made.clock)

    def hear(event: OrderSeen | TradeSeen) -> None:
        made.venue.hear(event)  # whichever venue object is followed by then

    def connected() -> None:
        made.connects += 1

    return UserStream(socket, made.client.credentials, made.clock, hear, connected)
