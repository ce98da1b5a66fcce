"""The CLOB's market records and single prices as the venue writes them (polymarket.md 2.1)."""

from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Price
from polybot.exchange.core.state import MarketBoard
from polybot.exchange.wire import BOTH, Json, last_price, plain, price_text, winner_of


def compact_market(board: MarketBoard) -> Json:
    """/clob-markets/{condition_id}, keys as the venue shortens them. Flags that are off are left out."""
    listing, market = board.listing, board.listing.market
    pairs = zip(listing.tokens, listing.outcomes, strict=True)
    found: Json = {
        "c": market.condition_id,
        "t": [{"t": token, "o": outcome} for token, outcome in pairs],
        "mos": int(plain(market.size_min)) if market.size_min % UNIT == 0 else market.size_min / UNIT,
        "mts": board.tick / UNIT,
        "mbf": 1000,
        "tbf": 1000,
        "nr": listing.neg_risk,
        "r": {"mi": 50, "ma": 4.5, "moas": 30},
        "v": market.version,
    }
    if market.fees.rate:
        fees = market.fees
        found["fd"] = {"r": fees.rate / UNIT, "e": fees.exponent, "to": fees.taker_only}
    if market.taker_delay_ms:
        found["itode"] = True
    return found


def full_market(board: MarketBoard) -> Json:
    """/markets/{condition_id}."""
    listing, market = board.listing, board.listing.market
    winner = winner_of(board.payout_up)
    return {
        "condition_id": market.condition_id,
        "question": listing.question,
        "market_slug": market.id,
        "enable_order_book": True,
        "active": True,
        "closed": board.payout_up is not None,
        "archived": False,
        "accepting_orders": board.accepting,
        "minimum_order_size": int(plain(market.size_min)) if market.size_min % UNIT == 0 else market.size_min / UNIT,
        "minimum_tick_size": board.tick / UNIT,
        "neg_risk": listing.neg_risk,
        "maker_base_fee": 1000,
        "taker_base_fee": 1000,
        "tokens": [
            {
                "token_id": listing.tokens[outcome],
                "outcome": listing.outcomes[outcome],
                "price": float(last_price(board, outcome)),
                "winner": winner is outcome,
            }
            for outcome in BOTH
        ],
    }


def price_of(board: MarketBoard, outcome: Outcome, side: Side) -> str | None:
    """/price: BUY is the best bid, SELL the best ask, as probed live (polymarket.md 2.1); None: no such side."""
    best_bid, best_ask = board.pool.top
    up, down = (best_bid, best_ask), (_mirror(best_ask), _mirror(best_bid))
    price = (up if outcome is Outcome.UP else down)[0 if side is Side.BUY else 1]
    return None if price is None else price_text(price)


def middle_of(board: MarketBoard, outcome: Outcome) -> tuple[str, str] | None:
    """Midpoint and spread, None while a side is empty."""
    twice_mid = board.pool.twice_mid
    best_bid, best_ask = board.pool.top
    if twice_mid is None or best_bid is None or best_ask is None:
        return None
    own = twice_mid if outcome is Outcome.UP else 2 * UNIT - twice_mid
    return plain(own // 2), price_text(Price(best_ask - best_bid))


def _mirror(price: Price | None) -> Price | None:
    return None if price is None else Price(UNIT - price)
