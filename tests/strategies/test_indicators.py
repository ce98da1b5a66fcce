"""Running figures against a slow recomputation from everything that ever happened, and their memory."""

import statistics
from collections.abc import Iterable, Sized

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.domain.events import TradePrinted
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.units import UNIT, Millis, notional_floor
from polybot.strategies.indicators import (
    SAMPLE_MS,
    MidDistance,
    MidMean,
    MidMove,
    VolumeBalance,
    VolumeRatio,
)
from tests.builders import book, one_sided, trade

MARKET = one_sided()
steps = st.lists(st.tuples(st.integers(0, 3_000), st.integers(2, 2 * UNIT - 2)), min_size=1, max_size=120)


def told(gaps: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """(time, twice the middle price), the times summed up from the gaps."""
    at, points = 0, []
    for gap, mid in gaps:
        at += gap
        points.append((at, mid))
    return points


def sampled(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first point, and then each that is at least SAMPLE_MS after the last that was kept."""
    kept: list[tuple[int, int]] = []
    for at, mid in points:
        if not kept or at - kept[-1][0] >= SAMPLE_MS:
            kept.append((at, mid))
    return kept


@given(steps, st.integers(1, 20))
def test_mid_move_is_the_price_now_less_the_last_sample_of_before_the_lookback(gaps, lookback_s):
    running, points = MidMove(lookback_s=lookback_s).start(), told(gaps)
    for number, (at, mid) in enumerate(points, start=1):
        running.on_mid(Millis(at), mid)
        before = [m for t, m in sampled(points[:number]) if t <= at - lookback_s * 1000]
        assert running.value == ((mid - before[-1]) / (2 * UNIT) if before else None)


@given(steps, st.integers(1, 20))
def test_mid_mean_is_the_mean_of_the_windows_samples_once_half_full(gaps, window_s):
    running, points = MidMean(window_s=window_s).start(), told(gaps)
    for number, (at, mid) in enumerate(points, start=1):
        running.on_mid(Millis(at), mid)
        window = [(t, m) for t, m in sampled(points[:number]) if t >= at - window_s * 1000]
        if 2 * (at - window[0][0]) < window_s * 1000:
            assert running.value is None
        else:
            assert running.value == pytest.approx(statistics.fmean(m for _, m in window) / (2 * UNIT), rel=1e-12)


@given(steps, st.integers(1, 20), st.sampled_from([0.001, 0.01, 0.2]))
def test_mid_distance_is_in_standard_deviations_of_the_windows_samples(gaps, window_s, deviation_min):
    running, points = MidDistance(window_s=window_s, deviation_min=deviation_min).start(), told(gaps)
    for number, (at, mid) in enumerate(points, start=1):
        running.on_mid(Millis(at), mid)
        window = [(t, m) for t, m in sampled(points[:number]) if t >= at - window_s * 1000]
        deviation = statistics.pstdev(m for _, m in window)
        if 2 * (at - window[0][0]) < window_s * 1000 or deviation < deviation_min * 2 * UNIT * 0.999:
            assert running.value is None
        elif running.value is not None:
            expected = (mid - statistics.fmean(m for _, m in window)) / deviation
            assert running.value == pytest.approx(expected, rel=1e-9, abs=1e-9)
        else:
            assert deviation == pytest.approx(deviation_min * 2 * UNIT, rel=2e-3)


prints = st.lists(
    st.tuples(
        st.integers(0, 2_000),
        st.sampled_from(list(Side)),
        st.sampled_from(list(Outcome)),
        st.integers(1, 99),
        st.integers(1, 1_000),
    ),
    min_size=1,
    max_size=80,
)


def printed(rows) -> list[TradePrinted]:
    at, trades = 0, []
    for gap, side, outcome, cents, size in rows:
        at += gap
        trades.append(trade(MARKET, at, side, outcome, f"0.{cents:02d}", f"{size}"))
    return trades


def in_steps(trades: list[TradePrinted]) -> list[list[tuple[int, TradePrinted]]]:
    """Trades in the steps they are added up in: a step begins SAMPLE_MS or more after the last one began."""
    steps: list[list[tuple[int, TradePrinted]]] = []
    for t in trades:
        if steps and t.received - steps[-1][0][0] < SAMPLE_MS:
            steps[-1].append((steps[-1][0][0], t))
        else:
            steps.append([(t.received, t)])
    return steps


def money_in(trades: list[TradePrinted], now: int, window_ms: int) -> tuple[int, int]:
    """All the money of the steps begun within the window, and what went for Up less what went for Down."""
    total = signed = 0
    for step in in_steps(trades):
        for began, t in step:
            if began > now - window_ms:
                amount = notional_floor(t.price, t.size)
                total += amount
                signed += amount if (t.side is Side.BUY) == (t.outcome is Outcome.UP) else -amount
    return total, signed


@given(prints, st.integers(1, 5), st.integers(1, 10))
def test_volume_ratio_is_money_per_second_now_against_usually(rows, short_s, more_s):
    long_s = short_s + more_s
    running, trades = VolumeRatio(short_s=short_s, long_s=long_s).start(), printed(rows)
    for number, t in enumerate(trades, start=1):
        running.on_trade(t)
        short, _ = money_in(trades[:number], t.received, short_s * 1000)
        usual, _ = money_in(trades[:number], t.received, long_s * 1000)
        if t.received - trades[0].received < long_s * 1000 or not usual:
            assert running.value is None
        else:
            assert running.value == pytest.approx((short / short_s) / (usual / long_s))


@given(prints, st.integers(1, 10), st.integers(0, 20_000))
def test_volume_balance_is_what_went_for_up_less_what_went_for_down(rows, window_s, quiet_ms):
    running, trades = VolumeBalance(window_s=window_s).start(), printed(rows)
    for number, t in enumerate(trades, start=1):
        running.on_trade(t)
        total, signed = money_in(trades[:number], t.received, window_s * 1000)
        assert running.value == pytest.approx(signed / total)
    later = trades[-1].received + quiet_ms  # and the books go on without trades
    running.on_mid(Millis(later), UNIT)
    total, signed = money_in(trades, later, window_s * 1000)
    assert running.value == (pytest.approx(signed / total) if total else None)


def test_memory_is_bounded_by_the_window_not_by_the_messages():
    """A thousand messages a second for a minute leave four samples a second of the window."""
    move, mean, distance = (s.start() for s in (MidMove(lookback_s=10), MidMean(window_s=10), MidDistance(window_s=10)))
    ratio, balance = VolumeRatio(short_s=2, long_s=10).start(), VolumeBalance(window_s=10).start()
    for at in range(60_000):
        for mid_figure in (move, mean, distance):
            mid_figure.on_mid(Millis(at), UNIT + at % 1000)
        if at % 10 == 0:
            for volume_figure in (ratio, balance):
                volume_figure.on_trade(trade(MARKET, at))
    kept: list[Sized] = [
        move._samples,
        mean._samples,
        distance._samples,
        ratio._short._steps,
        ratio._long._steps,
        balance._window._steps,
    ]
    assert [len(samples) for samples in kept] == [41, 40, 40, 8, 40, 40]


def test_a_gap_in_the_feed_empties_the_window():
    mean = MidMean(window_s=10).start()
    for at in range(0, 10_000, 500):
        mean.on_mid(Millis(at), UNIT)
    mean.on_mid(Millis(60_000), UNIT)
    assert mean.value is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: MidMove(lookback_s=0),
        lambda: MidMean(window_s=0),
        lambda: MidDistance(window_s=-1),
        lambda: VolumeRatio(short_s=0, long_s=5),
        lambda: VolumeBalance(window_s=0),
    ],
)
def test_a_window_without_a_length_is_refused(make):
    with pytest.raises(BadInput, match="at least 1 second"):
        make()


class TestSharing:
    def test_equal_specs_are_one_running_figure(self):
        state = MarketState(MARKET, [MidMove(lookback_s=60), MidMove(lookback_s=60), MidMove(lookback_s=30)])
        assert len(state._indicators) == 2

    def test_a_figure_nobody_declared_is_a_bug_and_says_so(self):
        with pytest.raises(KeyError):
            MarketState(MARKET, []).indicator(MidMove(lookback_s=60))

    def test_a_contradicted_book_moves_no_figure(self):
        spec = MidMove(lookback_s=1)
        state = MarketState(MARKET, [spec])
        for at in (0, 1_000):
            state.replace_book(book(MARKET, at))
        state.replace_book(book(MARKET, 2_000, bids=(("0.90", "1"),), asks=(("0.80", "1"),)))
        assert state.indicator(spec) == 0
