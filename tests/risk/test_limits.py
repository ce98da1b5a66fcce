"""The owner's limits: the brief's numbers are the defaults, and nonsense is refused by name."""

import pytest

from polybot.domain.errors import BadInput
from polybot.risk.limits import Limits


def test_the_defaults_are_the_numbers_of_the_brief():
    limits = Limits()
    assert (limits.order_capital_share, limits.agent_capital_share, limits.floor_capital_share) == (
        20_000,
        100_000,
        400_000,
    )
    assert (limits.daily_loss_share, limits.daily_drawdown_share) == (100_000, 150_000)
    assert (limits.loss_streak_max, limits.call_failure_share_max) == (5, 100_000)


@pytest.mark.parametrize("name", [name for name in Limits.__struct_fields__ if "_share" in name])
@pytest.mark.parametrize("share", [0, -1, 1_000_001])
def test_a_share_of_capital_lies_between_0_and_1_and_the_error_names_it(name, share):
    with pytest.raises(BadInput, match=name):
        Limits(**{name: share})


def test_an_order_may_not_be_allowed_more_than_its_agent():
    with pytest.raises(BadInput, match="must widen"):
        Limits(order_capital_share=200_000)


def test_an_agent_may_not_be_allowed_more_than_the_floor():
    with pytest.raises(BadInput, match="must widen"):
        Limits(agent_capital_share=500_000)


@pytest.mark.parametrize(
    "name", ["loss_streak_max", "call_failure_calls_min", "book_age_ms_max", "book_unchanged_ms_max"]
)
def test_a_count_is_at_least_1(name):
    with pytest.raises(BadInput, match=name):
        Limits(**{name: 0})  # type: ignore[arg-type]


def test_no_setting_lets_a_book_of_more_than_a_minute_be_traded_on():
    assert Limits(book_age_ms_max=60_000).book_age_ms_max == 60_000
    with pytest.raises(BadInput, match="at most 60000"):
        Limits(book_age_ms_max=60_001)
