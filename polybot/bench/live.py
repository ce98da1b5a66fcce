"""The live-shaped path: one market-websocket frame in bytes to the decision of three traders, at a steady rate.

The frames are made from the shipped tape and shaped as the venue's (polymarket.md 3.1): each token's first book as a
`book` frame, and then one `price_change` per level that changed, for both tokens in one frame, with the venue's best
prices after it. Four of the tape's markets are moved to the same window and run side by side.
"""

import time
from collections.abc import Iterator

import msgspec

from polybot.desk.room import TradingRoom, equal_allocation
from polybot.domain.book import Book
from polybot.domain.events import BookReplaced, MarketListed
from polybot.domain.ids import TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares, complement, format_units
from polybot.risk.gate import Approved
from polybot.settings import Settings, load_plans
from polybot.storage.tape import read_tape
from polybot.venue.matching import Simulator, new_simulator_state
from polybot.venue.polymarket.wire import MarketDecoder, Tokens

LANES = 4
FRAMES_PER_SECOND = 1_000
WARM_UP = 500
FRAMES_MAX = 12_000


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds from a frame's bytes to the traders' decision; `late` frames waited for the one before."""

    frames: int
    median_us: float
    p99_us: float
    max_us: float
    late: int
    approved: int


class Lane:
    """One market's frames: the Up book as it is now, and what the venue would say of every change to it."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._book = Book(Outcome.UP)
        self._started = False

    def frames(self, event: BookReplaced) -> list[bytes]:
        if event.outcome is not Outcome.UP:
            return []  # its mirror; every frame below speaks of both
        if not self._started:
            self._started = True
            bids, asks = (event.bid_prices[:], event.bid_sizes[:]), (event.ask_prices[:], event.ask_sizes[:])
            self._book.replace(bids, asks, event.at, event.received)
            return [self._snapshot(event.at)]
        return [self._change(event.at, *change) for change in self._changes(event)]

    def _changes(self, event: BookReplaced) -> Iterator[tuple[Side, Price, Shares]]:
        """What differs, gone levels first, so that the book is never crossed on the way."""
        book, sides = self._book, []
        for side, prices, sizes in (
            (Side.BUY, event.bid_prices, event.bid_sizes),
            (Side.SELL, event.ask_prices, event.ask_sizes),
        ):
            before, now = dict(book.levels(side)), dict(zip(prices, sizes, strict=True))
            yield from [(side, price, Shares(0)) for price in before if price not in now]
            sides.append([(side, price, size) for price, size in now.items() if before.get(price) != size])
        for changes in sides:
            yield from changes

    def _change(self, at: Millis, side: Side, price: Price, size: Shares) -> bytes:
        book = self._book
        book.change(side, price, size)
        bid, ask = book.best_bid or Price(0), book.best_ask or Price(UNIT)
        other = Side.SELL if side is Side.BUY else Side.BUY
        changes = [
            self._entry(Outcome.UP, side, price, size, bid, ask),
            self._entry(Outcome.DOWN, other, complement(price), size, complement(ask), complement(bid)),
        ]
        return msgspec.json.encode({"event_type": "price_change", **self._head(at), "price_changes": changes})

    def _entry(
        self, outcome: Outcome, side: Side, price: Price, size: Shares, bid: Price, ask: Price
    ) -> dict[str, str]:
        return {
            "asset_id": token_of(self.market, outcome),
            "price": format_units(price),
            "size": format_units(size),
            "side": side.value,
            "hash": "0" * 40,
            "best_bid": format_units(bid),
            "best_ask": format_units(ask),
        }

    def _snapshot(self, at: Millis) -> bytes:
        """Both tokens' books in one frame, bids ascending and asks descending as served."""
        up, down = self._book, Book(Outcome.DOWN)
        down.replace(*up.mirrored(), at, at)
        books = [
            {
                "event_type": "book",
                **self._head(at),
                "asset_id": token_of(self.market, book.outcome),
                "hash": "0" * 40,
                "bids": [_level(level) for level in reversed(tuple(book.levels(Side.BUY)))],
                "asks": [_level(level) for level in reversed(tuple(book.levels(Side.SELL)))],
            }
            for book in (up, down)
        ]
        return msgspec.json.encode(books)

    def _head(self, at: Millis) -> dict[str, str]:
        return {"market": self.market.condition_id, "timestamp": str(at)}


