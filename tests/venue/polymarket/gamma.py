"""Gamma and the CLOB's public REST on this machine, by hand from polymarket.md 2.1, 2.2 and 5."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

START_S = 1_790_586_000
TERMS: dict[str, Any] = {
    "version": "v1",
    "outcomes": '["Up", "Down"]',
    "orderMinSize": 5,
    "orderPriceMinTickSize": 0.01,
    "enableOrderBook": True,
    "negRisk": False,
    "feesEnabled": True,
    "feeType": "crypto_fees_v2",
    "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
    "cryptoMarketConfig": {"id": "btc-15m-twap-60", "twapEnabled": True, "twapLookbackSeconds": 60},
    "closed": False,
    "outcomePrices": '["0.505", "0.495"]',
}
CLOB: dict[str, Any] = {"mos": 5, "mts": 0.01, "itode": True, "fd": {"r": 0.07, "e": 1, "to": True}}


def iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def slug_of(number: int, asset: str = "btc", frame: str = "15m", length: int = 900) -> str:
    return f"{asset}-updown-{frame}-{START_S + number * length}"


class HandGamma:
    """`events` by slug; `clob` by condition id. `refuses` is the status of every answer; `asked` every path."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.clob: dict[str, dict[str, Any]] = {}
        self.books: list[Any] = []
        self.hidden: set[str] = set()
        self.refuses: int | None = None
        self.refuses_slugs: set[str] = set()
        self.asked: list[str] = []
        self.url = ""

    def serve(self, number: int, asset: str = "btc", frame: str = "15m", length: int = 900, **changes: Any) -> str:
        """A window's event; `changes` to its terms. Returns its slug."""
        slug, start = slug_of(number, asset, frame, length), START_S + number * length
        condition = f"0x{asset.encode().hex()}{start:x}".ljust(66, "0")
        tokens = [f"1{start}{len(asset)}", f"2{start}{len(asset)}"]
        market = {
            "slug": slug, "conditionId": condition, "eventStartTime": iso(start), "endDate": iso(start + length),
            "clobTokenIds": json.dumps(tokens), **TERMS, **changes,
        }  # fmt: skip
        served = {key: value for key, value in market.items() if value != "absent"}
        self.events[slug] = {"slug": slug, "seriesSlug": f"{asset}-up-or-down-{frame}", "markets": [served]}
        self.clob[condition] = deepcopy(CLOB) | {"t": [{"t": token} for token in tokens]}
        return slug

    def market(self, slug: str) -> dict[str, Any]:
        market: dict[str, Any] = self.events[slug]["markets"][0]
        return market

    def resolve(self, slug: str, prices: str = '["1", "0"]') -> None:
        over = {"closed": True, "outcomePrices": prices, "closedTime": "2026-09-28 09:16:27+00"}
        self.market(slug).update(over)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if self.refuses is not None:
            return web.Response(status=self.refuses)
        last = request.path.rpartition("/")[2]
        if request.path.startswith("/events/slug/"):
            if last in self.refuses_slugs:
                return web.Response(status=500)
            return _json(None if last in self.hidden else self.events.get(last))
        if request.path == "/series":
            return _json([{"id": "10192", "slug": request.query["slug"]}])
        if request.path == "/events":
            found = [event for event in self.events.values() if not event["markets"][0].get("closed")]
            offset = int(request.query.get("offset", 0))
            return _json(found[offset : offset + int(request.query.get("limit", 100))])
        if request.path == "/books":
            return _json(self.books)
        return _json(self.clob.get(last))


def _json(content: Any) -> web.Response:
    return web.Response(status=404) if content is None else web.json_response(content)


@asynccontextmanager
async def hand_gamma() -> AsyncIterator[HandGamma]:
    gamma = HandGamma()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gamma.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    gamma.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield gamma
    finally:
        await runner.cleanup()
