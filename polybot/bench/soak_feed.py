"""A market data server for the soak: a process of its own that writes frames at a steady rate, one JSON text a line.

The frames are the shipped tape's (live.py), re-stamped with the present time and moved to the windows of the day. What
it is told, one line each: `F ID...` follow exactly these markets, `R ID` a market's snapshot anew.
`python -m polybot.bench.soak_feed PORT RATE` connects to PORT of this machine and writes until it is hung up on.
"""

import select
import socket
import sys
import time
from collections.abc import Collection

import msgspec

from polybot.bench.live import Lane, token_of
from polybot.clock import SystemClock
from polybot.domain.events import BookReplaced, MarketListed
from polybot.domain.ids import MarketId, SeriesId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis, Price
from polybot.paths import tapes_dir
from polybot.storage.tape import read_tape

CLOCK = SystemClock()
WINDOW_MS = 300_000
"""Five minutes, not fifteen: half an hour then sees six rollovers."""
ASSETS = ("BTC", "ETH")
AHEAD = 2
"""Windows of each asset that are open at a time."""
CONDITION = "@condition@"
STAMP = 1_111_111_111_111
FRAMES_PER_LANE = 5_000
BURST_MAX = 50
START_SECONDS_MAX = 60.0
"""For a process that sends frames, until it is ready to."""


def market_of(asset: str, start_ms: int, terms: Market) -> Market:
    """The asset's market of the window that starts then, on the terms of a recorded one."""
    number = ASSETS.index(asset)
    return msgspec.structs.replace(
        terms,
        id=MarketId(f"{asset.lower()}-soak-{number}{start_ms // 1000}"),  # the last part makes the token ids
        asset=asset,
        tick=Price(1_000),  # the recorded books become as fine as this near 0 and 1
        condition_id=f"0x{number}{start_ms:063d}",
        series=SeriesId(f"{asset}-15m"),
        window_start=Millis(start_ms),
        window_end=Millis(start_ms + WINDOW_MS),
    )


def parts_of(market: str) -> tuple[str, int]:
    """The way back: asset and start of the window."""
    asset, _, number = market.split("-")
    return asset.upper(), int(number[1:]) * 1000


def recorded_terms() -> Market:
    """The shipped tape's first market."""
    return next(e.market for e in read_tape(tapes_dir() / "btc15m_l2.tape") if isinstance(e, MarketListed))


def templates() -> list[list[bytes]]:
    """Four recorded markets' frames, each with the same placeholders for market, tokens and time."""
    lanes: dict[MarketId, Lane] = {}
    frames: dict[MarketId, list[bytes]] = {}
    blank = msgspec.structs.replace(recorded_terms(), id=MarketId("soak-0"), condition_id=CONDITION)
    for event in read_tape(tapes_dir() / "btc15m_l2.tape"):
        if isinstance(event, MarketListed) and len(lanes) < len(ASSETS) * AHEAD:
            lanes[event.market.id], frames[event.market.id] = Lane(blank), []
        elif isinstance(event, BookReplaced) and event.market in lanes:
            made, stamped = frames[event.market], msgspec.structs.replace(event, at=Millis(STAMP))
            if len(made) < FRAMES_PER_LANE:
                made += lanes[event.market].frames(stamped)
            elif min(map(len, frames.values())) >= FRAMES_PER_LANE and len(frames) == len(ASSETS) * AHEAD:
                break
    return list(frames.values())


class Rounds:
    """Which markets are followed and how far each one's frames are: a recording that goes round and round."""

    def __init__(self, made: list[list[bytes]]) -> None:
        self._made = made
        self._blank = msgspec.structs.replace(recorded_terms(), id=MarketId("soak-0"), condition_id=CONDITION)
        self._next: dict[str, int] = {}
        self._turn = 0

    def follow(self, markets: Collection[str]) -> None:
        """Exactly these; the new ones begin with their snapshot."""
        self._next = {market: self._next.get(market, 0) for market in markets}

    def renew(self, market: str) -> None:
        """Its snapshot comes next."""
        self._next[market] = 0

    @property
    def followed(self) -> frozenset[str]:
        return frozenset(self._next)

    def next_frame(self) -> bytes | None:
        """One frame, the markets by turns; a market's first is its snapshot, and then its recording goes round."""
        markets = sorted(self._next)
        if not markets:
            return None
        self._turn += 1
        market = markets[self._turn % len(markets)]
        asset, start_ms = parts_of(market)
        own = self._made[(ASSETS.index(asset) + len(ASSETS) * (start_ms // WINDOW_MS)) % len(self._made)]
        frame = own[self._next[market] % len(own)]
        self._next[market] += 1
        return self._renamed(frame, market_of(asset, start_ms, self._blank))

    def _renamed(self, frame: bytes, market: Market) -> bytes:
        frame = frame.replace(CONDITION.encode(), market.condition_id.encode())
        for outcome in Outcome:
            frame = frame.replace(token_of(self._blank, outcome).encode(), token_of(market, outcome).encode())
        return frame.replace(str(STAMP).encode(), str(CLOCK.now_ms()).encode())


class Wire:
    """One connection of the soak's own: lines of words in, lines of JSON out."""

    def __init__(self, line: socket.socket, made: list[list[bytes]]) -> None:
        self._line, self._rounds, self._heard = line, Rounds(made), b""

    def listen(self) -> bool:
        """Take in what was asked for; False when hung up on."""
        while select.select([self._line], [], [], 0)[0]:
            heard = self._line.recv(65_536)
            if not heard:
                return False
            *asked, self._heard = (self._heard + heard).split(b"\n")
            for words in (line.decode().split() for line in asked):
                if words[0] == "F":
                    self._rounds.follow(words[1:])
                else:
                    self._rounds.renew(words[1])
        return True

    def send_next(self) -> None:
        frame = self._rounds.next_frame()
        if frame is not None:
            self._line.sendall(frame + b"\n")


def main(port: int, rate: float) -> None:
    made = templates()
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire, began, sent = Wire(line, made), time.perf_counter(), 0
        while wire.listen():
            due = int((time.perf_counter() - began) * rate) - sent
            for _ in range(min(due, BURST_MAX)):
                wire.send_next()
            sent += max(0, due)  # what cannot be sent in time is not sent later in a flood
            time.sleep(0.0005)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
