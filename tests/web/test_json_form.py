"""What goes out can be read back whole, and what is no status is refused."""

import json

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.units import Millis
from polybot.floor.status import FloorStatus, TradeLine
from polybot.web.json_form import from_json, to_json, to_plain, utc_text
from tests.web.fake_floor import PAUSE, START, a_market, a_status, a_trade, an_agent, money


@pytest.mark.parametrize(
    "status",
    [
        a_status(),
        a_status(fit=False, reasons=("journal full",), paused=(PAUSE,), market_time=None, events_total=None),
        a_status(agents=(), markets=(a_market(), a_market()), exposure_max=None, equity=money("-0.000001")),
        a_status(agents=(an_agent(last_reason='<b>"\u2028\x1b[31m'),)),
    ],
)
def test_a_status_comes_back_as_it_went_out(status: FloorStatus):
    assert from_json(to_json(to_plain(status)), FloorStatus) == status


def test_amounts_are_decimal_text_and_instants_are_both_text_and_milliseconds():
    plain = to_plain(a_trade(pnl=money("-20.67"), at=Millis(START + 7)))
    assert plain["price"] == "0.52"
    assert plain["fees"] == "0.6719"
    assert plain["pnl"] == "-20.67"
    assert plain["outcome"] == "UP"
    assert plain["at"] == "2026-09-28T09:00:00.007Z"
    assert plain["at_ms"] == START + 7


def test_no_float_stands_for_money_anywhere():
    def floats(value, path=""):
        if isinstance(value, dict):
            return [found for name, inner in value.items() for found in floats(inner, name)]
        if isinstance(value, list):
            return [found for inner in value for found in floats(inner, path)]
        return [path] if isinstance(value, float) else []

    spans, ratios = {"last_beat_age_s", "seconds_left", "longest_stall_s", "stalled_s"}, {"win_rate", "error_rate"}
    assert set(floats(to_plain(a_status()))) == spans | ratios


def test_an_instant_before_1970_is_still_exact():
    assert utc_text(-1) == "1969-12-31T23:59:59.999Z"


def test_a_field_of_a_newer_floor_is_ignored():
    plain = to_plain(a_trade()) | {"mood": "hopeful"}
    assert from_json(json.dumps(plain).encode(), TradeLine) == a_trade()


@pytest.mark.parametrize(
    "change",
    [
        {"fees": 0.67},
        {"fees": "a lot"},
        {"outcome": "SIDEWAYS"},
        {"at_ms": "yesterday"},
        {"agent": 7},
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_bad_input(change):
    with pytest.raises(BadInput):
        from_json(json.dumps(to_plain(a_trade()) | change).encode(), TradeLine)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"null", b'"text"', b"\xff"])
def test_what_is_no_object_of_ours_is_bad_input(content):
    with pytest.raises(BadInput, match="TradeLine"):
        from_json(content, TradeLine)
