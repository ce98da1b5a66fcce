"""Which recording is played when, and under which ids."""

import pytest
from polymarket._internal.protocol import decode_v2_outcome_position_id, is_v2_position_id

from polybot.domain.errors import BadInput
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis
from polybot.exchange.timetable import SeriesPlan, identity, plan_series
from tests.exchange.tapes import FRAME_MS, PRESENT_START, plain_windows


def test_a_series_goes_round_its_recordings_and_the_same_minute_always_plays_the_same() -> None:
    (plan,) = plan_series(plain_windows(3), ["BTC"])
    starts = [Millis(PRESENT_START + number * FRAME_MS) for number in range(4)]
    played = [plan.recording(start).market.id for start in starts]
    assert len(set(played[:3])) == 3
    assert played[3] == played[0]


def test_a_market_has_the_recordings_terms_in_the_present_window() -> None:
    (plan,) = plan_series(plain_windows(1), ["BTC"])
    market = plan.market(PRESENT_START)
    recorded = plan.recording(PRESENT_START).market
    assert market.id == f"btc-updown-15m-{PRESENT_START // 1000}"
    assert (market.window_start, market.window_end) == (PRESENT_START, PRESENT_START + FRAME_MS)
    assert (market.fees, market.tick, market.rule_set) == (recorded.fees, recorded.tick, recorded.rule_set)


def test_a_series_without_recordings_borrows_others_which_are_not_shown_at_the_same_time() -> None:
    btc, eth = plan_series(plain_windows(12), ["BTC", "ETH"])
    market = eth.market(PRESENT_START)
    assert (market.asset, market.series) == ("ETH", "ETH-15m")
    assert eth.recording(PRESENT_START).market.id != btc.recording(PRESENT_START).market.id
    assert market.tokens != btc.market(PRESENT_START).tokens


def test_a_series_with_recordings_of_its_own_plays_only_those() -> None:
    btc, eth = plan_series([*plain_windows(2), *plain_windows(1, asset="ETH")], ["BTC", "ETH"])
    assert {w.market.asset for w in btc.windows} == {"BTC"}
    assert {w.market.asset for w in eth.windows} == {"ETH"}


def test_ids_of_protocol_v2_are_recognised_as_such_by_the_official_client_and_lead_to_their_condition() -> None:
    condition, tokens = identity(MarketId("btc-updown-15m-1"), "v2")
    decoded = [decode_v2_outcome_position_id(token) for token in tokens]
    assert [one.outcome_index for one in decoded] == [0, 1]
    assert {str(one.condition_id) + "00" for one in decoded} == {condition}


def test_ids_of_protocol_v1_are_not_taken_for_v2() -> None:
    condition, tokens = identity(MarketId("btc-updown-15m-1"), "v1")
    assert len(condition) == 66
    assert not any(is_v2_position_id(token) for token in tokens)


def test_with_both_versions_windows_take_turns() -> None:
    (plan,) = plan_series(plain_windows(1), ["BTC"], version="both")
    versions = [plan.market(Millis(PRESENT_START + n * FRAME_MS)).version for n in range(3)]
    assert versions in (["v1", "v2", "v1"], ["v2", "v1", "v2"])


def test_a_tape_without_windows_of_the_length_is_refused_with_the_remedy() -> None:
    with pytest.raises(BadInput, match="choose a tape"):
        plan_series(plain_windows(1), ["BTC"], frame_ms=300_000)


def test_a_current_window_begins_on_the_grid() -> None:
    (plan,) = plan_series(plain_windows(1), ["BTC"])
    assert isinstance(plan, SeriesPlan)
    assert plan.current_start(Millis(PRESENT_START + 1)) == PRESENT_START
