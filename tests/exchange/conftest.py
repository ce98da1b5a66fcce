"""A listening exchange with one market that has some depth, and a way to ask it, over real sockets on loopback."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import certifi
import pytest
from aiohttp import web

from polybot.clock import SystemClock
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Money
from polybot.exchange.core.model import Address, Listing, Rules
from polybot.exchange.edge import EXCHANGE, answer
from polybot.exchange.exchange import Exchange
from polybot.exchange.server import Server, create_app, host_app, serve
from polybot.exchange.wallets import wallet_of
from tests.exchange.asking import Desk
from tests.exchange.trading import SIGNER, a_listing, ending_in, levels, official_client

QUICK = Rules(mine_ms=20, confirm_ms=20, retry_ms=20)
CASH = Money(1_000 * UNIT)


@pytest.fixture(autouse=True, scope="session")
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The official client reads all of the world's certificates for each of its dozen connections, two seconds in all;
    nothing here is encrypted, so one certificate will do."""
    end = "-----END CERTIFICATE-----\n"
    path = tmp_path_factory.mktemp("authorities") / "one.pem"
    path.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture
def listing() -> Listing:
    return a_listing(start=ending_in(600), taker_delay_ms=30)


@pytest.fixture
def exchange(listing: Listing) -> Exchange:
    """Bids 0.50 and 0.49, asks 0.52 and 0.55, 100 shares each; the signer's wallets of every kind are funded."""
    exchange = Exchange(SystemClock(), rules=QUICK)
    now = exchange.now()
    exchange.engine.list_market(listing, now)
    bids, asks = levels([("0.49", "100"), ("0.50", "100")]), levels([("0.52", "100"), ("0.55", "100")])
    exchange.engine.replace_depth(listing.market.id, Outcome.UP, bids, asks, now)
    for kind in range(4):
        exchange.engine.deposit(wallet_of(Address(SIGNER.lower()), kind), CASH)
    exchange.engine.take_news()
    return exchange


def all_deployed(app: web.Application, exchange: Exchange) -> None:
    """The one question the official client asks the relayer before it trades: whether the wallet exists."""

    async def deployed(_: web.Request) -> web.Response:
        return answer({"deployed": True})

    relayer = host_app(exchange, "relayer")
    assert relayer[EXCHANGE] is exchange
    relayer.router.add_get("/deployed", deployed)
    app.add_subapp("/relayer", relayer)


@pytest.fixture
async def server(exchange: Exchange) -> AsyncIterator[Server]:
    server = await serve(create_app(exchange, [all_deployed]), port=0)
    yield server
    await server.close()


@pytest.fixture
async def ask(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=server.url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


@pytest.fixture
async def desk(server: Server, ask: aiohttp.ClientSession) -> AsyncIterator[Desk]:
    """A key of the funded signer, trading for itself (signature type 0)."""
    client = await official_client(server)
    yield Desk(client, ask)
    await client.close()
