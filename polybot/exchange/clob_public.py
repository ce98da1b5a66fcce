"""The CLOB's public GETs, and the POSTs that ask for many at once (polymarket.md 2.1)."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT
from polybot.exchange import wire, wire_markets
from polybot.exchange.core.entrance import NO_ORDERBOOK, outcome_of
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.edge import EXCHANGE, Refusal, answer, read_body

BATCH_MAX = 500
PAGE = 1_000
END_CURSOR = "LTE="


class Asked(msgspec.Struct):
    token_id: TokenId
    side: Side = Side.BUY


def add_public_routes(app: web.Application) -> None:
    get, post = app.router.add_get, app.router.add_post
    get("/", _ok)
    get("/ok", _ok)
    get("/time", _time)
    get("/version", _version)
    get("/book", _one(_book))
    get("/price", _price)
    get("/midpoint", _one(lambda request, board, outcome: {"mid": _middle(board, outcome)[0]}))
    get("/spread", _one(lambda request, board, outcome: {"spread": _middle(board, outcome)[1]}))
    get("/last-trade-price", _one(_last_trade))
    get("/tick-size", _one(lambda request, board, outcome: {"minimum_tick_size": board.tick / UNIT}))
    get("/neg-risk", _one(lambda request, board, outcome: {"neg_risk": board.listing.neg_risk}))
    get("/fee-rate", _one(lambda request, board, outcome: {"base_fee": 1000}))
    get("/markets/{condition_id}", _market)
    get("/clob-markets/{condition_id}", _compact_market)
    get("/markets-by-token/{token_id}", _market_by_token)
    get("/markets", _markets)
    get("/sampling-markets", _markets)
    post("/books", _books)
    post("/prices", _prices)
    post("/midpoints", _middles(0))
    post("/spreads", _middles(1))
    post("/last-trades-prices", _last_trades)


async def _ok(_: web.Request) -> web.Response:
    return answer("OK")


async def _time(request: web.Request) -> web.Response:
    return answer(request.app[EXCHANGE].now() // 1000)


async def _version(request: web.Request) -> web.Response:
    return answer({"version": request.app[EXCHANGE].faults.order_version})


# -- one token --------------------------------------------------------------------------------------------------------

OneToken = Callable[[web.Request, MarketBoard, Outcome], wire.Json]


def _one(shape: OneToken) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        board, outcome = _of_token(request, TokenId(request.query.get("token_id", "")))
        return answer(shape(request, board, outcome))

    return handle


def _of_token(request: web.Request, token: TokenId) -> tuple[MarketBoard, Outcome]:
    """A resolved market has no book any more."""
    board = request.app[EXCHANGE].engine.board_of_token(token)
    if board is None or board.payout_up is not None:
        raise Refusal.of(NO_ORDERBOOK)
    return board, outcome_of(board.listing, token)


def _book(request: web.Request, board: MarketBoard, outcome: Outcome) -> wire.Json:
    return wire.book(request.app[EXCHANGE].engine, board, outcome)


async def _price(request: web.Request) -> web.Response:
    board, outcome = _of_token(request, TokenId(request.query.get("token_id", "")))
    side = request.query.get("side", "").upper()
    if side not in ("BUY", "SELL"):
        raise Refusal(400, "Invalid side")
    return answer({"price": wire_markets.price_of(board, outcome, Side(side)) or "0"})


def _middle(board: MarketBoard, outcome: Outcome) -> tuple[str, str]:
    middle = wire_markets.middle_of(board, outcome)
    if middle is None:
        raise Refusal.of(NO_ORDERBOOK)
    return middle


def _last_trade(_: web.Request, board: MarketBoard, outcome: Outcome) -> wire.Json:
    last = board.last_trade
    return {"price": wire.last_price(board, outcome), "side": "" if last is None else last.side.value}


# -- one market -------------------------------------------------------------------------------------------------------


def _board(request: web.Request) -> MarketBoard:
    board = request.app[EXCHANGE].engine.board_of_condition(ConditionId(request.match_info["condition_id"]))
    if board is None:
        raise Refusal(404, "market not found")
    return board


async def _market(request: web.Request) -> web.Response:
    return answer(wire_markets.full_market(_board(request)))


async def _compact_market(request: web.Request) -> web.Response:
    return answer(wire_markets.compact_market(_board(request)))


async def _market_by_token(request: web.Request) -> web.Response:
    board = request.app[EXCHANGE].engine.board_of_token(TokenId(request.match_info["token_id"]))
    if board is None:
        raise Refusal(404, "market not found")
    primary, secondary = board.listing.tokens
    ids = {"primary_token_id": primary, "secondary_token_id": secondary}
    return answer({"condition_id": board.listing.market.condition_id, **ids})


async def _markets(request: web.Request) -> web.Response:
    """Every market in one page: there are never as many as the venue's page holds."""
    found = [wire_markets.full_market(board) for board in request.app[EXCHANGE].engine.boards()]
    return answer({"limit": PAGE, "count": len(found), "next_cursor": END_CURSOR, "data": found})


# -- many tokens ------------------------------------------------------------------------------------------------------


async def _asked(request: web.Request) -> list[tuple[TokenId, Side, MarketBoard, Outcome]]:
    """What was asked for and exists; unknown tokens are left out, as the venue does."""
    asked: list[Asked] = await read_body(request, list[Asked], "Invalid payload")
    if len(asked) > BATCH_MAX:
        raise Refusal(400, "Payload exceeds the limit")
    found = []
    for one in asked:
        board = request.app[EXCHANGE].engine.board_of_token(one.token_id)
        if board is not None and board.payout_up is None:
            found.append((one.token_id, one.side, board, outcome_of(board.listing, one.token_id)))
    return found


async def _books(request: web.Request) -> web.Response:
    engine = request.app[EXCHANGE].engine
    return answer([wire.book(engine, board, outcome) for _, _, board, outcome in await _asked(request)])


async def _prices(request: web.Request) -> web.Response:
    """Decimal text: the venue's document shows numbers, its own client accepts nothing but text."""
    prices: dict[str, dict[str, str]] = {}
    for token, side, board, outcome in await _asked(request):
        price = wire_markets.price_of(board, outcome, side)
        if price is not None:
            prices.setdefault(token, {})[side.value] = price
    return answer(prices)


def _middles(part: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        found = [(token, wire_markets.middle_of(board, outcome)) for token, _, board, outcome in await _asked(request)]
        return answer({token: middle[part] for token, middle in found if middle is not None})

    return handle


async def _last_trades(request: web.Request) -> web.Response:
    return answer(
        [
            {"token_id": token, "price": wire.last_price(board, outcome), "side": board.last_trade.side.value}
            for token, _, board, outcome in await _asked(request)
            if board.last_trade is not None
        ]
    )
