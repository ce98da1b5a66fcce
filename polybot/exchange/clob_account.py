"""The CLOB's authenticated reading, keys and heartbeats (polymarket.md 6.3, 6.4, 6.9)."""

import base64
import binascii

import msgspec
from aiohttp import web

from polybot.domain.ids import TokenId
from polybot.exchange import wire
from polybot.exchange.core.accounts import Account
from polybot.exchange.core.heartbeats import Expected
from polybot.exchange.core.model import Address, Order, OrderHash, OwnerKey, Refused, Trade, TradeId
from polybot.exchange.edge import EXCHANGE, Refusal, answer, read_body, venue_path
from polybot.exchange.keys import Credentials
from polybot.exchange.signatures import SPENDERS
from polybot.exchange.wallets import deposit_wallets_of, wallet_of

PAGE = 500
END_CURSOR = "LTE="
UNLIMITED = str(2**256 - 1)
DEPOSIT_WALLET = 3


class HeartbeatBody(msgspec.Struct):
    heartbeat_id: str = ""


def add_account_routes(app: web.Application) -> None:
    get, post = app.router.add_get, app.router.add_post
    post("/auth/api-key", _create_key)
    get("/auth/derive-api-key", _derive_key)
    get("/auth/api-keys", _list_keys)
    app.router.add_delete("/auth/api-key", _delete_key)
    get("/auth/ban-status/closed-only", _closed_only)
    get("/data/orders", _orders)
    get("/data/order/{order_id}", _order)
    get("/data/trades", _trades)
    get("/balance-allowance", _balance)
    get("/balance-allowance/update", _update_balance)
    post("/v1/heartbeats", _heartbeat)
    get("/v1/user/rate-limit-tier", _tier)
    get("/order-scoring", _scoring)
    get("/notifications", _notifications)


async def require_key(request: web.Request) -> Credentials:
    """Whose request this is, by its HMAC over the exact body; a Refusal with 401 where it is nobody's."""
    exchange = request.app[EXCHANGE]
    path = venue_path(request, "clob")
    checked = exchange.keys.check_l2(request.headers, request.method, path, await request.read(), exchange.wall())
    if isinstance(checked, Refused):
        raise Refusal.of(checked)
    return checked


# -- keys -------------------------------------------------------------------------------------------------------------


async def _create_key(request: web.Request) -> web.Response:
    exchange = request.app[EXCHANGE]
    return _credentials(exchange.keys.create(request.headers, exchange.wall()))


async def _derive_key(request: web.Request) -> web.Response:
    exchange = request.app[EXCHANGE]
    return _credentials(exchange.keys.derive(request.headers, exchange.wall()))


def _credentials(made: Credentials | Refused) -> web.Response:
    if isinstance(made, Refused):
        raise Refusal.of(made)
    return answer({"apiKey": made.api_key, "secret": made.secret, "passphrase": made.passphrase})


async def _list_keys(request: web.Request) -> web.Response:
    key = await require_key(request)
    return answer({"apiKeys": request.app[EXCHANGE].keys.of_address(key.address)})


async def _delete_key(request: web.Request) -> web.Response:
    key = await require_key(request)
    request.app[EXCHANGE].keys.delete(key.api_key)
    return answer("OK")


async def _closed_only(request: web.Request) -> web.Response:
    key = await require_key(request)
    return answer({"closed_only": key.address in request.app[EXCHANGE].faults.closed_only})


# -- orders and trades ------------------------------------------------------------------------------------------------


async def _orders(request: web.Request) -> web.Response:
    """The open orders of the key's address, oldest first."""
    owners, query = await _owners(request), request.query
    found = [
        order
        for order in request.app[EXCHANGE].engine.open_orders()
        if order.owner in owners
        and order.id == query.get("id", order.id)
        and order.condition_id == query.get("market", order.condition_id)
        and order.token == query.get("asset_id", order.token)
    ]
    return _page(request, [wire.order_record(order, _outcomes(request, order)) for order in found])


async def _order(request: web.Request) -> web.Response:
    """One order, over or not; 404 for one the venue never took."""
    owners = await _owners(request)
    order = request.app[EXCHANGE].engine.order(OrderHash(request.match_info["order_id"]))
    if order is None or order.owner not in owners:
        raise Refusal(404, "order not found")
    return answer(wire.order_record(order, _outcomes(request, order)))


async def _trades(request: web.Request) -> web.Response:
    """The address's trades, newest first, as taker or as maker. `after` and `before` are seconds, both exclusive."""
    owners, query = await _owners(request), request.query
    engine, found = request.app[EXCHANGE].engine, []
    only = TradeId(query["id"]) if "id" in query else None
    trades = [engine.trade(only)] if only is not None else list(engine.trades())
    for trade in reversed(trades):
        if trade is not None and _fits(trade, dict(query)):
            found += [
                wire.trade_record(trade, owner, _outcomes(request, trade), is_taker=is_taker)
                for owner, is_taker in parts_of(trade, owners)
            ]
    return _page(request, found)


