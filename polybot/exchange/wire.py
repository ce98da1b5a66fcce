"""The engine's values as the venue writes them: REST answers and socket frames (polymarket.md 2, 3, 6).

Amounts are decimal text, times text in the unit the document gives for each field; nothing is ever a float.
"""

import hashlib
import json
from typing import Any

from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, format_units
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.matching import own_price
from polybot.exchange.core.model import (
    Accepted,
    Listing,
    MakerFill,
    Order,
    OwnerKey,
    Trade,
    TradeStatus,
)
from polybot.exchange.core.news import LevelShown, LevelsShown, MarketSettled, TickMoved, TopMoved, TradeShown
from polybot.exchange.core.state import MarketBoard

Json = dict[str, Any]
BOTH = (Outcome.UP, Outcome.DOWN)


def seconds(at: Millis) -> str:
    return str(at // 1000)


def plain(amount: int) -> str:
    """Millionths as decimal text without padding: "10", "0.5", "219.217767"."""
    return format_units(amount, 0)


def price_text(price: Price) -> str:
    return format_units(price, 2)


# -- books ------------------------------------------------------------------------------------------------------------


def book(engine: Engine, board: MarketBoard, outcome: Outcome) -> Json:
    """A whole book: bids ascending, asks descending, so that the best is last on both sides."""
    bids, asks = engine.book_of(board.market, outcome)
    summary: Json = {
        "market": board.listing.market.condition_id,
        "asset_id": board.listing.tokens[outcome],
        "timestamp": str(board.changed_at),
        "hash": "",
        "bids": [{"price": price_text(price), "size": plain(size)} for price, size in bids],
        "asks": [{"price": price_text(price), "size": plain(size)} for price, size in reversed(asks)],
        "min_order_size": plain(board.listing.market.size_min),
        "tick_size": price_text(board.tick),
        "neg_risk": board.listing.neg_risk,
        "last_trade_price": last_price(board, outcome),
    }
    return {**summary, "hash": book_hash(summary)}


def book_hash(summary: Json) -> str:
    """SHA1 of the compact JSON with an empty hash, keys in the venue's order (polymarket.md 3.2)."""
    return hashlib.sha1(json.dumps(summary, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def book_frame(engine: Engine, board: MarketBoard, outcome: Outcome) -> Json:
    """A `book` event; as in the wild it also carries tick, last price and, on v2, the version."""
    frame = {"event_type": "book", **book(engine, board, outcome)}
    del frame["min_order_size"], frame["neg_risk"]
    return frame if board.listing.market.version == "v1" else {**frame, "version": board.listing.market.version}


def last_price(board: MarketBoard, outcome: Outcome) -> str:
    """The last trade's price as seen from this outcome; 0.5 before the first one."""
    last = board.last_trade
    if last is None:
        return "0.5"
    return price_text(last.price if last.outcome is outcome else Price(UNIT - last.price))


def top_texts(best_bid: Price | None, best_ask: Price | None, outcome: Outcome) -> tuple[str, str]:
    """Best bid and ask of an outcome from Up's; an empty side is "0" or "1"."""
    bid = 0 if best_bid is None else best_bid
    ask = UNIT if best_ask is None else best_ask
    pair = (bid, ask) if outcome is Outcome.UP else (UNIT - ask, UNIT - bid)
    return price_text(Price(pair[0])), price_text(Price(pair[1]))


def price_change_frame(board: MarketBoard, news: LevelsShown) -> Json:
    """Each level as every outcome's subscribers know it, in one message."""
    changes = [_change(board, news, change, outcome) for change in news.changes for outcome in news.outcomes]
    return {
        "market": board.listing.market.condition_id,
        "price_changes": changes,
        "timestamp": str(news.at),
        "event_type": "price_change",
    }


def _change(board: MarketBoard, news: LevelsShown, change: LevelShown, outcome: Outcome) -> Json:
    best_bid, best_ask = top_texts(news.best_bid, news.best_ask, outcome)
    is_bid = (change.side is Side.BUY) == (outcome is Outcome.UP)
    cause = change.cause or f"{news.at} {change.side} {change.price} {change.size}"
    return {
        "asset_id": board.listing.tokens[outcome],
        "price": price_text(own_price(outcome, change.price)),
        "size": plain(change.size),
        "side": "BUY" if is_bid else "SELL",
        "hash": hashlib.sha1(f"{cause} {outcome}".encode()).hexdigest(),
        "best_bid": best_bid,
        "best_ask": best_ask,
    }


def best_bid_ask_frame(board: MarketBoard, news: TopMoved, outcome: Outcome) -> Json:
    best_bid, best_ask = top_texts(news.best_bid, news.best_ask, outcome)
    spread = (UNIT if news.best_ask is None else news.best_ask) - (news.best_bid or 0)
    return {
        "event_type": "best_bid_ask",
        "market": board.listing.market.condition_id,
        "asset_id": board.listing.tokens[outcome],
        "best_bid": best_bid,
        "best_ask": best_ask,
        "spread": price_text(Price(spread)),
        "timestamp": str(news.at),
    }


def last_trade_frame(board: MarketBoard, news: TradeShown) -> Json:
    return {
        "event_type": "last_trade_price",
        "market": board.listing.market.condition_id,
        "asset_id": board.listing.tokens[news.outcome],
        "price": price_text(news.price),
        "size": plain(news.shares),
        "fee_rate_bps": "0",
        "side": news.side.value,
        "timestamp": str(news.at),
        "transaction_hash": news.transaction_hash,
    }


def tick_frame(board: MarketBoard, news: TickMoved, outcome: Outcome) -> Json:
    return {
        "event_type": "tick_size_change",
        "market": board.listing.market.condition_id,
        "asset_id": board.listing.tokens[outcome],
        "old_tick_size": price_text(news.old),
        "new_tick_size": price_text(news.new),
        "timestamp": str(news.at),
    }


def new_market_frame(listing: Listing, at: Millis) -> Json:
    market = listing.market
    event = {"id": str(listing.number), "ticker": market.id, "slug": market.id, "title": listing.question}
    return {
        "event_type": "new_market",
        "id": str(listing.number),
        "question": listing.question,
        "market": market.condition_id,
        "slug": market.id,
        "description": "",
        "assets_ids": list(listing.tokens),
        "outcomes": list(listing.outcomes),
        "event_message": {**event, "description": ""},
        "timestamp": str(at),
        "tags": [],
        "condition_id": market.condition_id,
        "active": True,
        "clob_token_ids": list(listing.tokens),
        "sports_market_type": "",
        "line": "",
        "game_start_time": "",
        "order_price_min_tick_size": price_text(market.tick),
        "group_item_title": "",
        "taker_base_fee": "1000",
        "fees_enabled": market.fees.rate > 0,
        "fee_schedule": {
            "exponent": str(market.fees.exponent),
            "rate": plain(market.fees.rate),
            "taker_only": market.fees.taker_only,
            "rebate_rate": plain(market.fees.rebate_rate),
        },
    }


def resolved_frame(board: MarketBoard, news: MarketSettled) -> Json:
    """A tie has no winner: its two fields are left out."""
    frame = {
        "event_type": "market_resolved",
        "id": str(board.listing.number),
        "market": board.listing.market.condition_id,
        "assets_ids": list(board.listing.tokens),
        "timestamp": str(news.at),
        "tags": [],
    }
    winner = winner_of(news.payout_up)
    if winner is None:
        return frame
    return {
        **frame,
        "winning_asset_id": board.listing.tokens[winner],
        "winning_outcome": board.listing.outcomes[winner],
    }


def winner_of(payout_up: Price | None) -> Outcome | None:
    return {UNIT: Outcome.UP, 0: Outcome.DOWN}.get(-1 if payout_up is None else payout_up)


# -- orders and trades ------------------------------------------------------------------------------------------------


def posted(accepted: Accepted) -> Json:
    making, taking = (plain(a) if accepted.trades else "" for a in (accepted.making, accepted.taking))
    return {
        "success": True,
        "errorMsg": "",
        "orderID": accepted.order.id,
        "status": accepted.status,
        "makingAmount": making,
        "takingAmount": taking,
        "tradeIDs": list(accepted.trades),
        "transactionsHashes": [],
    }


def not_posted(text: str, *, success: bool = False) -> Json:
    return {
        "success": success,
        "errorMsg": text,
        "orderID": "",
        "status": "",
        "makingAmount": "",
        "takingAmount": "",
    }


def order_record(order: Order, outcomes: tuple[str, str]) -> Json:
    """An order as /data/order and /data/orders have it."""
    return {
        "id": order.id,
        "status": order.status.value,
        "owner": order.owner,
        "maker_address": order.account,
        "market": order.condition_id,
        "asset_id": order.token,
        "side": order.side.value,
        "original_size": plain(order.size),
        "size_matched": plain(order.matched),
        "price": price_text(order.price),
        "outcome": outcomes[order.outcome],
        "expiration": str(order.expiration),
        "order_type": order.order_type.value,
        "associate_trades": list(order.trades),
        "created_at": order.created_at // 1000,
    }


def order_frame(order: Order, kind: str, at: Millis, outcomes: tuple[str, str]) -> Json:
    """The user channel's `order` event."""
    record = order_record(order, outcomes)
    return {
        **record,
        "event_type": "order",
        "type": kind,
        "status": order.status_text or order.status.value,
        "order_owner": order.owner,
        "associate_trades": list(order.trades) or None,
        "created_at": seconds(order.created_at),
        "timestamp": str(at),
    }


def trade_record(trade: Trade, viewer: OwnerKey, outcomes: tuple[str, str], *, is_taker: bool) -> Json:
    """A trade as /data/trades has it; the fields at the top are the taker's, whoever asks (polymarket.md 3.3)."""
    return {
        "id": trade.id,
        "taker_order_id": trade.taker_order,
        "market": trade.condition_id,
        "asset_id": trade.token,
        "side": trade.side.value,
        "size": plain(trade.shares),
        "fee_rate_bps": "0",
        "price": price_text(trade.price),
        "status": f"TRADE_STATUS_{trade.status.value}",
        "match_time": seconds(trade.matched_at),
        "last_update": seconds(trade.updated_at),
        "outcome": outcomes[trade.outcome],
        "bucket_index": trade.bucket,
        "owner": viewer,
        "maker_address": trade.taker_account,
        "transaction_hash": transaction_hash(trade),
        "trader_side": "TAKER" if is_taker else "MAKER",
        "maker_orders": [_maker(fill, outcomes) for fill in trade.makers],
    }


def trade_frame(trade: Trade, viewer: OwnerKey, at: Millis, outcomes: tuple[str, str], *, is_taker: bool) -> Json:
    """The user channel's `trade` event."""
    return {
        **trade_record(trade, viewer, outcomes, is_taker=is_taker),
        "event_type": "trade",
        "type": "TRADE",
        "status": trade.status.value,
        "trade_owner": trade.taker_owner,
        "timestamp": str(at),
    }


def transaction_hash(trade: Trade) -> str | None:
    """Known once there is a transaction; a match alone has none."""
    return trade.transaction_hash if trade.status in (TradeStatus.MINED, TradeStatus.CONFIRMED) else None


def _maker(fill: MakerFill, outcomes: tuple[str, str]) -> Json:
    return {
        "order_id": fill.order_id,
        "owner": fill.owner,
        "maker_address": fill.account,
        "matched_amount": plain(fill.shares),
        "price": price_text(fill.price),
        "fee_rate_bps": "0",
        "asset_id": fill.token,
        "outcome": outcomes[fill.outcome],
        "outcome_index": int(fill.outcome),
        "side": fill.side.value,
    }
