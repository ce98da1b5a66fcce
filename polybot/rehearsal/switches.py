"""The exchange's switches, thrown over HTTP, and its books, read there (docs/exchange.md)."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.units import Millis, Money, Price, Shares
from polybot.exchange.core.model import Order, Trade
from polybot.rehearsal.plan import Deed, Kind

CALL_S_MAX = 60.0
MINE_MS = 2_000
MINE_LATE_MS = 45_000


class SwitchFault(PolybotError):
    """The exchange does not answer its switches: the rehearsal cannot go on."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One wallet there, in millionths."""

    cash: Money
    reserved: Money
    pending: Money
    shares: dict[TokenId, Shares]


class ListedMarket(msgspec.Struct, frozen=True, kw_only=True):
    slug: MarketId
    condition: ConditionId
    tokens: tuple[TokenId, TokenId]
    window_start: Millis
    window_end: Millis
    payout_up: Price | None


class ExchangeBooks(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's own books at one moment. `posted`: how often each order was handed in, `batched` how many orders
    came in a request with others; `now` is its clock."""

    now: Millis
    deposited: Money
    held: Money
    accounts: dict[str, Account]
    open_orders: list[Order]
    orders: list[Order]
    trades: list[Trade]
    markets: list[ListedMarket]
    posted: dict[str, int]
    batched: int


class Switches:
    """Of one exchange at `base`."""

    def __init__(self, base: str) -> None:
        self.base = base

    async def throw(self, name: str, **fields: object) -> dict[str, Any]:
        """Raises SwitchFault."""
        return msgspec.json.decode(await self._ask(f"/_control/{name}", fields), type=dict[str, Any])

    async def books(self) -> ExchangeBooks:
        return msgspec.json.decode(await self._ask("/_control/books"), type=ExchangeBooks)

    async def clock(self) -> int:
        """The exchange's time, in milliseconds."""
        return int(msgspec.json.decode(await self._ask("/_control/clock"), type=dict[str, float])["now_ms"])

    async def relayer_key(self, address: str) -> str:
        return str((await self.throw("relayer-key", address=address))["key"])

    async def begin(self, deed: Deed) -> None:
        """Switch a fault on; a kill is not the exchange's."""
        for name, fields in _beginnings(deed):
            await self.throw(name, **fields)

    async def end(self, deed: Deed) -> None:
        """What does not end by itself."""
        for name, fields in ENDINGS.get(deed.kind, ()):
            await self.throw(name, **fields)

    async def calm(self) -> None:
        """No fault any more: what ends by itself is told to end now."""
        await self.throw("clear-faults")
        for endings in ENDINGS.values():
            for name, fields in endings:
                await self.throw(name, **fields)
        await self.throw("rules", ghost_rate=0.0)
        await self.throw("relayer", failing=0, invalid=0, down=False)
        await self.throw("restart", down_ms=0, post_only_ms=0)

    async def _ask(self, path: str, fields: Mapping[str, object] | None = None) -> bytes:
        return await asyncio.to_thread(self._call, path, fields)

    def _call(self, path: str, fields: Mapping[str, object] | None) -> bytes:
        body = None if fields is None else msgspec.json.encode(fields)
        request = urllib.request.Request(f"{self.base}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=CALL_S_MAX) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise SwitchFault(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise SwitchFault(f"the exchange does not answer {path}: {error}") from error


Throw = tuple[str, dict[str, object]]
ENDINGS: dict[Kind, tuple[Throw, ...]] = {
    Kind.MARKET_FROZEN: (("freeze", {"channel": "market", "frozen": False}),),
    Kind.USER_FROZEN: (("freeze", {"channel": "user", "frozen": False}),),
    Kind.LATE_FILLS: (("rules", {"mine_ms": MINE_MS}),),
    Kind.RELAYER_DOWN: (("relayer", {"down": False}),),
}


BEGINNINGS: dict[Kind, tuple[Throw, ...]] = {
    Kind.MARKET_FROZEN: (("freeze", {"channel": "market"}),),
    Kind.USER_FROZEN: (("freeze", {"channel": "user"}),),
    Kind.MARKET_CUT: (("disconnect", {"channel": "market"}),),
    Kind.USER_CUT: (("disconnect", {"channel": "user"}),),
    Kind.LATE_FILLS: (("rules", {"mine_ms": MINE_LATE_MS}),),
    Kind.RELAYER_DOWN: (("relayer", {"down": True}),),
    Kind.KILL: (),
}
REQUESTS: dict[Kind, dict[str, object]] = {
    Kind.ANSWER_LOST: {"method": "POST", "path": "/order", "cut": True, "after": True},
    Kind.ORDER_CUT: {"method": "POST", "path": "/order", "cut": True},
    Kind.ORDER_FAILED: {"method": "POST", "path": "/order", "status": 500, "text": "internal error", "after": True},
    Kind.ORDER_LATE: {"method": "POST", "path": "/order", "delay_ms": 1_500},
    Kind.TOO_MANY: {"method": "POST", "path": "/order", "status": 429, "text": "Too Many Requests"},
    Kind.LOOK_UPS_FAIL: {"method": "GET", "path": "/data/order/", "status": 500},
    Kind.READS_FAIL: {"method": "GET", "path": "/data/trades", "status": 500},
    Kind.CANCELS_FAIL: {"method": "DELETE", "path": "/order", "cut": True, "after": True},
    Kind.CATALOG_FAILS: {"host": "gamma", "status": 500},
}


def _beginnings(deed: Deed) -> tuple[Throw, ...]:
    if deed.kind is Kind.RESTART:
        post_only_ms = round(deed.lasts_s * 1000)
        return (("restart", {"down_ms": post_only_ms // 3, "post_only_ms": post_only_ms}),)
    if deed.kind is Kind.RELAYER_FAILS:
        return (("relayer", {"failing": deed.times}),)
    if deed.kind in REQUESTS:
        return (("fault", REQUESTS[deed.kind] | {"times": deed.times}),)
    return BEGINNINGS[deed.kind]
