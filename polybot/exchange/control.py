"""The switches, over HTTP: what a rehearsal does to the exchange, and what it asks of its books (docs/exchange.md).

POST a JSON object to /_control/<switch>; GET /_control/state and /_control/books read. Nothing here is the venue's, and
nothing of it is guarded: the exchange is for localhost.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from polybot.domain.errors import BadInput, LedgerError
from polybot.domain.ids import MarketId
from polybot.domain.units import Money, Price, parse_units
from polybot.exchange import wire_markets
from polybot.exchange.core.faults import Fault, Geoblock
from polybot.exchange.core.limits import Tier
from polybot.exchange.core.model import Address
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.edge import EXCHANGE, Refusal, answer, read_body
from polybot.exchange.exchange import Exchange
from polybot.exchange.sockets import Channel

CHANNELS: web.AppKey[Sequence[Channel]] = web.AppKey("channels", Sequence)


class Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A switch says what it means: a field it does not know is an error."""


class RulesChange(Strict):
    mine_ms: int | None = None
    confirm_ms: int | None = None
    retry_ms: int | None = None
    ghost_rate: float | None = None
    retry_rate: float | None = None
    ghosts_favour_losers: bool | None = None
    market_buy_spends: bool | None = None


class Restart(Strict):
    down_ms: int = 5_000
    post_only_ms: int = 120_000


class Trading(Strict):
    mode: Literal["open", "cancel-only", "disabled"]


class Freeze(Strict):
    channel: Literal["market", "user", "rtds", "polybolt"]
    frozen: bool = True


class Disconnect(Strict):
    channel: Literal["market", "user"]


class Ban(Strict):
    address: str
    mode: Literal["banned", "closed-only", "none"]


class Deposit(Strict):
    address: str
    amount: str
    """pUSD as decimal text; negative is withdrawn."""


class Approve(Strict):
    address: str
    approved: bool = True


class RegisterWallet(Strict):
    wallet: str
    key: str


class Limits(Strict):
    enforced: bool = True
    tier: Tier | None = None
    endpoints: dict[str, int] = {}


class Toggles(Strict):
    deposit_wallets_only: bool | None = None
    answers_refusals_with_200: bool | None = None
    order_version: int | None = None


class Resolve(Strict):
    market: MarketId
    payout_up: str


def add_control_routes(app: web.Application, channels: Sequence[Channel]) -> None:
    app[CHANNELS] = channels
    for name, handler in SWITCHES.items():
        app.router.add_post(f"/_control/{name}", _switch(handler))
    app.router.add_get("/_control/state", _state)
    app.router.add_get("/_control/books", _books)


def _switch(handler: Any) -> Any:
    shape, act = handler

    async def throw(request: web.Request) -> web.Response:
        exchange = request.app[EXCHANGE]
        try:
            body = await read_body(request, shape, f"not a {shape.__name__}: see docs/exchange.md")
            said = act(request, exchange, body)
        except Refusal as refusal:
            return refusal.response()
        except (BadInput, LedgerError, KeyError) as error:
            return answer({"error": str(error)}, status=400)
        exchange.publish()
        return answer({"done": True, **(said or {})})

    return throw


# -- switches ---------------------------------------------------------------------------------------------------------


def _rules(_: web.Request, exchange: Exchange, body: RulesChange) -> None:
    changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not None}
    exchange.engine.rules = msgspec.structs.replace(exchange.engine.rules, **changes)


def _fault(_: web.Request, exchange: Exchange, body: Fault) -> None:
    exchange.faults.pending.append(body)


def _clear(_: web.Request, exchange: Exchange, body: Strict) -> None:
    exchange.faults.pending.clear()


def _restart(_: web.Request, exchange: Exchange, body: Restart) -> None:
    exchange.faults.restart(exchange.wall(), body.down_ms, body.post_only_ms)


def _trading(_: web.Request, exchange: Exchange, body: Trading) -> None:
    exchange.faults.trading = body.mode


def _freeze(_: web.Request, exchange: Exchange, body: Freeze) -> None:
    (exchange.faults.frozen.add if body.frozen else exchange.faults.frozen.discard)(body.channel)


def _disconnect(request: web.Request, _: Exchange, body: Disconnect) -> dict[str, int]:
    return {"dropped": sum(channel.drop_all() for channel in request.app[CHANNELS] if channel.name == body.channel)}


def _geoblock(_: web.Request, exchange: Exchange, body: Geoblock) -> None:
    exchange.faults.geoblock = body


