"""Momentum: buys the way the price went, and says why where it does not."""

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT
from polybot.strategies.base import OPINION_RANK, WAITING_RANK
from polybot.strategies.momentum import Momentum
from tests.strategies.views import Look


def look(**parameters) -> Look:
    return Look(Momentum, **parameters)


def moved(to: float, **parameters) -> Look:
    """Up stood at 50 cents for a minute and is now at `to`, two minutes into the window."""
    return look(**parameters).mids((60, 50), (120, to))


def test_a_rise_makes_up_worth_its_price_and_half_the_move():
    signal = moved(60).ask()
    assert signal is not None
    assert (signal.outcome, signal.fair_value) == (Outcome.UP, 650_000)
    assert signal.reason == "Up moved +0.100 in 60 s to 0.600; UP is worth 0.650"
    assert signal.inputs == {"move": 0.1, "mid": 0.6}


def test_a_fall_makes_down_worth_as_much():
    signal = moved(40).ask()
    assert signal is not None
    assert (signal.outcome, signal.fair_value) == (Outcome.DOWN, 650_000)


def test_a_move_of_just_what_counts_counts():
    assert moved(58).ask() is not None
    assert moved(57).passed() == ("move_too_small", 0.07, 0.08)


def test_a_move_older_than_the_lookback_is_no_move():
    assert moved(60).mid(185, 60).passed() == ("move_too_small", 0.0, 0.08)


def test_it_waits_for_the_first_minute_and_the_last_two():
    assert moved(60).passed(59) == ("too_early", 59, 60)
    assert moved(60).passed(781) == ("too_late", 119, 120)
    watching = moved(60)
    watching.passed(59)
    assert watching.view.pass_rank == WAITING_RANK


def test_it_has_too_little_data_before_a_whole_lookback():
    assert look().mids((61, 50), (120, 60)).passed() == ("too_little_data", 0, 0)


def test_it_has_too_little_data_while_a_side_of_the_book_is_empty():
    assert moved(60).empty(121).passed()[0] == "too_little_data"


def test_it_does_not_chase_what_is_dear_already():
    dear = look().mids((60, 80), (120, 95))
    assert dear.passed() == ("price_too_high", 0.95, 0.9)
    assert dear.view.pass_rank == OPINION_RANK


def test_nothing_is_ever_thought_certain():
    signal = look(price_max=0.98, carry=2).mids((60, 80), (120, 97)).ask()
    assert signal is not None
    assert signal.fair_value == 0.99 * UNIT


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"lookback": 60}, "unknown field `lookback`"),
        ({"lookback_s": 0}, r"`int` >= 1 - at `\$\.lookback_s`"),
        ({"lookback_s": "60"}, r"Expected `int`, got `str` - at `\$\.lookback_s`"),
        ({"move_min": 1.0}, r"`\$\.move_min`"),
        ({"price_max": 1.5}, r"`\$\.price_max`"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, words):
    with pytest.raises(BadInput, match=f"strategy momentum: .*{words}"):
        Momentum.create(parameters)