def parts_of(trade: Trade, owners: set[OwnerKey]) -> list[tuple[OwnerKey, bool]]:
    """Who of `owners` has part in a trade: (key, whether as its taker)."""
    parts = [(trade.taker_owner, True)] if trade.taker_owner in owners else []
    makers = dict.fromkeys(fill.owner for fill in trade.makers if fill.owner in owners)
    return [*parts, *((owner, False) for owner in makers)]


def _fits(trade: Trade, query: dict[str, str]) -> bool:
    at = trade.matched_at // 1000
    tokens = {trade.token, *(fill.token for fill in trade.makers)}
    makers = {trade.taker_account, *(fill.account for fill in trade.makers)}
    return (
        query.get("market", trade.condition_id) == trade.condition_id
        and query.get("asset_id", trade.token) in tokens
        and query.get("maker_address", trade.taker_account).lower() in makers
        and at > _seconds(query.get("after"), -1)
        and at < _seconds(query.get("before"), at + 1)
    )


def _seconds(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() else default


async def _owners(request: web.Request) -> set[OwnerKey]:
    """Every key of the address that asks: what one of them did, all of them see."""
    key = await require_key(request)
    return {key.api_key, *request.app[EXCHANGE].keys.of_address(key.address)}


def _outcomes(request: web.Request, subject: Order | Trade) -> tuple[str, str]:
    return request.app[EXCHANGE].engine.board(subject.market).listing.outcomes


def _page(request: web.Request, found: list[wire.Json]) -> web.Response:
    """Part of a list, and where the next part begins: an offset in base64, as the venue's own cursors are."""
    start = _offset(request.query.get("next_cursor", ""))
    end = start + PAGE
    following = base64.b64encode(str(end).encode()).decode() if end < len(found) else END_CURSOR
    part = found[start:end]
    return answer({"data": part, "next_cursor": following, "limit": PAGE, "count": len(part)})


def _offset(cursor: str) -> int:
    try:
        text = base64.b64decode(cursor, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid next_cursor") from error
    return int(text) if text.isdecimal() else 0


# -- balances, heartbeats, the rest -----------------------------------------------------------------------------------


async def _balance(request: web.Request) -> web.Response:
    account = _account(request, await require_key(request))
    token = TokenId(request.query.get("token_id", ""))
    is_cash = request.query.get("asset_type") == "COLLATERAL"
    allowed = UNLIMITED if account.approved else "0"
    balance = account.cash if is_cash else account.shares_of(token)
    return answer({"balance": str(int(balance)), "allowances": dict.fromkeys(SPENDERS, allowed)})


async def _update_balance(request: web.Request) -> web.Response:
    """The venue refreshes its cache of the chain; this exchange is its own chain, and has none."""
    await require_key(request)
    return answer({})


def _account(request: web.Request, key: Credentials) -> Account:
    """The wallet a key means by `signature_type`: of deposit wallets the one that is in use."""
    kind = request.query.get("signature_type", "0")
    if kind not in ("0", "1", "2", "3"):
        raise Refusal(400, "Invalid signature type")
    exchange = request.app[EXCHANGE]
    registered = exchange.wallets.registered_of(key.address)
    candidates = [*registered, *deposit_wallets_of(key.address)] if int(kind) == DEPOSIT_WALLET else []
    used = [wallet for wallet in candidates if wallet in exchange.engine.bank.accounts]
    wallet: Address = used[0] if used else wallet_of(key.address, int(kind))
    return exchange.engine.account(wallet)


async def _heartbeat(request: web.Request) -> web.Response:
    key = await require_key(request)
    exchange = request.app[EXCHANGE]
    body: HeartbeatBody = await read_body(request, HeartbeatBody)
    beat = exchange.heartbeats.beat(key.api_key, body.heartbeat_id, exchange.wall())
    if isinstance(beat, Expected):
        return answer({"error_msg": "Invalid Heartbeat ID", "heartbeat_id": beat.heartbeat_id}, status=400)
    return answer({"heartbeat_id": beat})


async def _tier(request: web.Request) -> web.Response:
    await require_key(request)
    return answer({"tier": request.app[EXCHANGE].limits.tier.name})


async def _scoring(request: web.Request) -> web.Response:
    await require_key(request)
    return answer({"scoring": False})


async def _notifications(request: web.Request) -> web.Response:
    await require_key(request)
    return answer([])
