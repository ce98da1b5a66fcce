"""The venue's terms by date, for recordings that do not carry them (polymarket.md 5.2, 5.5, 5.6; all UTC).

Each table says from when a term was in force. Where the evidence is thin the comment says so, and every tape that
relies on it says so in its notes. A recording's own terms always come first.
"""

from datetime import UTC, datetime

from polybot.domain.errors import BadInput
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis, Price, Shares

TICK = Price(10_000)
TICK_FINE = Price(1_000)
"""In force after a book's price went above 0.96 or below 0.04 (polymarket.md 5.4)."""
SIZE_MIN = Shares(5_000_000)
SETTLED_AFTER_MS = 54_000
"""Median time from window end to the venue's word: 0.9 minutes over 384 windows (polymarket.md 5.3)."""

FRAME_MS = {"5m": 300_000, "15m": 900_000, "4h": 14_400_000}


def _ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1000


FEES_CRYPTO_V2 = FeeSchedule(rate=70_000, exponent=1, taker_only=True, rebate_rate=200_000)
_FEES_STRUCTURE_V2 = FeeSchedule(rate=72_000, exponent=1, taker_only=True, rebate_rate=200_000)
_FEES_2026_01 = FeeSchedule(rate=250_000, exponent=2, taker_only=True, rebate_rate=200_000)

_FEES_SINCE_15M = (
    (_ms(2026, 1, 5), _FEES_2026_01),
    # 0.072 is what every market of the April 2026 sessions in shared/data/protocol was served with.
    (_ms(2026, 3, 30), _FEES_STRUCTURE_V2),
    # 0.07 is served in September 2026; the day it changed was not established.
    (_ms(2026, 9, 1), FEES_CRYPTO_V2),
)
_FEES_SINCE_5M = ((_ms(2026, 2, 12), _FEES_2026_01), *_FEES_SINCE_15M[1:])
_DELAY_SINCE = (
    # November 2025 to 2026-02-18, from third-party notes; its first day was not established.
    (_ms(2025, 11, 1), 500),
    (_ms(2026, 2, 18), 0),
    (_ms(2026, 6, 5), 250),
    (_ms(2026, 8, 17, 11), 50),
    (_ms(2026, 9, 4, 14), 150),
)
_RULES_SINCE_15M = ((0, "chainlink-spot"), (_ms(2026, 8, 7), "chainlink-twap60-2026-08-07"))
_RULES_SINCE_5M = (
    (0, "chainlink-spot"),
    (_ms(2026, 8, 7), "chainlink-twap30-2026-08-07"),
    (_ms(2026, 8, 14), "chainlink-twap60-2026-08-14"),
)


def fees_at(frame: str, at: int) -> FeeSchedule:
    """The crypto schedule in force at `at` (ms) for markets of `frame`; no fee before the first entry."""
    found = NO_FEES
    for since, fees in _FEES_SINCE_5M if frame == "5m" else _FEES_SINCE_15M:
        if at >= since:
            found = fees
    return found


def taker_delay_at(at: int) -> int:
    """The hold on marketable orders in force at `at`, in milliseconds."""
    found = 0
    for since, delay in _DELAY_SINCE:
        if at >= since:
            found = delay
    return found


def rule_set_at(frame: str, at: int) -> str:
    """The settlement rule for a window that starts at `at`."""
    found = "chainlink-spot"
    for since, name in _RULES_SINCE_5M if frame == "5m" else _RULES_SINCE_15M:
        if at >= since:
            found = name
    return found


def updown_market(
    slug: str,
    *,
    condition_id: str,
    place: str,
    tokens: tuple[TokenId, TokenId] | None = None,
    quoted: tuple[Outcome, ...] = (Outcome.UP, Outcome.DOWN),
) -> Market:
    """A market from its slug `{asset}-updown-{frame}-{window start, s}` (polymarket.md 5.1) and its day's terms."""
    asset, frame, start = parse_slug(slug, place)
    return Market(
        id=MarketId(slug),
        condition_id=ConditionId(condition_id),
        series=SeriesId(f"{asset}-{frame}"),
        asset=asset,
        window_start=start,
        window_end=Millis(start + FRAME_MS[frame]),
        tick=TICK,
        size_min=SIZE_MIN,
        fees=fees_at(frame, start),
        taker_delay_ms=taker_delay_at(start),
        rule_set=rule_set_at(frame, start),
        tokens=tokens,
        quoted=quoted,
    )


def parse_slug(slug: str, place: str) -> tuple[str, str, Millis]:
    """Asset, frame and window start (ms) of `btc-updown-15m-1790586000`. Raises BadInput for any other form."""
    parts = slug.split("-")
    if len(parts) != 4 or parts[1] != "updown" or parts[2] not in FRAME_MS or not parts[3].isdecimal():
        raise BadInput(f"{place}: {slug!r} is not the slug of an up/down market such as btc-updown-15m-1790586000")
    start = int(parts[3]) * 1000
    if start % FRAME_MS[parts[2]]:
        raise BadInput(f"{place}: {slug!r} does not start on a {parts[2]} boundary")
    return parts[0].upper(), parts[2], Millis(start)
