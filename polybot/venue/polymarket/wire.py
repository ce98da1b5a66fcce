"""The market channel's bytes as domain events (polymarket.md 3.1). With its wire_* neighbours the only place that
knows the venue's field names.

Nothing here raises: what cannot be understood comes out as `Undecodable`, so that a frame can never crash a feed, and
no absurd number passes.
"""

from collections.abc import Iterable
from operator import lt

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketResolved,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.venue.polymarket.wire_units import (
    Remembered,
    condition_of,
    millis,
    price_units,
    size_units,
    top_units,
)

EXCERPT_MAX = 200
FRAME_MAX = 16 << 20
"""Bytes; the initial dump of 500 full books stays well below."""
TRANSACTION_MAX = 66
"""Characters of a transaction hash."""
PONG = (b"PONG", "PONG")


class Undecodable(msgspec.Struct, frozen=True):
    """A frame or message that is not what the venue documents, with the beginning of it; to be counted and logged.

    `markets` are those whose books it spoke of, where that much can be read; else it may have been about any.
    """

    reason: str
    excerpt: str
    markets: tuple[MarketId, ...] = ()


class Pong(msgspec.Struct, frozen=True):
    """The answer to our PING: plain text, not JSON."""


class Ignored(msgspec.Struct, frozen=True):
    """A message that is understood and holds nothing the floor needs, for instance `best_bid_ask`."""

    event_type: str


class MarketAnnounced(msgspec.Struct, frozen=True, kw_only=True):
    """`new_market`: sent for every market of the venue, whatever was subscribed. Its terms come from Gamma."""

    slug: str
    condition_id: ConditionId
    tokens: tuple[TokenId, ...]


WireEvent = MarketEvent | Pong | Ignored | MarketAnnounced | Undecodable


class Tokens:
    """Which token is which outcome of which market; holds the markets being watched, and is kept by the subscriber."""

    def __init__(self, markets: Iterable[Market] = ()) -> None:
        """`places` is for looking up; `find` says what is wrong."""
        self.places: dict[str, tuple[MarketId, Outcome]] = {}
        for market in markets:
            self.add(market)

    def add(self, market: Market) -> None:
        """Watch a market. Raises BadInput where it has no token ids."""
        if market.tokens is None:
            raise BadInput(f"{market.id}: has no token ids, so its frames cannot be recognised")
        for token, outcome in zip(market.tokens, Outcome, strict=True):
            self.put(token, market.id, outcome)

    def put(self, token: TokenId, market: MarketId, outcome: Outcome) -> None:
        """One token alone, for a recording that carries only this one."""
        self.places[token] = (market, outcome)

    def remove(self, market: MarketId) -> None:
        self.places = {token: place for token, place in self.places.items() if place[0] != market}

    def find(self, token: str) -> tuple[MarketId, Outcome]:
        """Raises BadInput for a token that is not watched."""
        place = self.places.get(token)
        if place is None:
            raise BadInput(f"token {token[:EXCERPT_MAX]!r} is not watched")
        return place


# -- messages as served -----------------------------------------------------------------------------------------------


class WireLevel(msgspec.Struct, gc=False):
    price: str
    size: str


class BookMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="book"):
    asset_id: str
    bids: list[WireLevel]
    asks: list[WireLevel]
    timestamp: str = ""


class RestBook(msgspec.Struct, gc=False):
    """`GET /book`: the same without an event type."""

    asset_id: str
    bids: list[WireLevel]
    asks: list[WireLevel]
    timestamp: str = ""


class WireChange(msgspec.Struct, gc=False):
    asset_id: str
    price: str
    size: str
    side: Side
    best_bid: str | None = None
    best_ask: str | None = None


class PriceChangeMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="price_change"):
    price_changes: list[WireChange]
    timestamp: str = ""


class LastTradeMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="last_trade_price"):
    asset_id: str
    price: str
    size: str
    side: Side
    timestamp: str = ""
    transaction_hash: str = ""


class TickSizeMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="tick_size_change"):
    asset_id: str
    new_tick_size: str
    timestamp: str = ""


class BestBidAskMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="best_bid_ask"):
    pass


class WireToken(msgspec.Struct, gc=False):
    asset_id: str = ""


