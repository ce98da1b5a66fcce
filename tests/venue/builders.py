"""A paper venue on a bench: one market, its books, a hand on the clock, and every answer it gave, in order."""

from collections.abc import Mapping
from typing import Any, TypeVar

from polybot.domain.book import BookState
from polybot.domain.events import (
    BookReplaced,
    FillMatched,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    OrderClosed,
    OrderRejected,
    TickSizeChanged,
    TradePrinted,
    VenueReply,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import AgentId, ConditionId, MarketId, OrderId, SeriesId, order_id
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.markets import Markets, MarketState
from polybot.domain.order import OrderIntent, Proof, TimeInForce
from polybot.domain.units import Millis, Money, Price, Shares, parse_units
from polybot.venue.fill_models import VenueModel
from polybot.venue.matching import Simulator, SimulatorState, new_simulator_state

START = Millis(1_790_586_000_000)
WINDOW_MS = 900_000
DELAY_MS = 150
LATENCY_MS = 10
CONFIRM_MS = 3_000
FEES = FeeSchedule(rate=70_000, rebate_rate=200_000)
MARKET = MarketId("btc-updown-15m-1790586000")
AGENT = AgentId("tester")
STEADY = VenueModel(latency_median_ms=LATENCY_MS, latency_spread=0.0, confirm_ms=CONFIRM_MS)
"""Every message takes 10 ms, every fill is confirmed after 3 s."""

UP, DOWN = Outcome.UP, Outcome.DOWN
BUY, SELL = Side.BUY, Side.SELL
FOK, FAK, GTC, GTD = TimeInForce.FOK, TimeInForce.FAK, TimeInForce.GTC, TimeInForce.GTD

Reply = TypeVar("Reply", bound=VenueReply)
Levels = Mapping[str, str]


def money(text: str) -> Money:
    return Money(parse_units(text))


def price(text: str) -> Price:
    return Price(parse_units(text))


def shares(text: str) -> Shares:
    return Shares(parse_units(text))


def a_market(**changes: Any) -> Market:
    terms: dict[str, Any] = {
        "id": MARKET,
        "condition_id": ConditionId("0x01"),
        "series": SeriesId("BTC-15m"),
        "asset": "BTC",
        "window_start": START,
        "window_end": Millis(START + WINDOW_MS),
        "tick": price("0.01"),
        "size_min": shares("5"),
        "fees": FEES,
        "taker_delay_ms": DELAY_MS,
        "rule_set": "chainlink-twap60-2026-08-07",
        "quoted": (Outcome.UP,),
    }
    return Market(**(terms | changes))


def an_intent(
    number: int,
    *,
    limit: Price,
    size: Shares,
    at: Millis = START,
    outcome: Outcome = UP,
    side: Side = BUY,
    tif: TimeInForce = FAK,
    post_only: bool = False,
    expires_at: Millis | None = None,
    market: MarketId = MARKET,
    fees: FeeSchedule = FEES,
    agent: AgentId = AGENT,
) -> OrderIntent:
    """An order as a gate would have let it through; only its terms matter to a venue."""
    proof = Proof(
        event_seq=1,
        book_state=BookState.VERIFIED,
        book_age_ms=0,
        book_age_ms_max=5_000,
        best_bid=None,
        best_ask=None,
        depth=Shares(0),
        fee_fingerprint=fees.fingerprint,
        rule_set="chainlink-twap60-2026-08-07",
        capital_base=Money(0),
        agent_exposure=Money(0),
        floor_exposure=Money(0),
    )
    return OrderIntent(
        id=order_id(agent, number),
        agent=agent,
        market=market,
        outcome=outcome,
        side=side,
        limit=limit,
        shares=size,
        time_in_force=tif,
        post_only=post_only,
        cost_max=fees.buy_cost_max(limit, size) if side is BUY else Money(0),
        decided_at=at,
        fair_value=limit,
        reason="a test",
        inputs={},
        proof=proof,
        expires_at=expires_at,
    )


def split(levels: Levels) -> tuple[list[Price], list[Shares]]:
    """The two parallel ascending lists a book event carries."""
    ascending = sorted((price(at), shares(size)) for at, size in levels.items())
    return [at for at, _ in ascending], [size for _, size in ascending]


class Bench:
    """`place`, `cancel` and the market's moves happen at the bench's clock; `wait` moves it. Amounts are text."""

    def __init__(self, market: Market | None = None, *, cash: str = "1000", model: VenueModel = STEADY) -> None:
        self.market = market or a_market()
        self.markets = Markets()
        self.venue = Simulator(model, self.markets.by_id, new_simulator_state(money(cash)))
        self.now = START
        self.replies: list[VenueReply] = []
        self.orders = 0
        self.happens(MarketListed(at=START, received=START, market=self.market))

    # -- the market moves ---------------------------------------------------------------------------------------------

    def happens(self, event: MarketEvent) -> list[VenueReply]:
        """What the floor does with an event: first what is due, then the books, then the venue's look at them."""
        due = self.venue.advance(event.received)
        state = self.markets.apply(event)
        return self._heard([*due, *self.venue.observe(event, state)])

    def book(self, bids: Levels, asks: Levels, outcome: Outcome = UP) -> list[VenueReply]:
        event = BookReplaced(self.now, self.now, self.market.id, outcome, *split(bids), *split(asks))
        return self.happens(event)

    def level(self, side: Side, at: str, size: str, outcome: Outcome = UP, **top: Price | None) -> list[VenueReply]:
        """One level's new size; no best prices served unless given."""
        change = LevelChange(outcome, side, price(at), shares(size), **top)
        return self.happens(LevelsChanged(self.now, self.now, self.market.id, [change]))

    def trade(self, side: Side, at: str, size: str, outcome: Outcome = UP) -> list[VenueReply]:
        return self.happens(TradePrinted(self.now, self.now, self.market.id, outcome, side, price(at), shares(size)))

    def tick(self, tick: str) -> None:
        self.happens(TickSizeChanged(self.now, self.now, self.market.id, price(tick)))

    def resolve(self, payout_up: str) -> list[VenueReply]:
        return self.happens(MarketResolved(self.now, self.now, self.market.id, price(payout_up)))

    def wait(self, span_ms: int) -> list[VenueReply]:
        self.now = Millis(self.now + span_ms)
        return self._heard(self.venue.advance(self.now))

    def wait_until(self, moment: int) -> list[VenueReply]:
        return self.wait(max(0, moment - self.now))

    # -- we act -------------------------------------------------------------------------------------------------------

    def place(self, limit: str, size: str, **asked: Any) -> OrderId:
        """Send an order off; it arrives 10 ms later."""
        self.orders += 1
        terms: dict[str, Any] = {"at": self.now, "market": self.market.id, "fees": self.market.fees} | asked
        intent = an_intent(self.orders, limit=price(limit), size=shares(size), **terms)
        self.venue.submit(intent, self.now)
        return intent.id

    def take(self, limit: str, size: str, **terms: Any) -> OrderId:
        """Send an order off and wait until it was matched."""
        order = self.place(limit, size, **terms)
        self.wait(LATENCY_MS + self.market.taker_delay_ms)
        return order

    def rest(self, limit: str, size: str, **terms: Any) -> OrderId:
        """Send a resting order off and wait until it stands in the book."""
        return self.take(limit, size, **({"tif": GTC} | terms))

    def cancel(self, order: OrderId) -> None:
        self.venue.cancel(order, self.now)

    # -- what came of it ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> SimulatorState:
        return self.venue.state

    @property
    def market_state(self) -> MarketState:
        return self.markets.by_id[self.market.id]

    @property
    def spent(self) -> int:
        return money("1000") - self.state.account.cash

    def answers(self, order: OrderId, kind: type[Reply]) -> list[Reply]:
        """The replies of one kind about an order."""
        return [reply for reply in self.replies if isinstance(reply, kind) and reply.order == order]

    def fills(self, order: OrderId) -> list[tuple[str, str]]:
        """(price, shares) of an order's fills, as text."""
        return [(_text(fill.price), _text(fill.shares)) for fill in self.answers(order, FillMatched)]

    def end(self, order: OrderId) -> str | None:
        """Why the order was closed, or the venue's words if it was refused, or None while it is open."""
        closed, refused = self.answers(order, OrderClosed), self.answers(order, OrderRejected)
        assert len(closed) + len(refused) <= 1
        return closed[0].reason.value if closed else refused[0].text if refused else None

    def _heard(self, replies: list[VenueReply]) -> list[VenueReply]:
        self.replies += replies
        return replies


def _text(value: int) -> str:
    whole, fraction = divmod(value, 1_000_000)
    return f"{whole}.{fraction:06d}".rstrip("0").rstrip(".")


def listed(*markets: Market) -> Markets:
    found = Markets()
    for market in markets:
        found.apply(MarketListed(at=START, received=START, market=market))
    return found
