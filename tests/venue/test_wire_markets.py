"""Gamma's markets: read whole or refused with the reason; the resolved example is polymarket.md 2.2's."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.market import Market
from polybot.venue.polymarket.wire_markets import MarketRefused, market_from_gamma, markets_from_gamma

RECORDED = Path(__file__).resolve().parents[2].parent / "shared/data/gamma/updown_15m_2026-03-11.jsonl.gz"
GAMMA: dict[str, Any] = {
    "slug": "btc-updown-15m-1790616600",
    "version": "v1",
    "conditionId": "0xfb85",
    "outcomes": '["Up", "Down"]',
    "clobTokenIds": '["7270", "7284"]',
    "eventStartTime": "2026-09-28T17:30:00Z",
    "endDate": "2026-09-28T17:45:00Z",
    "orderMinSize": 5,
    "orderPriceMinTickSize": 0.001,
    "enableOrderBook": True,
    "negRisk": False,
    "feesEnabled": True,
    "feeType": "crypto_fees_v2",
    "feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2},
    "cryptoMarketConfig": {
        "id": "btc-15m-twap-60",
        "asset": "btc",
        "duration": "15m",
        "twapEnabled": True,
        "twapLookbackSeconds": 60,
    },
}


def read(**changes) -> Any:
    served = {key: value for key, value in {**GAMMA, **changes}.items() if value != "absent"}
    return market_from_gamma(json.dumps(served).encode(), taker_delay_ms=150)


def test_a_market_is_read_with_its_own_terms():
    market = read()
    assert (market.series, market.asset, market.tick, market.size_min) == ("BTC-15m", "BTC", 1_000, 5_000_000)
    assert (market.window_start, market.window_end) == (1_790_616_600_000, 1_790_617_500_000)
    assert market.fees == FeeSchedule(rate=70_000, exponent=1, rebate_rate=200_000)
    assert market.tokens == ("7270", "7284")
    assert (market.rule_set, market.taker_delay_ms) == ("chainlink-twap60-2026-08-07", 150)


def test_the_version_says_which_ids_hold():
    assert read(version="v2", positionIds=["11", "22"]).tokens == ("11", "22")


def test_a_market_without_fees_has_none():
    assert read(feesEnabled=False, feeSchedule="absent").fees == NO_FEES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": "v3"}, "protocol version 'v3' is unknown"),
        ({"feeSchedule": None}, "comes without a fee schedule"),
        ({"feeSchedule": {**GAMMA["feeSchedule"], "exponent": 9}}, "exponent 9 is unknown"),
        ({"feeSchedule": {**GAMMA["feeSchedule"], "takerOnly": False}}, "charges makers"),
        ({"feeSchedule": {**GAMMA["feeSchedule"], "rate": 7}}, "between 0 and 1"),
        ({"outcomes": '["Down", "Up"]'}, "not Up and Down in this order"),
        ({"outcomes": "[["}, "outcomes are not a list"),
        ({"clobTokenIds": '["7270"]'}, "does not hold two token ids"),
        ({"clobTokenIds": '["7270", "7270"]'}, "does not hold two token ids"),
        ({"negRisk": True}, "negative-risk"),
        ({"enableOrderBook": False}, "no order book"),
        ({"slug": "bitcoin-above-240"}, "not an up/down market"),
        ({"endDate": "2026-09-28T17:40:00Z"}, "not 15m"),
        ({"endDate": "2026-09-28T17:45:00"}, "names no zone"),
        ({"orderPriceMinTickSize": 0.003}, "does not divide 1"),
        ({"orderPriceMinTickSize": "NaN"}, "not an amount"),
        ({"orderMinSize": -5}, "not an amount"),
        ({"cryptoMarketConfig": {"twapEnabled": True, "twapLookbackSeconds": 7}}, "unknown rule"),
        ({"cryptoMarketConfig": None, "resolutionSource": "a friend"}, "resolution source 'a friend' is unknown"),
        ({"conditionId": "absent"}, "conditionId"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_reason(change, reason):
    refused = read(**change)
    assert isinstance(refused, MarketRefused)
    assert reason in refused.reason
    assert refused.slug == change.get("slug", GAMMA["slug"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_market_is_refused(body):
    assert isinstance(market_from_gamma(body, taker_delay_ms=0), MarketRefused)


def test_one_bad_market_does_not_cost_its_neighbours():
    body = json.dumps([GAMMA, {}, GAMMA]).encode()
    kinds = [type(entry) for entry in markets_from_gamma(body, taker_delay_ms=150)]
    assert kinds == [Market, MarketRefused, Market]


def recorded() -> list[bytes]:
    if not RECORDED.is_file():
        pytest.skip("shared/data/gamma is not here")
    return gzip.decompress(RECORDED.read_bytes()).splitlines()


def test_every_recorded_market_is_read_once_its_fees_are_given():
    old_fees = FeeSchedule(rate=250_000, exponent=2)
    found = [market_from_gamma(line, taker_delay_ms=0, fees_if_unserved=old_fees) for line in recorded()]
    assert len(found) == 386
    assert [entry for entry in found if isinstance(entry, MarketRefused)] == []


def test_every_recorded_market_is_refused_for_its_unserved_fees():
    found = [market_from_gamma(line, taker_delay_ms=0) for line in recorded()]
    assert all(isinstance(entry, MarketRefused) and "without a fee schedule" in entry.reason for entry in found)
