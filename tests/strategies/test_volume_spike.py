"""Volume spike: follows much more money than usual going one way, and says why where it does not."""

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.strategies.base import Wake
from polybot.strategies.volume_spike import VolumeSpike
from tests.strategies.views import Look


def usual(**parameters) -> Look:
    """A dollar traded every second for two minutes, in turns for Up and for Down."""
    look = Look(VolumeSpike, **parameters).mid(0, 50)
    for second in range(125):
        look.trade(second, "2", up=second % 2 == 0)
    return look


def test_a_spike_for_up_is_followed():
    signal = usual().trade(125, "200").ask()
    assert signal is not None
    assert signal.outcome is Outcome.UP
    ratio, balance = signal.inputs["ratio"], signal.inputs["balance"]
    assert ratio > 3
    assert balance == pytest.approx((100 - 1) / (100 + 9), abs=0.02)
    assert signal.fair_value == pytest.approx(1e6 * (0.5 + 0.06 * balance), abs=1)
    assert "times the usual volume in 10 s" in signal.reason


def test_so_is_one_for_down():
    signal = usual().trade(125, "200", up=False).ask()
    assert signal is not None
    assert signal.outcome is Outcome.DOWN


def test_without_trade_prints_it_says_so():
    assert Look(VolumeSpike).mid(60, 50).passed() == ("no_trade_prints", 0, 1)


def test_usual_volume_is_no_spike():
    code, value, threshold = usual().passed()
    assert (code, threshold) == ("volume_usual", 3.0)
    assert value == pytest.approx(1.0, abs=0.05)


def test_a_spike_both_ways_is_no_opinion():
    code, value, threshold = usual().trade(125, "100").trade(125.5, "100", up=False).passed()
    assert (code, threshold) == ("volume_two_sided", 0.6)
    assert value < 0.1


def test_it_has_too_little_data_before_its_long_window_has_passed():
    assert Look(VolumeSpike).mid(0, 50).trade(5, "200").passed() == ("too_little_data", 0, 0)


def test_it_stays_out_of_the_last_minute_and_of_what_is_dear():
    assert usual().trade(125, "200").passed(841) == ("too_late", 59, 60)
    assert usual().trade(125, "200").mid(125.5, 92).passed() == ("price_too_high", 0.92, 0.9)


def test_it_is_woken_by_trades_as_well_as_books():
    assert VolumeSpike.wakes == Wake.BOOK | Wake.TRADE


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"short_s": 0}, r"`\$\.short_s`"),
        ({"ratio_min": 1.0}, r"`\$\.ratio_min`"),
        ({"carry": 0.5}, r"`\$\.carry`"),
        ({"ratio": 4}, "unknown field `ratio`"),
        ({"short_s": 120, "long_s": 120}, "short_s 120 is not shorter than long_s 120"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, words):
    with pytest.raises(BadInput, match=f"strategy volume_spike: .*{words}"):
        VolumeSpike.create(parameters)
