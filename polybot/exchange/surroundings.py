"""The hosts beside the CLOB and the market a tape drives: Gamma, data API, relayer, chain, prices, geoblock.

One task lets time pass for all of them (`run`); everything else happens in requests.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.exchange.chain import Chain
from polybot.exchange.chain_rpc import ChainRpc
from polybot.exchange.core.model import Address
from polybot.exchange.core.news import MarketSettled, News
from polybot.exchange.data_api import DataApi
from polybot.exchange.edge import EXCHANGE, Refusal, answer, read_body
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.gamma_api import Gamma
from polybot.exchange.mempool import POL, Mempool
from polybot.exchange.price_desk import PriceDesk
from polybot.exchange.price_sockets import PriceSockets
from polybot.exchange.relayer import Relayer, RelayTerms
from polybot.exchange.relayer_api import RelayerApi, key_of
from polybot.exchange.server import host_app
from polybot.exchange.tape_market import MarketTerms, TapeMarket
from polybot.exchange.timetable import SeriesPlan

STEP_S_MAX = 0.1
"""Machine seconds between two looks at the clock at most; a hastened clock is looked at as often."""
STEP_S_MIN = 0.002
Switch = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RelayerKeyWanted(msgspec.Struct):
    address: str


class RelayerSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """Each is changed where it is given: how many of the next transactions fail or are invalid; whether it is down."""

    failing: int | None = None
    invalid: int | None = None
    down: bool | None = None


class ChainSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the next transactions of keys that pay for themselves are reverted; how much POL one of them has."""

    failing: int | None = None
    address: str = ""
    pol: Decimal | None = None


class MarketSwitches(msgspec.Struct, forbid_unknown_fields=True):
    settlements_held: bool | None = None
    settled_after_ms: tuple[int, int] | None = None
    listed_ahead: int | None = None


class GammaSwitches(msgspec.Struct, forbid_unknown_fields=True):
    """Market fields Gamma is to serve otherwise: of one slug, or of all; no fields: as they are."""

    slug: str = ""
    fields: dict[str, Any] = {}


