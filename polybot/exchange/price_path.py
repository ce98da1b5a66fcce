"""The underlying's price in a recorded window, second by second, as a distance from the price to beat.

Where the tape has reference prices they are the path. Where it has none (the shipped tape) the path is the one the
books imply: an Up share at p says that the price stands `volatility * sqrt(time left) * N^-1(p)` above the price to
beat. It is a made price, good for feeds and settlement to agree with the books, and for nothing else.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from polybot.domain.events import MarketListed
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import Markets
from polybot.domain.units import UNIT
from polybot.exchange.recorded import RecordedPrice, RecordedWindow

VOLATILITY = 0.002 / math.sqrt(900)
"""Of the logarithm, per square root of a second: 0.2 % in 15 minutes, an ordinary hour of BTC."""
SETTLING_S = 60
"""The settlement is the average of the last minute (polymarket.md 5.2)."""
NOISE_S = 30.0
"""Added to the time left: at the very end the price still stands off the price to beat by what an average hides."""
LEAST_SURE = 0.65
"""In the last minute the winner's price counts as at least this, so that the average cannot contradict the payout."""
SUREST = 0.995
NORMAL = NormalDist()


def path_of(window: RecordedWindow) -> list[float]:
    """Logarithm of price over price to beat, for each whole second of the window."""
    seconds = window.length_ms // 1000
    if window.references:
        return _recorded(window.references, seconds)
    return _implied(_mids(window, seconds), window.payout_up)


def _recorded(references: Sequence[RecordedPrice], seconds: int) -> list[float]:
    before = [r.price for r in references if -SETTLING_S * 1000 <= r.offset_ms < 0] or [references[0].price]
    beat = sum(before) / len(before)
    path, latest = [], references[0].price
    pending = iter(references)
    coming = next(pending, None)
    for second in range(seconds):
        while coming is not None and coming.offset_ms <= second * 1000:
            latest, coming = coming.price, next(pending, None)
        path.append(math.log(latest / beat))
    return path


def _implied(mids: Sequence[float], payout_up: int) -> list[float]:
    path: list[float] = []
    for second, mid in enumerate(mids):
        left = len(mids) - second
        sure = min(max(mid, 1 - SUREST), SUREST)
        if left <= SETTLING_S:
            sure = max(sure, LEAST_SURE) if 2 * payout_up >= UNIT else min(sure, 1 - LEAST_SURE)
        off = VOLATILITY * math.sqrt(left + NOISE_S) * NORMAL.inv_cdf(sure)
        # A decided market says no more than that: the price stays where it was, rather than come back as time runs out.
        if path and path[-1] * off > 0 and abs(sure - 0.5) >= SUREST - 0.5:
            off = math.copysign(max(abs(off), abs(path[-1])), off)
        path.append(off)
    return path


def _mids(window: RecordedWindow, seconds: int) -> list[float]:
    """The middle of Up's book at each second, the last one known; 0.5 before there is any."""
    markets = Markets()
    markets.apply(MarketListed(window.market.window_start, window.market.window_start, window.market))
    mids, mid = [], 0.5
    pending = iter(window.events)
    coming = next(pending, None)
    for second in range(seconds):
        while coming is not None and coming.offset_ms <= second * 1000:
            state = markets.apply(coming.event())
            if state is not None:
                book = state.books[Outcome.UP]
                bid, ask = next(book.levels(Side.BUY), None), next(book.levels(Side.SELL), None)
                mid = ((bid[0] if bid else 0) + (ask[0] if ask else UNIT)) / (2 * UNIT)
            coming = next(pending, None)
        mids.append(mid)
    return mids
