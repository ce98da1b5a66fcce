"""Placing and cancelling over REST, with everything that may stand in the way (polymarket.md 6.1, 6.3, 6.5 - 6.8)."""

import asyncio

import msgspec
from aiohttp import web

from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.order import TimeInForce
from polybot.exchange import wire
from polybot.exchange.clob_account import require_key
from polybot.exchange.core.entrance import NO_ORDERBOOK, PAYLOAD
from polybot.exchange.core.limits import Allowance
from polybot.exchange.core.model import Accepted, Answer, NewOrder, Order, OrderHash, OwnerKey, Refused
from polybot.exchange.edge import EXCHANGE, Refusal, answer, read_body
from polybot.exchange.exchange import Exchange
from polybot.exchange.keys import Credentials
from polybot.exchange.order_check import check_order
from polybot.exchange.signatures import SignedOrder

BATCH_MAX = 15
CANCELS_MAX = 1_000
POST_ONLY_TEXT = "post-only mode: only post-only orders and cancels are allowed"
RESTARTING = Refused(text="the matching engine is restarting", status=425)
DISABLED = Refused(text="Trading is currently disabled. Check polymarket.com for updates", status=503)
CANCEL_ONLY = Refused(
    text="Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.", status=503
)
REGION = Refused(text="Trading restricted in your region, please refer to available regions", status=403)


class PostBody(msgspec.Struct, kw_only=True, rename="camel"):
    order: SignedOrder
    owner: OwnerKey
    order_type: TimeInForce
    post_only: bool = False
    defer_exec: bool = False


class CancelBody(msgspec.Struct):
    order_id: OrderHash = msgspec.field(name="orderID")


class MarketBody(msgspec.Struct):
    market: ConditionId = ConditionId("")
    asset_id: TokenId = TokenId("")


def add_trading_routes(app: web.Application) -> None:
    app.router.add_post("/order", _post_order)
    app.router.add_post("/orders", _post_orders)
    app.router.add_delete("/order", _cancel_order)
    app.router.add_delete("/orders", _cancel_orders)
    app.router.add_delete("/cancel-all", _cancel_all)
    app.router.add_delete("/cancel-market-orders", _cancel_market)


# -- placing ----------------------------------------------------------------------------------------------------------


async def _post_order(request: web.Request) -> web.Response:
    exchange, key = await _enter(request)
    _require_open(exchange, takes_orders=True)
    body: PostBody = await read_body(request, PostBody)
    if not body.post_only:
        _require_takers(exchange)
    spent = _spend(exchange, key, 1, cancels=False)
    placed = await _place(exchange, key, body)
    if isinstance(placed, Accepted):
        return answer(wire.posted(placed), headers=spent.headers())
    if exchange.faults.answers_refusals_with_200:
        return answer(wire.not_posted(placed.text), headers=spent.headers())
    raise Refusal(placed.status, placed.text, headers=spent.headers())


async def _post_orders(request: web.Request) -> web.Response:
    """Each order by itself, in the order given; one that is refused does not keep the others out."""
    exchange, key = await _enter(request)
    _require_open(exchange, takes_orders=True)
    bodies: list[PostBody] = await read_body(request, list[PostBody])
    if not 1 <= len(bodies) <= BATCH_MAX:
        raise Refusal.of(PAYLOAD)
    spent = _spend(exchange, key, len(bodies), cancels=False)
    is_post_only = exchange.faults.is_post_only(exchange.wall())
    exchange.batched += len(bodies) if len(bodies) > 1 else 0
    entries = [None if is_post_only and not body.post_only else _place(exchange, key, body) for body in bodies]
    placed = [
        wire.not_posted(POST_ONLY_TEXT, success=True) if entry is None else _entry(await entry) for entry in entries
    ]
    return answer(placed, headers=spent.headers())


def _entry(result: Answer) -> wire.Json:
    return wire.posted(result) if isinstance(result, Accepted) else wire.not_posted(result.text)


def _place(exchange: Exchange, key: Credentials, body: PostBody) -> asyncio.Future[Answer]:
    """Check the order's form and signature and give it to the engine; the answer waits for the taker delay."""
    new = _checked(exchange, key, body)
    if isinstance(new, NewOrder):
        return exchange.place(new)
    refused: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    refused.set_result(new)
    return refused


