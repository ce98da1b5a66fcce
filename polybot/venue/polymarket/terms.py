"""One market's terms from its two sources, Gamma and the matching engine, which must agree on what costs money."""

import msgspec

from polybot.domain.market import UNKNOWN_TERMS, Market
from polybot.risk.known_terms import changed_terms
from polybot.venue.polymarket.wire_clob import ClobTerms

TEXT_MAX = 300


def agreed_terms(market: Market, clob: ClobTerms, *, taker_delay_ms: int) -> Market:
    """Gamma's market on the engine's terms. Where the two differ in what costs money, its rule set says so: no entry.

    `taker_delay_ms` is assumed where there is a delay and nobody says how long. Tick and minimum size are the engine's.
    """
    delay = taker_delay_ms if clob.taker_delay_ms is None else clob.taker_delay_ms
    agreed = msgspec.structs.replace(market, tick=clob.tick, size_min=clob.size_min, taker_delay_ms=delay)
    if market.rule_set.startswith(UNKNOWN_TERMS):
        return agreed
    told = _as_the_engine_says(market, clob)
    differs = changed_terms(market, told)
    if differs:
        unknown = f"{UNKNOWN_TERMS}Gamma and the CLOB differ, {'; '.join(differs)}"
        return msgspec.structs.replace(agreed, rule_set=unknown[:TEXT_MAX])
    return agreed


def _as_the_engine_says(market: Market, clob: ClobTerms) -> Market:
    """Only what must be equal: the rebate is Gamma's alone, and its schedule of no fee may have any exponent."""
    fees, tokens = market.fees, market.tokens
    if clob.fees is not None and (clob.fees.rate or fees.rate):
        fees = msgspec.structs.replace(clob.fees, rebate_rate=fees.rebate_rate)
    if len(clob.tokens) == 2:
        tokens = (clob.tokens[0], clob.tokens[1])  # type: ignore[assignment]
    return msgspec.structs.replace(market, fees=fees, tokens=tokens, version=clob.version or market.version)
