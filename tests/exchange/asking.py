"""Requests to the loopback exchange signed by the official client's own means, and open to be tampered with."""

import json
import time
from typing import Any

import aiohttp
from polymarket import AsyncSecureClient
from polymarket._internal.actions.orders.post import build_post_order_request
from polymarket._internal.hmac import build_hmac_signature
from polymarket.models.clob import ApiKeyCreds
from polymarket.models.clob.orders import SignedOrder

from tests.exchange.trading import SIGNER

Reply = tuple[int, Any]


def body_of(signed: SignedOrder, owner: str) -> dict[str, Any]:
    """The JSON the client would send."""
    body: dict[str, Any] = build_post_order_request(signed, owner_api_key=owner)[1]
    return body


class Desk:
    """A key and a session: every request carries the L2 headers, with whatever the test puts in their place."""

    def __init__(self, client: AsyncSecureClient, session: aiohttp.ClientSession) -> None:
        self.client, self.session = client, session
        self.headers: dict[str, str] = {}

    @property
    def key(self) -> ApiKeyCreds:
        return self.client._ctx.credentials

    async def ask(self, method: str, path: str, body: object = None, *, query: str = "", **instead: str) -> Reply:
        """Status and JSON of the answer; the answer's headers are in `headers`. `instead`: L2 header fields."""
        text = "" if body is None else json.dumps(body, separators=(",", ":"))
        headers = l2_headers(self.key, method, path, text or None, **instead)
        async with self.session.request(method, f"/clob{path}{query}", data=text.encode(), headers=headers) as answer:
            self.headers = dict(answer.headers)
            return answer.status, await answer.json()

    async def order(self, token: str, price: str = "0.40", size: str = "10", side: Any = "BUY", **terms: Any) -> Any:
        """The body of a signed limit order."""
        signed = await self.client.create_limit_order(asset_id=token, price=price, size=size, side=side, **terms)
        return body_of(signed, self.key.key)

    async def market_order(self, token: str, **terms: Any) -> Any:
        signed = await self.client.create_market_order(asset_id=token, **terms)
        return body_of(signed, self.key.key)

    async def post(self, body: object) -> Reply:
        return await self.ask("POST", "/order", body)

    async def switch(self, name: str, **fields: object) -> Any:
        async with self.session.post(f"/_control/{name}", json=fields) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


def l2_headers(key: ApiKeyCreds, method: str, path: str, body: str | None, **instead: str) -> dict[str, str]:
    stamp = instead.pop("timestamp", str(int(time.time())))
    signature = build_hmac_signature(secret=key.secret, timestamp=int(stamp), method=method, path=path, body=body)
    named = {"address": SIGNER, "api_key": key.key, "passphrase": key.passphrase, "signature": signature}
    return {f"POLY_{name.upper()}": value for name, value in {**named, "timestamp": stamp, **instead}.items()}
