"""Which recorded window is played in which window of the exchange's clock: the same for the same minute, always.

A series goes round its recordings in order. A series that was never recorded borrows another's, a few windows apart, so
that both do not show the same books at the same time.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis
from polybot.exchange.recorded import RecordedWindow

FRAMES = {300_000: "5m", 900_000: "15m", 14_400_000: "4h"}
LAG = 5
"""How many recordings further a borrowing series is; with twelve of them the two never meet."""
SERIES_MAX = 10
VERSIONS = ("v1", "v2", "both")
V2_BINARY = "01"
"""Protocol V2's module of binary markets: the first byte of their condition ids (polymarket.md 1.4)."""


class SeriesPlan(msgspec.Struct, frozen=True):
    """One rolling series. `version`: "v1", "v2", or "both" for one after the other."""

    asset: str
    frame_ms: int
    windows: tuple[RecordedWindow, ...]
    lag: int = 0
    version: str = "v1"

    @property
    def frame(self) -> str:
        return FRAMES[self.frame_ms]

    @property
    def series(self) -> SeriesId:
        return SeriesId(f"{self.asset}-{self.frame}")

    def recording(self, start: Millis) -> RecordedWindow:
        """What is played in the window that starts at `start`."""
        return self.windows[(start // self.frame_ms + self.lag) % len(self.windows)]

    def current_start(self, now: Millis) -> Millis:
        return Millis(now - now % self.frame_ms)

    def market(self, start: Millis) -> Market:
        """The market of that window: the recording's terms under its own name and ids."""
        version = self.version if self.version != "both" else ("v1", "v2")[start // self.frame_ms % 2]
        slug = MarketId(f"{self.asset.lower()}-updown-{self.frame}-{start // 1000}")
        condition, tokens = identity(slug, version)
        return msgspec.structs.replace(
            self.recording(start).market,
            id=slug,
            condition_id=condition,
            series=self.series,
            asset=self.asset,
            window_start=start,
            window_end=Millis(start + self.frame_ms),
            version=version,
            tokens=tokens,
            quoted=(Outcome.UP, Outcome.DOWN),
        )


def plan_series(
    windows: Sequence[RecordedWindow], assets: Sequence[str], *, frame_ms: int = 900_000, version: str = "v1"
) -> list[SeriesPlan]:
    """A plan for each asset: from its own recordings, or else from all of that length.

    Raises BadInput where there is nothing of that length, the version is none of VERSIONS, or there are too many.
    """
    if len(assets) > SERIES_MAX:
        raise BadInput(f"{len(assets)} series are more than the {SERIES_MAX} one exchange runs")
    if frame_ms not in FRAMES:
        lengths = ", ".join(f"{frame // 60_000}" for frame in sorted(FRAMES))
        raise BadInput(f"windows of {frame_ms / 60_000:g} minutes are not served; choose from {lengths}")
    if version not in VERSIONS:
        raise BadInput(f"protocol version {version!r} is not served; choose from {', '.join(VERSIONS)}")
    fitting = tuple(window for window in windows if window.length_ms == frame_ms)
    if not fitting:
        raise BadInput(f"the tape has no settled window of {FRAMES[frame_ms]}; choose a tape that has")
    plans = []
    for asset in assets:
        own = tuple(window for window in fitting if window.market.asset == asset)
        plans.append(SeriesPlan(asset, frame_ms, own or fitting, 0 if own else LAG, version))
    return plans


def identity(slug: MarketId, version: str) -> tuple[ConditionId, tuple[TokenId, TokenId]]:
    """Condition and token ids in the form each protocol version has, the same for the same slug.

    v2: 31 bytes of which 14 are zero, served with a 32nd; an id is the 31 bytes and the outcome's number.
    """
    if version == "v2":
        stem = V2_BINARY + _digest(slug, "condition")[:32] + 28 * "0"
        return ConditionId(f"0x{stem}00"), (TokenId(str(int(f"{stem}00", 16))), TokenId(str(int(f"{stem}01", 16))))
    condition = ConditionId(f"0x{_digest(slug, 'condition')}")
    up, down = (TokenId(str(int(_digest(slug, outcome), 16))) for outcome in ("up", "down"))
    return condition, (up, down)


def _digest(slug: str, what: str) -> str:
    return hashlib.sha256(f"{slug}:{what}".encode()).hexdigest()