def _ban(_: web.Request, exchange: Exchange, body: Ban) -> None:
    address = Address(body.address.lower())
    for members, mode in ((exchange.faults.banned, "banned"), (exchange.faults.closed_only, "closed-only")):
        (members.add if body.mode == mode else members.discard)(address)


def _deposit(_: web.Request, exchange: Exchange, body: Deposit) -> None:
    exchange.engine.deposit(Address(body.address.lower()), Money(parse_units(body.amount)))


def _approve(_: web.Request, exchange: Exchange, body: Approve) -> None:
    exchange.engine.account(Address(body.address.lower())).approved = body.approved


def _wallet(_: web.Request, exchange: Exchange, body: RegisterWallet) -> None:
    exchange.wallets.register(Address(body.wallet.lower()), Address(body.key.lower()))


def _limits(_: web.Request, exchange: Exchange, body: Limits) -> None:
    exchange.limits.enforced = body.enforced
    exchange.limits.tier = body.tier or exchange.limits.tier
    exchange.limits.endpoints.update(body.endpoints)


def _toggles(_: web.Request, exchange: Exchange, body: Toggles) -> None:
    for name, value in msgspec.structs.asdict(body).items():
        if value is not None:
            setattr(exchange.faults, name, value)


def _resolve(_: web.Request, exchange: Exchange, body: Resolve) -> None:
    exchange.engine.resolve(body.market, Price(parse_units(body.payout_up)), exchange.now())


SWITCHES: dict[str, tuple[type[msgspec.Struct], Any]] = {
    "rules": (RulesChange, _rules),
    "fault": (Fault, _fault),
    "clear-faults": (Strict, _clear),
    "restart": (Restart, _restart),
    "trading": (Trading, _trading),
    "freeze": (Freeze, _freeze),
    "disconnect": (Disconnect, _disconnect),
    "geoblock": (Geoblock, _geoblock),
    "ban": (Ban, _ban),
    "deposit": (Deposit, _deposit),
    "approve": (Approve, _approve),
    "wallet": (RegisterWallet, _wallet),
    "limits": (Limits, _limits),
    "toggles": (Toggles, _toggles),
    "resolve": (Resolve, _resolve),
}
"""Each switch: the shape of its body, and what it does."""


# -- reading ----------------------------------------------------------------------------------------------------------


async def _state(request: web.Request) -> web.Response:
    exchange = request.app[EXCHANGE]
    faults, engine = exchange.faults, exchange.engine
    return answer(
        {
            "now": exchange.now(),
            "wall": exchange.wall(),
            "rules": engine.rules,
            "trading": faults.trading,
            "down_until": faults.down_until,
            "post_only_until": faults.post_only_until,
            "frozen": sorted(faults.frozen),
            "banned": sorted(faults.banned),
            "closed_only": sorted(faults.closed_only),
            "geoblock": faults.geoblock,
            "faults": faults.pending,
            "markets": [wire_markets.full_market(board) for board in engine.boards()],
            "connections": {channel.name: len(channel.connections) for channel in request.app[CHANNELS]},
        }
    )


async def _books(request: web.Request) -> web.Response:
    """The exchange's own books: every account, every order and trade of a market not yet retired, how often each order
    was handed in, and that no money is missing."""
    exchange = request.app[EXCHANGE]
    engine = exchange.engine
    bank = engine.bank
    accounts = {
        address: {
            "cash": int(account.cash),
            "reserved": int(account.reserved),
            "pending": int(account.pending_cash),
            "shares": {token: int(shares) for token, shares in account.shares.items() if shares},
        }
        for address, account in bank.accounts.items()
    }
    totals = {"deposited": int(bank.deposited), "held": int(bank.held()), "fees": int(bank.fees)}
    return answer(
        {
            **totals,
            "locked": dict(bank.locked),
            "accounts": accounts,
            "open_orders": engine.open_orders(),
            "orders": list(engine.orders()),
            "trades": list(engine.trades()),
            "markets": [_listed(board) for board in engine.boards()],
            "posted": exchange.posted,
            "batched": exchange.batched,
            "now": exchange.now(),
        }
    )


def _listed(board: MarketBoard) -> dict[str, object]:
    market = board.listing.market
    return {
        "slug": market.id,
        "condition": market.condition_id,
        "tokens": board.listing.tokens,
        "window_start": market.window_start,
        "window_end": market.window_end,
        "payout_up": board.payout_up,
    }