class Surroundings:
    """Owns its parts; `add_to` is what `create_app` wants."""

    def __init__(
        self,
        exchange: Exchange,
        plans: Sequence[SeriesPlan],
        *,
        market_terms: MarketTerms | None = None,
        relay_terms: RelayTerms | None = None,
    ) -> None:
        self.exchange = exchange
        now = exchange.now()
        self.desks = {plan.asset: PriceDesk(plan, now) for plan in plans}
        self.market = TapeMarket(exchange.engine, plans, now, market_terms)
        self.chain = Chain(exchange.engine)
        self.relayer = Relayer(self.chain.execute, relay_terms)
        self.mempool = Mempool(self.chain.execute, lambda: self.relayer.terms.mined_ms)
        self.gamma = Gamma(exchange, self.market, self.desks)
        self.prices = PriceSockets(self.desks, exchange)
        self._relayer_api = RelayerApi(exchange, self.relayer)
        exchange.listeners.append(self._hear)
        exchange.publish()

    def add_to(self, app: web.Application, exchange: Exchange) -> None:
        """Every host's routes on the root application, and the task that lets time pass."""
        for host, part in (("gamma", self.gamma), ("data", DataApi(exchange)), ("relayer", self._relayer_api)):
            sub = host_app(exchange, host)
            part.add_to(sub)
            app.add_subapp(f"/{host}", sub)
        site = host_app(exchange, "site")
        site.router.add_get("/api/geoblock", _geoblock)
        app.add_subapp("/site", site)
        rpc = ChainRpc(self.chain, self.mempool, exchange.now, self.relayer.was_mined, self._mine)
        app.router.add_post("/rpc", rpc.serve)
        app.add_routes(self.prices.routes())
        app.router.add_get("/_control/clock", self._clock)
        for name, act in self._switches().items():
            app.router.add_post(f"/_control/{name}", _switch(act))
        app.cleanup_ctx.append(self._keep_running)
        app.on_shutdown.append(self._hang_up)

    def step(self, now: Millis) -> None:
        """Let happen what is due by `now`, and tell everybody."""
        self.market.step(now)
        self.relayer.step(now)
        self.mempool.step(now)
        self.exchange.publish()
        for asset, desk in self.desks.items():
            points = desk.advance(now)
            if points:
                self.prices.publish(asset, points, now)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            now = self.exchange.now()
            self.step(now)
            await asyncio.sleep(self._wait_s(now))

    def _wait_s(self, now: Millis) -> float:
        chain = [at for at in (self.relayer.next_at, self.mempool.next_at) if at is not None]
        due = min([self.market.next_due(now), *chain])
        speed = self.exchange.clock.speed if isinstance(self.exchange.clock, FastClock) else 1.0
        return min(STEP_S_MAX, max(STEP_S_MIN, (due - now) / 1000 / speed))

    async def _keep_running(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.run(), name="exchange-surroundings")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _hang_up(self, _: web.Application) -> None:
        await self.prices.hang_up()

    def _hear(self, news: News) -> None:
        if isinstance(news, MarketSettled):  # perhaps by hand, before its time
            self.market.note_settled(news.market, news.at)

    def _mine(self) -> None:
        self.mempool.step(self.exchange.now())
        self.exchange.publish()

    # -- switches -----------------------------------------------------------------------------------------------------

    async def _clock(self, _: web.Request) -> web.Response:
        """For a client that follows: the time now, and how fast it runs."""
        speed = self.exchange.clock.speed if isinstance(self.exchange.clock, FastClock) else 1.0
        return answer({"now_ms": self.exchange.now(), "speed": speed})

    def _switches(self) -> dict[str, Switch]:
        return {
            "relayer-key": _relayer_key,
            "relayer": self._switch_relayer,
            "chain": self._switch_chain,
            "market": self._switch_market,
            "gamma": self._switch_gamma,
            "hang-up-prices": self._switch_prices,
        }

    async def _switch_relayer(self, request: web.Request) -> web.Response:
        switches: RelayerSwitches = await read_body(request, RelayerSwitches, "unknown switch")
        relayer = self.relayer
        relayer.failing = relayer.failing if switches.failing is None else switches.failing
        relayer.invalid = relayer.invalid if switches.invalid is None else switches.invalid
        relayer.is_down = relayer.is_down if switches.down is None else switches.down
        return answer({"failing": relayer.failing, "invalid": relayer.invalid, "down": relayer.is_down})

    async def _switch_chain(self, request: web.Request) -> web.Response:
        switches: ChainSwitches = await read_body(request, ChainSwitches, "unknown switch")
        mempool, sender = self.mempool, Address(switches.address.lower())
        mempool.failing = mempool.failing if switches.failing is None else switches.failing
        if sender and switches.pol is not None:
            mempool.set_pol(sender, int(switches.pol * POL))
        return answer({"failing": mempool.failing, "pol": Decimal(mempool.pol(sender)) / POL})

    async def _switch_market(self, request: web.Request) -> web.Response:
        switches: MarketSwitches = await read_body(request, MarketSwitches, "unknown switch")
        given = {name: value for name, value in msgspec.structs.asdict(switches).items() if value is not None}
        try:
            self.market.terms = msgspec.structs.replace(self.market.terms, **given)
        except BadInput as error:
            raise Refusal(400, str(error)) from error
        return answer(self.market.terms)

    async def _switch_prices(self, _: web.Request) -> web.Response:
        """Both price sockets hang up on everybody, as before a deployment."""
        await self.prices.hang_up()
        return answer({"done": True})

    async def _switch_gamma(self, request: web.Request) -> web.Response:
        switches: GammaSwitches = await read_body(request, GammaSwitches, "unknown switch")
        self.gamma.changes[switches.slug] = switches.fields
        if not switches.fields:
            del self.gamma.changes[switches.slug]
        return answer(self.gamma.changes)


def _switch(act: Switch) -> Switch:
    """A refused body is an answer here, too: the root application has no middleware."""

    async def throw(request: web.Request) -> web.StreamResponse:
        try:
            return await act(request)
        except Refusal as refusal:
            return refusal.response()

    return throw


async def _geoblock(request: web.Request) -> web.Response:
    return answer(request.app[EXCHANGE].faults.geoblock)


async def _relayer_key(request: web.Request) -> web.Response:
    """What the venue's settings page hands out (polymarket.md 7)."""
    wanted: RelayerKeyWanted = await read_body(request, RelayerKeyWanted, "address is missing")
    address = Address(wanted.address.lower())
    return answer({"key": key_of(address), "address": address})
