"""The data API, version 2 (polymarket.md 2.3): a wallet's positions and trades, and how markets were resolved.

Every reply is `{data, pagination}` in snake_case; a position tells what is held and what it was bought for.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from polybot.domain.ids import TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Price, Shares
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import STREET, Address, MakerFill, Trade, TradeStatus
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.edge import Refusal
from polybot.exchange.exchange import Exchange
from polybot.exchange.gamma_records import event_number
from polybot.exchange.gamma_texts import moment, number
from polybot.exchange.query import Query, many, one, query_of, whole

PAGE_MAX = 1_000
INVALID = 400
TIME_MAX = 10**11
"""Seconds; the year 5138."""
ON_CHAIN = (TradeStatus.MINED, TradeStatus.CONFIRMED)
STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
ENCODER = msgspec.json.Encoder(decimal_format="number")


class Position(msgspec.Struct, frozen=True):
    """What a wallet holds of one token, and its history there: all millionths."""

    board: MarketBoard
    outcome: Outcome
    held: Shares
    bought: int = 0
    bought_for: int = 0
    sold: int = 0
    sold_for: int = 0
    fees: int = 0
    first_at: int = 0
    last_at: int = 0

    @property
    def token(self) -> TokenId:
        return self.board.listing.tokens[self.outcome]

    @property
    def average(self) -> int:
        """To the nearest millionth: what was paid is rounded down, the price it was bought at is not."""
        return (2 * self.bought_for * UNIT + self.bought) // (2 * self.bought) if self.bought else 0

    @property
    def price(self) -> int:
        """What a share is worth: its payout, or the middle of its book."""
        if self.board.payout_up is not None:
            return self.board.payouts()[self.outcome][1]
        bid, ask = self.board.pool.top
        up = ((bid or 0) + (ask or UNIT)) // 2
        return up if self.outcome is Outcome.UP else UNIT - up


class DataApi:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def add_to(self, app: web.Application) -> None:
        app.add_routes(
            [
                web.get("/v2/positions", self._positions),
                web.get("/v2/trades", self._trades),
                web.get("/v2/resolutions", self._resolutions),
                web.get("/v2/value", self._value),
                web.get("/v2/status", self._status),
            ]
        )

    async def _positions(self, request: web.Request) -> web.Response:
        query = query_of(request)
        wallet, status = _wallet(query), one(query, "status", "OPEN")
        if status not in STATUSES:
            raise Refusal(400, f"status must be one of {', '.join(STATUSES)}")
        if not wallet:
            raise Refusal(400, "user is required")
        found = positions_of(self._exchange.engine, wallet)
        conditions = _conditions(query)
        wanted = [
            _position_row(wallet, position, found)
            for position in found
            if _has_status(position, status, found)
            and (not conditions or position.board.listing.market.condition_id in conditions)
        ]
        return _page(wanted, query)

    async def _trades(self, request: web.Request) -> web.Response:
        """`taker_only` is true unless it is said otherwise, and a maker's fills are then left out."""
        query = query_of(request)
        taker_only = one(query, "taker_only", "true") != "false"
        rows = trade_rows(self._exchange.engine, _wallet(query), _conditions(query), taker_only)
        since, until = whole(query, "start", 0, INVALID), whole(query, "end", TIME_MAX, INVALID)
        return _page([row for row in rows if since <= row["timestamp"] <= until], query)

    async def _resolutions(self, request: web.Request) -> web.Response:
        query = query_of(request)
        conditions = _conditions(query)
        boards = [self._exchange.engine.board_of_condition(condition) for condition in conditions]  # type: ignore[arg-type]
        return _page([_resolution_row(board) for board in boards if board is not None], query)

    async def _value(self, request: web.Request) -> web.Response:
        wallet = _wallet(query_of(request))
        value = sum(p.held * p.price // UNIT for p in positions_of(self._exchange.engine, wallet))
        return _answer({"data": {"proxy_wallet": wallet, "value": number(value)}})

    async def _status(self, _: web.Request) -> web.Response:
        return _answer({"data": {"indexed_at": self._exchange.now() // 1000}})


def positions_of(engine: Engine, wallet: Address) -> list[Position]:
    """Every token the wallet holds or has traded, in markets the exchange still knows."""
    account = engine.bank.accounts.get(wallet)
    found: dict[TokenId, Position] = {}
    for board in engine.boards():
        for outcome, token in zip(Outcome, board.listing.tokens, strict=True):
            held = Shares(0) if account is None else account.shares_of(token)
            if held:
                found[token] = Position(board, outcome, held)
    for trade in engine.trades():
        if trade.status in ON_CHAIN:
            _count(engine, trade, wallet, found)
    return list(found.values())


def _count(engine: Engine, trade: Trade, wallet: Address, found: dict[TokenId, Position]) -> None:
    for leg in trade.legs:
        if leg.account != wallet:
            continue
        board = engine.board(trade.market)
        outcome = Outcome(board.listing.tokens.index(leg.token))
        known = found.get(leg.token) or Position(board, outcome, Shares(0))
        buys = leg.shares > 0
        found[leg.token] = msgspec.structs.replace(
            known,
            bought=known.bought + (leg.shares if buys else 0),
            bought_for=known.bought_for + (-leg.cash if buys else 0),
            sold=known.sold + (0 if buys else -leg.shares),
            sold_for=known.sold_for + (0 if buys else leg.cash),
            fees=known.fees + leg.fee,
            first_at=known.first_at or trade.matched_at,
            last_at=trade.updated_at,
        )


def _has_status(position: Position, status: str, among: Iterable[Position]) -> bool:
    is_resolved = position.board.payout_up is not None
    match status:
        case "CLOSED":
            return not position.held
        case "OPEN":
            return bool(position.held) and not is_resolved
        case "MERGEABLE":
            return bool(position.held) and not is_resolved and _other(position, among) is not None
        case "REDEEMABLE_LOST":
            return bool(position.held) and is_resolved and position.price == 0
        case _:
            return bool(position.held) and is_resolved and position.price > 0


def _other(position: Position, among: Iterable[Position]) -> Position | None:
    """The same market's other outcome, if it is held."""
    return next((p for p in among if p.board is position.board and p.outcome is not position.outcome and p.held), None)


def _position_row(wallet: Address, position: Position, among: Sequence[Position]) -> dict[str, Any]:
    listing, held, average = position.board.listing, position.held, position.average
    market, other = listing.market, listing.tokens[position.outcome.other]
    is_resolved = position.board.payout_up is not None
    entry, value = average * held // UNIT, position.price * held // UNIT
    realized = position.sold_for - average * position.sold // UNIT
    status = "CLOSED" if not held else "REDEEMABLE" if is_resolved else "OPEN"
    return {
        "proxy_wallet": wallet,
        "token_id": position.token,
        "condition_id": market.condition_id,
        "current_size": number(held),
        "avg_price": number(average),
        "entry_cost_usdc": number(entry),
        "entry_fees_usdc": number(position.fees),
        "total_cost_usdc": number(position.bought_for),
        "current_price": number(position.price),
        "current_value": number(value),
        "total_size": number(position.bought),
        "realized_pnl": number(realized),
        "unrealized_pnl": number(value - entry),
        "total_pnl": number(value - entry + realized),
        "percent_pnl": _percent(value - entry, entry),
        "percent_realized_pnl": _percent(realized, position.bought_for),
        "status": status,
        "redeemable": is_resolved and held > 0,
        "mergeable": not is_resolved and _other(position, among) is not None,
        "negative_risk": listing.neg_risk,
        "archived": False,
        "verified": True,
        "title": listing.question,
        "slug": market.id,
        "event_slug": market.id,
        "event_id": str(event_number(listing)),
        "outcome": listing.outcomes[position.outcome],
        "outcome_index": int(position.outcome),
        "opposite_outcome": listing.outcomes[position.outcome.other],
        "opposite_token_id": other,
        "end_date": f"{moment(market.window_end):%Y-%m-%d}",
        "first_entry_at": position.first_at // 1000 or None,
        "last_event_at": position.last_at // 1000 or None,
    }


def trade_rows(engine: Engine, wallet: Address, conditions: Sequence[str], taker_only: bool) -> list[dict[str, Any]]:
    """What was mined, newest first: one row for its taker and, if asked for, one for each maker. `wallet` "" is all."""
    rows = []
    for trade in engine.trades():
        if trade.status not in ON_CHAIN or (conditions and trade.condition_id not in conditions):
            continue
        sides = [_taker_side(trade), *(() if taker_only else map(_maker_side, trade.makers))]
        mine = [side for side in sides if side.account != STREET and wallet in ("", side.account)]
        rows += [_trade_row(engine.board(trade.market), trade, side) for side in mine]
    return rows[::-1]


class TradeSide(msgspec.Struct, frozen=True):
    """One account's part in a trade, in its own token."""

    account: Address
    token: TokenId
    outcome: Outcome
    side: Side
    price: Price
    shares: Shares


def _taker_side(trade: Trade) -> TradeSide:
    return TradeSide(trade.taker_account, trade.token, trade.outcome, trade.side, trade.price, trade.shares)


def _maker_side(maker: MakerFill) -> TradeSide:
    return TradeSide(maker.account, maker.token, maker.outcome, maker.side, maker.price, maker.shares)


def _trade_row(board: MarketBoard, trade: Trade, mine: TradeSide) -> dict[str, Any]:
    listing = board.listing
    return {
        "proxy_wallet": mine.account,
        "side": mine.side.value,
        "token_id": mine.token,
        "condition_id": trade.condition_id,
        "size": number(mine.shares),
        "price": number(mine.price),
        "timestamp": trade.updated_at // 1000,
        "transaction_hash": trade.transaction_hash,
        "title": listing.question,
        "slug": listing.market.id,
        "event_slug": listing.market.id,
        "outcome": listing.outcomes[mine.outcome],
        "outcome_index": int(mine.outcome),
    }


def _resolution_row(board: MarketBoard) -> dict[str, Any]:
    """v2 of the protocol reports so, too; only what was observed is served (polymarket.md 1.4)."""
    payouts = [number(payout) for _, payout in board.payouts()]
    return {
        "condition_id": board.listing.market.condition_id,
        "status": "active" if board.payout_up is None else "resolved",
        "reporter": "CHAINLINK",
        "source": "reported",
        "market_type": "BINARY",
        "payouts": payouts or None,
    }


def _percent(part: int, whole: int) -> Decimal:
    return Decimal(0) if not whole else (Decimal(100) * part / whole).quantize(Decimal("0.0001"))


def _wallet(query: Query) -> Address:
    return Address(one(query, "user").lower())


def _conditions(query: Query) -> list[str]:
    return many(query, "condition_id", "condition")


def _page(rows: list[dict[str, Any]], query: Query) -> web.Response:
    """The cursor is where the next page begins."""
    begin, limit = whole(query, "cursor", 0, INVALID), whole(query, "limit", 100, INVALID)
    page = rows[begin : begin + min(limit, PAGE_MAX)]
    more = begin + len(page) < len(rows)
    pagination = {"has_more": more, "next_cursor": str(begin + len(page)) if more else None}
    return _answer({"data": page, "pagination": pagination})


def _answer(value: object) -> web.Response:
    return web.Response(body=ENCODER.encode(value), content_type="application/json")