def _checked(exchange: Exchange, key: Credentials, body: PostBody) -> NewOrder | Refused:
    if body.owner != key.api_key:
        return Refused(text="the order owner has to be the owner of the API KEY")
    board = exchange.engine.board_of_token(TokenId(body.order.token_id))
    if board is None:
        return NO_ORDERBOOK
    checked = check_order(body.order, board.listing, key.address, exchange.wallets, exchange.faults)
    if isinstance(checked, Refused):
        return checked
    return msgspec.structs.replace(checked, owner=key.api_key, order_type=body.order_type, post_only=body.post_only)


# -- cancelling -------------------------------------------------------------------------------------------------------


async def _cancel_order(request: web.Request) -> web.Response:
    body: CancelBody = await read_body(request, CancelBody)
    return await _cancel(request, [body.order_id])


async def _cancel_orders(request: web.Request) -> web.Response:
    ids: list[OrderHash] = await read_body(request, list[OrderHash])
    if not 1 <= len(ids) <= CANCELS_MAX:
        raise Refusal.of(PAYLOAD)
    return await _cancel(request, ids)


async def _cancel(request: web.Request, ids: list[OrderHash]) -> web.Response:
    exchange, key = await _enter(request)
    _require_open(exchange, takes_orders=False)
    spent = _spend(exchange, key, len(ids), cancels=True)
    done, refused = exchange.engine.cancel(key.api_key, ids, exchange.now())
    exchange.publish()
    return answer({"canceled": done, "not_canceled": refused}, headers=spent.headers())


async def _cancel_all(request: web.Request) -> web.Response:
    return await _cancel_where(request, MarketBody())


async def _cancel_market(request: web.Request) -> web.Response:
    body: MarketBody = await read_body(request, MarketBody)
    if not body.market and not body.asset_id:
        raise Refusal.of(PAYLOAD)
    return await _cancel_where(request, body)


async def _cancel_where(request: web.Request, which: MarketBody) -> web.Response:
    exchange, key = await _enter(request)
    _require_open(exchange, takes_orders=False)
    _spend(exchange, key, 1, cancels=True)

    def wanted(order: Order) -> bool:
        fits_market = which.market in ("", order.condition_id)
        return order.owner == key.api_key and fits_market and which.asset_id in ("", order.token)

    done = exchange.engine.cancel_where(wanted, exchange.now())
    exchange.publish()
    owed = exchange.limits.owe(key.address, len(done), exchange.wall())
    return answer({"canceled": done, "not_canceled": {}}, headers=owed.headers())


# -- what stands in the way -------------------------------------------------------------------------------------------


async def _enter(request: web.Request) -> tuple[Exchange, Credentials]:
    """From the outside in: the region, then the key."""
    exchange = request.app[EXCHANGE]
    if exchange.faults.geoblock.blocked and request.method == "POST":
        raise Refusal.of(REGION)
    return exchange, await require_key(request)


def _require_open(exchange: Exchange, *, takes_orders: bool) -> None:
    """Cancels work in cancel-only and post-only mode, and for the banned; not during a restart (polymarket.md 6.3)."""
    faults = exchange.faults
    if faults.is_down(exchange.wall()):
        raise Refusal.of(RESTARTING)
    if faults.trading == "disabled":
        raise Refusal.of(DISABLED)
    if takes_orders and faults.trading == "cancel-only":
        raise Refusal.of(CANCEL_ONLY)


def _require_takers(exchange: Exchange) -> None:
    """The two minutes after a restart are for post-only orders."""
    now = exchange.wall()
    if exchange.faults.is_post_only(now):
        wait = -(-(exchange.faults.post_only_until - now) // 1000)
        more = {"code": "post_only_mode", "retry_after_seconds": wait}
        raise Refusal(503, POST_ONLY_TEXT, headers={"Retry-After": str(wait)}, **more)


def _spend(exchange: Exchange, key: Credentials, cost: int, *, cancels: bool) -> Allowance:
    allowance = exchange.limits.spend(key.address, cost, exchange.wall(), cancels=cancels)
    if allowance.retry_after_s:
        raise Refusal(429, "Too Many Requests", headers=allowance.headers())
    return allowance
