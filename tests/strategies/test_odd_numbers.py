"""A model that divides by nothing is a bug of its agent: it is stopped at the desk, before the journal."""

import math

import pytest

from polybot.desk.state import MissRank, Tally
from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.domain.signal import Signal
from polybot.domain.units import Price

ODD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", ODD)
def test_a_signal_with_an_odd_input_is_refused_by_name(number):
    with pytest.raises(BadInput, match="move"):
        Signal(outcome=Outcome.UP, fair_value=Price(600_000), reason="r", inputs={"move": number})


@pytest.mark.parametrize("number", ODD)
@pytest.mark.parametrize("place", [0, 1])
def test_a_pass_with_an_odd_number_is_refused(number, place):
    value, threshold = (number, 2.0) if place == 0 else (1.0, number)
    with pytest.raises(BadInput, match="finite"):
        Tally().miss(MissRank.OPINION, "odd", value, threshold)


def test_a_fair_value_in_whole_dollars_is_refused_with_the_unit():
    with pytest.raises(BadInput, match="millionths"):
        Signal(outcome=Outcome.UP, fair_value=0.9, reason="r")  # type: ignore[arg-type]
