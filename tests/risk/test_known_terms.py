"""What is known is what the venue has been seen to serve; what has changed can be read."""

import msgspec

from polybot.domain.fees import FeeSchedule
from polybot.importing import terms as by_date
from polybot.risk.known_terms import RULE_SETS, VERSIONS, changed_terms, knows_fees, knows_rules, unknown_terms
from polybot.venue.polymarket import wire_markets
from tests.facts import a_market, price

MARKET = a_market()


def test_every_rule_and_fee_a_recording_may_bring_is_known():
    dated = [name for table in (by_date._RULES_SINCE_15M, by_date._RULES_SINCE_5M) for _, name in table]
    assert {*dated, *wire_markets.RULE_SETS.values()} == RULE_SETS
    assert wire_markets.TOKEN_FIELD.keys() == VERSIONS
    assert all(knows_fees(fees) for table in (by_date._FEES_SINCE_15M, by_date._FEES_SINCE_5M) for _, fees in table)


def test_terms_nobody_knows_are_named():
    market = msgspec.structs.replace(
        MARKET, rule_set="tossed", version="v3", fees=FeeSchedule(rate=100_000, exponent=3)
    )
    assert unknown_terms(market) == [
        "settlement rule 'tossed'",
        "protocol version 'v3'",
        "fee schedule 0.10^3 (takers, rebate 0.00)",
    ]
    assert not knows_rules(market)
    assert unknown_terms(MARKET) == []


def test_a_change_of_terms_can_be_read():
    fees = msgspec.structs.replace(MARKET.fees, rate=72_000)
    now = msgspec.structs.replace(MARKET, fees=fees, tick=price("0.001"), taker_delay_ms=150)
    assert changed_terms(MARKET, now) == [
        "tick: 0.01 -> 0.001",
        "fees: 0.07^1 (takers, rebate 0.20) -> 0.072^1 (takers, rebate 0.20)",
        "taker_delay_ms: 250 -> 150",
    ]
    assert changed_terms(MARKET, MARKET) == []
