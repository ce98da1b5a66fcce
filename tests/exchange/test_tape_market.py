"""Recorded windows played on the present grid: listed ahead, caught up with, closed, settled, forgotten."""

import random

from polybot.domain.events import MarketEvent
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Money
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Address, Rules
from polybot.exchange.core.news import MarketClosed, MarketOpened, MarketSettled, TickMoved, TradeShown
from polybot.exchange.recorded import RecordedWindow
from polybot.exchange.tape_market import MarketTerms, TapeMarket
from polybot.exchange.timetable import plan_series
from tests.exchange.tapes import (
    CENT,
    FRAME_MS,
    PRESENT_START,
    book,
    level,
    plain_windows,
    recorded_market,
    tick,
    trade,
    window,
)

SLUG = MarketId(f"btc-updown-15m-{PRESENT_START // 1000}")
CLIENT = Address("0x" + "11" * 20)


class Bench:
    def __init__(self, windows: list[RecordedWindow], at: int = -60_000, **terms: object) -> None:
        self.engine = Engine(Rules(), random.Random(1))
        self.now = Millis(PRESENT_START + at)
        plans = plan_series(windows, ["BTC"])
        self.market = TapeMarket(self.engine, plans, self.now, MarketTerms(**terms))  # type: ignore[arg-type]

    def play_until(self, offset_ms: int) -> None:
        """To so long after the window's start, in steps of ten seconds."""
        while self.now < PRESENT_START + offset_ms:
            self.now = Millis(min(self.now + 10_000, PRESENT_START + offset_ms))
            self.engine.advance(self.now)
            self.market.step(self.now)

    def top(self) -> tuple[int | None, int | None]:
        bids, asks = self.engine.book_of(SLUG, Outcome.UP)
        return (bids[-1][0] // CENT if bids else None, asks[0][0] // CENT if asks else None)


def test_windows_are_listed_ahead_and_announced() -> None:
    bench = Bench(plain_windows(), listed_ahead=3)
    opened = [news.listing.market.window_start for news in bench.engine.take_news() if isinstance(news, MarketOpened)]
    assert opened == [PRESENT_START + number * FRAME_MS for number in (-1, 0, 1, 2)]


def test_the_next_window_is_listed_when_one_begins() -> None:
    bench = Bench(plain_windows(), listed_ahead=1)
    bench.engine.take_news()
    bench.play_until(0)
    opened = [news.listing.market.window_start for news in bench.engine.take_news() if isinstance(news, MarketOpened)]
    assert opened == [PRESENT_START + FRAME_MS]


def test_recorded_books_come_at_their_time_of_the_window() -> None:
    bench = Bench(plain_windows())
    assert bench.top() == (45, 55)
    bench.play_until(299_000)
    assert bench.top() == (45, 55)
    bench.play_until(300_000)
    assert bench.top() == (60, 62)


def test_joining_a_window_under_way_shows_its_book_as_it_stands() -> None:
    market = recorded_market()
    events: list[MarketEvent] = [
        book(market, 0, 40, 60),
        book(market, 10_000, 45, 55),
        level(market, 20_000, Side.BUY, 46, 10),
    ]
    bench = Bench([window(market, events, up_wins=True)], at=30_000)
    assert bench.top() == (46, 55)


def test_the_downs_book_is_the_mirror_of_the_ups() -> None:
    bench = Bench(plain_windows())
    bench.play_until(300_000)
    bids, asks = bench.engine.book_of(SLUG, Outcome.DOWN)
    assert (bids[-1][0], asks[0][0]) == (38 * CENT, 40 * CENT)


def test_a_recording_of_the_down_token_alone_is_played_as_well() -> None:
    market = recorded_market(quoted=(Outcome.DOWN,))
    bench = Bench([window(market, [book(market, 0, 30, 33, Outcome.DOWN)], up_wins=True)], at=1_000)
    assert bench.top() == (67, 70)


def test_recorded_trades_and_tick_changes_are_played() -> None:
    market = recorded_market()
    events: list[MarketEvent] = [
        book(market, 0, 45, 55),
        trade(market, 5_000, Side.SELL, 45, 7),
        tick(market, 6_000, 1_000),
    ]
    bench = Bench([window(market, events, up_wins=True)])
    bench.play_until(10_000)
    news = bench.engine.take_news()
    assert [one.shares for one in news if isinstance(one, TradeShown) and one.market == SLUG] == [7 * UNIT]
    assert [one.new for one in news if isinstance(one, TickMoved) and one.market == SLUG] == [1_000]
    assert bench.engine.board(SLUG).tick == 1_000


def test_a_crossed_recording_is_left_out() -> None:
    market = recorded_market()
    bench = Bench([window(market, [book(market, 0, 45, 55), book(market, 5_000, 60, 58)], up_wins=True)])
    bench.play_until(10_000)
    assert bench.top() == (45, 55)


def test_a_market_closes_at_its_end_and_is_settled_20_to_90_seconds_later_with_the_recorded_payout() -> None:
    bench = Bench(plain_windows(1))
    bench.play_until(FRAME_MS + 100_000)
    news = bench.engine.take_news()
    closed = [one.at for one in news if isinstance(one, MarketClosed) and one.market == SLUG]
    settled = [one for one in news if isinstance(one, MarketSettled) and one.market == SLUG]
    assert closed == [PRESENT_START + FRAME_MS]
    assert 20_000 <= settled[0].at - (PRESENT_START + FRAME_MS) <= 100_000
    assert settled[0].payout_up == UNIT


def test_settlements_can_be_held_back() -> None:
    bench = Bench(plain_windows(1), settlements_held=True)
    bench.play_until(FRAME_MS + 100_000)
    assert bench.engine.board(SLUG).payout_up is None


def test_windows_follow_each_other_for_hours_from_two_recordings() -> None:
    bench = Bench(plain_windows(2), listed_ahead=1)
    bench.engine.take_news()
    bench.play_until(12 * FRAME_MS + 100_000)
    settled = [one.payout_up for one in bench.engine.take_news() if isinstance(one, MarketSettled)]
    assert len(settled) == 13
    assert settled[1:] in ([UNIT, 0] * 6, [0, UNIT] * 6)


def test_old_windows_are_forgotten_but_not_those_whose_shares_a_client_holds() -> None:
    bench = Bench(plain_windows(1), listed_ahead=1, kept=1)
    bench.engine.deposit(CLIENT, Money(10 * UNIT))
    bench.engine.split(CLIENT, SLUG, Money(UNIT), bench.now)
    bench.play_until(5 * FRAME_MS)
    assert SLUG in bench.market.windows
    assert len(bench.market.windows) <= 5


def test_after_a_long_sleep_play_goes_on_with_the_present_window() -> None:
    bench = Bench(plain_windows(2), listed_ahead=1)
    bench.now = Millis(PRESENT_START + 100 * FRAME_MS)
    bench.engine.advance(bench.now)
    bench.market.step(bench.now)
    starts = [w.start for w in bench.market.windows.values()]
    assert max(starts) == bench.now + FRAME_MS
    assert len(starts) < 8


def test_it_says_when_it_has_something_to_do_next() -> None:
    bench = Bench(plain_windows())
    assert bench.market.next_due(bench.now) == PRESENT_START
    bench.play_until(1_000)
    assert bench.market.next_due(bench.now) <= PRESENT_START + 300_000
