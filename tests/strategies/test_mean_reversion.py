"""Mean reversion: buys the side that was left behind, and says why where it does not."""

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.strategies.mean_reversion import MeanReversion
from tests.strategies.views import Look


def swung(to: float, **parameters) -> Look:
    """Up swings between 48 and 52 cents for three minutes, and then jumps to `to`."""
    swings = [(150 + second, 48 if second % 2 else 52) for second in range(180)]
    return Look(MeanReversion, **parameters).mids(*swings, (330, to))


def test_far_above_its_mean_down_is_the_side_left_behind():
    signal = swung(62).ask()
    assert signal is not None
    assert signal.outcome is Outcome.DOWN
    assert signal.inputs["distance"] > 2
    mean, mid = signal.inputs["mean"], signal.inputs["mid"]
    assert mean == pytest.approx(0.50, abs=0.002)
    assert signal.fair_value == pytest.approx(1e6 * ((1 - mid) + 0.6 * (mid - mean)), abs=1)
    assert "deviations from its 180 s mean" in signal.reason


def test_far_below_it_is_up():
    signal = swung(38).ask()
    assert signal is not None
    assert signal.outcome is Outcome.UP


def test_near_the_mean_is_no_reason_to_trade():
    code, value, threshold = swung(53).passed()
    assert (code, threshold) == ("too_near_the_mean", 2.0)
    assert 0 < value < 2


def test_it_waits_for_two_minutes_and_before_the_last_four():
    assert swung(62).passed(119) == ("too_early", 119, 120)
    assert swung(62).passed(661) == ("too_late", 239, 240)


def test_it_has_too_little_data_before_its_window_is_half_full():
    assert Look(MeanReversion).mids((150, 50), (200, 60)).passed() == ("too_little_data", 0, 0)


def test_a_price_that_does_not_move_has_no_distance():
    still = Look(MeanReversion).mids(*((150 + second, 50) for second in range(180)))
    assert still.passed()[0] == "too_little_data"


def test_the_side_bought_may_cost_neither_too_little_nor_too_much():
    low = swung(62, price_min=0.45)
    assert low.passed() == ("price_out_of_range", 0.38, 0.45)
    high = swung(38, price_min=0.05, price_max=0.30)
    assert high.passed() == ("price_out_of_range", 0.38, 0.30)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"window_s": 9}, r"`\$\.window_s`"),
        ({"pull": 0}, r"`\$\.pull`"),
        ({"pull": "all"}, r"`\$\.pull`"),
        ({"windows_s": 60}, "unknown field `windows_s`"),
        ({"price_min": 0.6, "price_max": 0.5}, "price_min 0.6 is above price_max 0.5"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, words):
    with pytest.raises(BadInput, match=f"strategy mean_reversion: .*{words}"):
        MeanReversion.create(parameters)
