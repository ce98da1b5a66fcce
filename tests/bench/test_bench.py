"""What the bench counts and feeds is what it says; what it measures is nobody's promise here."""

from polybot.bench.live import make_frames
from polybot.bench.replay import count_changes, run_replay
from polybot.domain.events import BookReplaced, LevelsChanged
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Price, Shares
from polybot.settings import load_settings
from polybot.venue.polymarket.wire import MarketDecoder, Tokens


def snapshot(bids: dict[int, int], asks: dict[int, int]) -> BookReplaced:
    return BookReplaced(
        Millis(1),
        Millis(1),
        MarketId("m"),
        Outcome.UP,
        [Price(p) for p in bids],
        [Shares(s) for s in bids.values()],
        [Price(p) for p in asks],
        [Shares(s) for s in asks.values()],
    )


def test_a_snapshot_counts_the_levels_that_differ_from_the_one_before() -> None:
    first = snapshot({40: 1, 50: 2}, {60: 3})
    second = snapshot({40: 1, 50: 5}, {70: 3})  # one size changed, one level gone, one new
    assert count_changes([first]) == (1, 3)
    assert count_changes([first, second]) == (2, 3 + 3)


def test_the_replay_bench_plays_the_whole_tape_with_orders() -> None:
    run = run_replay(load_settings())
    assert (run.messages, run.changes) == (25_256, 489_363)
    assert run.orders > 10


def test_the_live_frames_are_the_venues_own_shape_and_leave_a_verified_book() -> None:
    from polybot.bench.live import token_of
    from polybot.domain.events import MarketListed
    from polybot.domain.markets import Markets

    markets, frames = make_frames(load_settings())
    tokens, board = Tokens(), Markets()
    for market in markets:
        board.apply(MarketListed(Millis(0), Millis(0), market))
        for outcome in Outcome:
            tokens.put(token_of(market, outcome), market.id, outcome)
    decoder = MarketDecoder(tokens)
    for at, frame in frames:
        for event in decoder.decode(frame, Millis(at)):
            assert isinstance(event, BookReplaced | LevelsChanged)
            board.apply(event)
    assert len(markets) == 4
    assert {book.state.value for state in board.by_id.values() for book in state.books} == {"verified"}
