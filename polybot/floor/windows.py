"""Which windows a live floor must know of, and which it listens to. Pure."""

from polybot.desk.room import TradingRoom
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis
from polybot.risk.known_terms import VERSIONS

FOLLOW_AHEAD_MS = 900_000
"""The next window is subscribed for as long as the present one runs: its books are there when it begins."""
FOLLOW_AFTER_MS = 600_000
"""How long after its end a window is listened to for its result."""


def followed_markets(room: TradingRoom, now: Millis) -> tuple[MarketId, ...]:
    """The windows of now and next, and those that wait for their result; in order of start."""
    found = [
        (state.market.window_start, state.market.id)
        for state in room.markets.by_id.values()
        if state.payout_up is None
        and state.market.version in VERSIONS  # of another its tokens are not known, and nothing would come
        and state.market.window_start - FOLLOW_AHEAD_MS <= now < state.market.window_end + FOLLOW_AFTER_MS
    ]
    return tuple(market for _, market in sorted(found))


def known_since(room: TradingRoom, now: Millis) -> Millis:
    """The moment after which a window may have ended whose story is not over: where the catalogue is read from.

    Windows that came and went while the floor was down are among them, and for a day those that were left out between
    two that are over (desk/told.py).
    """
    state = room.state
    if state.began is None:
        return now
    series = {market.series for market in state.markets.values()} | state.told.keys()
    told = [room.told_up_to(name) for name in series] or [state.began]
    waiting = [m.window_end - 1 for m in state.markets.values() if m.id not in state.payouts]
    return Millis(min(*told, *waiting, now))