class WireAbout(msgspec.Struct, gc=False):
    """Of a message that cannot be read, whose it was."""

    asset_id: str = ""
    price_changes: list[WireToken] = []


class NewMarketMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="new_market"):
    slug: str
    market: str
    assets_ids: list[str] = []


class ResolvedMessage(msgspec.Struct, gc=False, tag_field="event_type", tag="market_resolved"):
    winning_asset_id: str
    timestamp: str = ""


Message = (
    BookMessage
    | PriceChangeMessage
    | LastTradeMessage
    | TickSizeMessage
    | BestBidAskMessage
    | NewMarketMessage
    | ResolvedMessage
)
UNREADABLE = (msgspec.DecodeError, BadInput, RecursionError, UnicodeError)
"""RecursionError: thousands of nested brackets in a few kilobytes. UnicodeError: text that is not UTF-8."""


class MarketDecoder:
    """Frames of the market channel as events; keeps the remembered numbers, so make one and keep it."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.untimed = 0
        """Messages that came without a time of their own and were given the time they were received."""
        self._frames = msgspec.json.Decoder(Message | list[Message])
        self._messages = msgspec.json.Decoder(Message)
        self._pieces = msgspec.json.Decoder(list[msgspec.Raw])
        self._abouts = msgspec.json.Decoder(WireAbout)
        self._rest_books = msgspec.json.Decoder(RestBook)
        self._prices = Remembered(price_units)
        self._sizes = Remembered(size_units)
        self._tops = Remembered(top_units)

    def decode(self, frame: bytes | str, received: Millis) -> list[WireEvent]:
        """What a frame says, in its order. A frame is one message or an array of them; never raises."""
        if frame in PONG:
            return [Pong()]
        if len(frame) > FRAME_MAX:
            return [Undecodable(f"the frame is longer than {FRAME_MAX}", excerpt(frame))]
        try:
            content = self._frames.decode(frame)
            if type(content) is list:
                return [self._event(message, received) for message in content]
            return [self._event(content, received)]
        except UNREADABLE as error:
            return self._salvage(frame, received, str(error))

    def decode_rest_book(self, body: bytes | str, received: Millis) -> BookReplaced | Undecodable:
        """The answer of `GET /book` (polymarket.md 2.1)."""
        try:
            return self._book(self._rest_books.decode(body), received)
        except UNREADABLE as error:
            return Undecodable(str(error), excerpt(body))

    def decode_rest_books(self, body: bytes | str, received: Millis) -> list[BookReplaced | Undecodable]:
        """The answer of `POST /books`: each book by itself (polymarket.md 2.1)."""
        try:
            pieces = self._pieces.decode(body)
        except UNREADABLE as error:
            return [Undecodable(str(error), excerpt(body))]
        return [self.decode_rest_book(bytes(piece), received) for piece in pieces]

    def _salvage(self, frame: bytes | str, received: Millis, reason: str) -> list[WireEvent]:
        """One bad message in an array must not cost the others: take them apart, where they can be taken apart."""
        try:
            pieces = self._pieces.decode(frame)
        except UNREADABLE:
            return [Undecodable(reason, excerpt(frame), self._about(frame))]
        return [self._piece(bytes(piece), received) for piece in pieces]

    def _piece(self, piece: bytes, received: Millis) -> WireEvent:
        try:
            return self._event(self._messages.decode(piece), received)
        except UNREADABLE as error:
            return Undecodable(str(error), excerpt(piece), self._about(piece))

    def _about(self, piece: bytes | str) -> tuple[MarketId, ...]:
        """The watched markets a message names; none where it names a token that is not, or cannot be read so far."""
        try:
            about = self._abouts.decode(piece)
        except UNREADABLE:
            return ()
        tokens = {about.asset_id, *(change.asset_id for change in about.price_changes)} - {""}
        places = [self.tokens.places.get(token) for token in tokens]
        return () if None in places else tuple(sorted({place[0] for place in places if place is not None}))

    def _event(self, message: Message, received: Millis) -> WireEvent:
        if type(message) is PriceChangeMessage:
            return self._levels(message, received)
        match message:
            case BookMessage():
                return self._book(message, received)
            case PriceChangeMessage():
                return self._levels(message, received)
            case LastTradeMessage():
                return self._trade(message, received)
            case TickSizeMessage():
                market, _ = self.tokens.find(message.asset_id)
                at = min(
                    self._at(message.timestamp, received), received
                )  # of the future it would outlast all that is listed
                return TickSizeChanged(at, received, market, _tick(message.new_tick_size))
            case BestBidAskMessage():
                return Ignored("best_bid_ask")
            case NewMarketMessage():
                tokens = tuple(TokenId(token) for token in message.assets_ids)
                return MarketAnnounced(slug=message.slug, condition_id=condition_of(message.market), tokens=tokens)
            case ResolvedMessage():
                market, winner = self.tokens.find(message.winning_asset_id)
                payout_up = Price(UNIT if winner is Outcome.UP else 0)
                return MarketResolved(self._at(message.timestamp, received), received, market, payout_up)

    def _book(self, message: BookMessage | RestBook, received: Millis) -> BookReplaced:
        market, outcome = self.tokens.find(message.asset_id)
        bid_prices, bid_sizes = self._side(message.bids)
        ask_prices, ask_sizes = self._side(message.asks)
        is_unheard_of = message.timestamp == "0" and not bid_prices and not ask_prices  # nobody has ever ordered
        at = received if is_unheard_of else self._at(message.timestamp, received)
        return BookReplaced(at, received, market, outcome, bid_prices, bid_sizes, ask_prices, ask_sizes)

    def _side(self, levels: list[WireLevel]) -> tuple[list[Price], list[Shares]]:
        """Prices ascending with their sizes, however served: the venue's own examples disagree on the order."""
        known_prices, known_sizes = self._prices, self._sizes
        prices = [known_prices[level.price] for level in levels]
        sizes = [known_sizes[level.size] for level in levels]
        if len(prices) > 1 and prices[0] > prices[-1]:
            prices.reverse()
            sizes.reverse()
        if not all(map(lt, prices, prices[1:])) or 0 in sizes:
            if len(set(prices)) != len(prices):
                raise BadInput("a price stands twice on one side of the book")
            # A level of size 0 is nothing standing there, whatever made the venue list it.
            standing = sorted((price, size) for price, size in zip(prices, sizes, strict=True) if size)
            return [price for price, _ in standing], [size for _, size in standing]
        return prices, sizes

    def _levels(self, message: PriceChangeMessage, received: Millis) -> LevelsChanged:
        """Most of what comes is this: no call is made for a number that was seen before."""
        places, prices, sizes, tops = self.tokens.places, self._prices, self._sizes, self._tops
        market, changes = None, []
        for change in message.price_changes:
            place = places.get(change.asset_id)
            if place is None:
                place = self.tokens.find(change.asset_id)  # says why not
            if market is None:
                market = place[0]
            elif place[0] != market:
                raise BadInput(f"one price_change for two markets, {market} and {place[0]}")
            bid, ask, size = tops[change.best_bid or ""], tops[change.best_ask or ""], sizes[change.size]
            changes.append(LevelChange(place[1], change.side, prices[change.price], size, bid, ask))
        if market is None:
            raise BadInput("a price_change without changes")
        return LevelsChanged(self._at(message.timestamp, received), received, market, changes)

    def _trade(self, message: LastTradeMessage, received: Millis) -> TradePrinted:
        market, outcome = self.tokens.find(message.asset_id)
        size = self._sizes[message.size]
        if not size:
            raise BadInput("a trade of size 0")
        price = self._prices[message.price]
        at, transaction = self._at(message.timestamp, received), message.transaction_hash[:TRANSACTION_MAX]
        return TradePrinted(at, received, market, outcome, message.side, price, size, transaction)

    def _at(self, timestamp: str, received: Millis) -> Millis:
        if timestamp:
            return millis(timestamp)
        self.untimed += 1
        return received


def _tick(text: str) -> Price:
    """A tick must divide 1, or no grid begins at it (the rule of `Market`)."""
    tick = price_units(text)
    if UNIT % tick:
        raise BadInput(f"tick size {text!r} does not divide 1")
    return tick


def excerpt(frame: bytes | str) -> str:
    """The beginning of a frame, fit for a log line."""
    start = frame[:EXCERPT_MAX]
    return start.decode("utf-8", "replace") if isinstance(start, bytes) else start.encode("utf-8", "replace").decode()