def _level(level: tuple[Price, Shares]) -> dict[str, str]:
    return {"price": format_units(level[0]), "size": format_units(level[1])}


def token_of(market: Market, outcome: Outcome) -> TokenId:
    """A made-up token id of the venue's length: the shipped recording names none."""
    return TokenId(f"{market.id.rpartition('-')[2]}{outcome:d}".rjust(77, "7"))


def make_frames(settings: Settings, most: int = FRAMES_MAX) -> tuple[list[Market], list[tuple[int, bytes]]]:
    """The tape's first four markets, moved to one and the same window, and (time, frame) in order of time."""
    markets: dict[str, Market] = {}
    frames: list[tuple[int, bytes]] = []
    shift: dict[str, int] = {}
    lanes: dict[str, Lane] = {}
    for event in read_tape(settings.tape):
        if isinstance(event, MarketListed) and len(markets) < LANES:
            market = event.market
            first = next(iter(markets.values()), market)
            shift[market.id] = market.window_start - first.window_start
            markets[market.id] = msgspec.structs.replace(
                market, window_start=first.window_start, window_end=first.window_end
            )
            lanes[market.id] = Lane(market)
        elif isinstance(event, BookReplaced) and event.market in lanes:
            at, moved = event.received - shift[event.market], Millis(event.at - shift[event.market])
            dated = msgspec.structs.replace(event, at=moved)  # else the venue's clock would be a quarter of an hour off
            frames += [(at, frame) for frame in lanes[event.market].frames(dated)]
    return list(markets.values()), sorted(frames, key=lambda pair: pair[0])[:most]


def run_live(settings: Settings) -> LiveRun:
    """Feed the frames at FRAMES_PER_SECOND and time each from bytes to verdicts."""
    markets, frames = make_frames(settings)
    room = TradingRoom(load_plans(settings), settings.limits.limits())
    capital = settings.capital_money
    simulator = Simulator(settings.venue.model(settings.seed), room.markets.by_id, new_simulator_state(capital))
    for fact in equal_allocation(room, capital, Millis(0)):
        room.apply(fact)
    tokens = Tokens()
    for market in markets:
        room.observe(MarketListed(market.window_start, market.window_start, market))
        for outcome in Outcome:
            tokens.put(token_of(market, outcome), market.id, outcome)
    decoder = MarketDecoder(tokens)
    spent: list[float] = []
    late = approved = 0
    began = time.perf_counter()
    for number, (at, frame) in enumerate(frames):
        due = began + number / FRAMES_PER_SECOND
        while (now := time.perf_counter()) < due:
            time.sleep(max(0.0, due - now - 0.0002))
        late += now - due > 1 / FRAMES_PER_SECOND
        approved += _decide(room, simulator, decoder, frame, Millis(at))
        spent.append((time.perf_counter() - now) * 1e6)
    spent = sorted(spent[WARM_UP:])
    return LiveRun(
        frames=len(spent),
        median_us=spent[len(spent) // 2],
        p99_us=spent[len(spent) * 99 // 100],
        max_us=spent[-1],
        late=late,
        approved=approved,
    )


def _decide(room: TradingRoom, venue: Simulator, decoder: MarketDecoder, frame: bytes, at: Millis) -> int:
    """One frame through the floor's own order of things, up to the verdicts; approved orders go to the paper venue."""
    approved = 0
    for reply in venue.advance(at):
        room.apply(reply)
    for fact in room.due(at):
        room.apply(fact)
    for event in decoder.decode(frame, at):
        state = room.observe(event)  # type: ignore[arg-type]
        for reply in venue.observe(event, state):  # type: ignore[arg-type]
            room.apply(reply)
        if state is not None:
            for verdict in room.step(event, state, at):  # type: ignore[arg-type]
                if isinstance(verdict, Approved):
                    venue.submit(verdict.intent, at)
                    approved += 1
    return approved
