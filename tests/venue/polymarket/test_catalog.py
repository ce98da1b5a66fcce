"""The catalogue: every window of the followed series ahead of time, with terms and result, or a loud reason."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from loguru import logger

from polybot.domain.errors import BadInput
from polybot.domain.events import MarketListed, MarketResolved, Severity
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis, Price
from polybot.risk.known_terms import knows_rules, unknown_terms
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.catalog import Catalog, CatalogNote, CatalogPlan
from polybot.venue.polymarket.rest import Rest
from tests.venue.polymarket.gamma import START_S, HandGamma, hand_gamma, slug_of

START = START_S * 1000
CHAINLINK = "https://data.chain.link/streams/"


class HandClock:
    def __init__(self, now: int) -> None:
        self.now = now

    def now_ms(self) -> Millis:
        return Millis(self.now)

    def monotonic(self) -> float:
        return self.now / 1000


class Shelf:
    """A catalogue on a Gamma, a minute into window 0 unless the clock is moved."""

    def __init__(self, gamma: HandGamma, plan: CatalogPlan) -> None:
        self.gamma, self.clock = gamma, HandClock(START + 60_000)
        self.catalog = Catalog(Rest(gamma.url), Rest(gamma.url), self.clock, plan)

    async def read(self, since: int = START, until: int = START + 1_800_000) -> list[Any]:
        return list(await self.catalog(Millis(since), Millis(until)))

    async def markets(self, since: int = START, until: int = START + 1_800_000) -> list[Market]:
        return [entry.market for entry in await self.read(since, until) if isinstance(entry, MarketListed)]


@asynccontextmanager
async def shelf(*series: str) -> AsyncIterator[Shelf]:
    async with hand_gamma() as gamma:
        found = Shelf(gamma, CatalogPlan(series=series or ("BTC-15m",)))
        try:
            yield found
        finally:
            await found.catalog.close()


async def test_windows_of_every_followed_series_come_in_order_of_their_start() -> None:
    async with shelf("BTC-15m", "ETH-15m", "SOL-5m") as found:
        for number in range(-1, 4):
            found.gamma.serve(number)
            found.gamma.serve(number, "eth")
        for number in range(9):
            found.gamma.serve(number, "sol", "5m", 300)
        markets = await found.markets(until=START + 600_000)
        assert [market.id for market in markets] == [
            slug_of(0), slug_of(0, "eth"), slug_of(0, "sol", "5m"), slug_of(1, "sol", "5m", 300),
        ]  # fmt: skip
        assert {market.series for market in markets} == {"BTC-15m", "ETH-15m", "SOL-5m"}


async def test_the_terms_are_the_engines_where_it_serves_them() -> None:
    async with shelf() as found:
        slug = found.gamma.serve(0)
        condition = found.gamma.market(slug)["conditionId"]
        found.gamma.clob[condition] |= {"mts": 0.001, "mos": 15, "taker_delay_ms": 250}
        (market,) = await found.markets(until=START + 1)
        assert (market.tick, market.size_min, market.taker_delay_ms) == (1_000, 15 * UNIT, 250)
        assert found.catalog.take_notes() == []


async def test_a_taker_delay_of_unserved_length_is_assumed_and_told_once_for_each_series() -> None:
    async with shelf("BTC-15m", "ETH-15m") as found:
        for asset in ("btc", "eth"):
            found.gamma.serve(0, asset)
            found.gamma.serve(1, asset)
        assert {market.taker_delay_ms for market in await found.markets()} == {150}
        notes = found.catalog.take_notes()
        assert {note.severity for note in notes} == {Severity.WARNING}  # what is assumed is traded on
        assert sorted(note.text for note in notes) == [
            f"{series} holds takers' orders back and does not say how long: 150 ms are assumed"
            for series in ("BTC-15m", "ETH-15m")
        ]


async def test_a_taker_delay_whose_length_is_served_no_more_is_told_again() -> None:
    async with shelf() as found:
        for number, delay in enumerate((None, 250, None)):
            slug = found.gamma.serve(number)
            found.gamma.clob[found.gamma.market(slug)["conditionId"]]["taker_delay_ms"] = delay
        for number, told in enumerate((1, 0, 1)):
            await found.read(START + number * 900_000, START + number * 900_000 + 1)
            assert len(found.catalog.take_notes()) == told


async def test_what_the_catalogue_notes_is_said_by_whoever_reads_the_notes_alone() -> None:
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(str(line)))
    async with shelf() as found:
        found.gamma.serve(0)
        await found.read(until=START + 1)
        assert found.catalog.take_notes()
    logger.remove(sink)
    assert logged == []


async def test_a_market_without_a_delay_has_none() -> None:
    async with shelf() as found:
        slug = found.gamma.serve(0)
        found.gamma.clob[found.gamma.market(slug)["conditionId"]].pop("itode")
        assert [market.taker_delay_ms for market in await found.markets(until=START + 1)] == [0]


async def test_the_new_protocols_windows_have_its_ids_and_the_engine_is_asked_by_the_padded_condition() -> None:
    async with shelf() as found:
        slug = found.gamma.serve(
            0, version="v2", positionIds=["77", "88"], clobTokenIds=None, conditionId="0x" + "ab" * 31
        )
        found.gamma.clob["0x" + "ab" * 31 + "00"] = {"mos": 7, "mts": 0.01, "v": "v2"}
        canary = found.gamma.events[slug]["markets"][0] | {"slug": "another-in-the-same-event"}
        found.gamma.events[slug]["markets"].insert(0, canary)
        (market,) = await found.markets(until=START + 1)
        assert (market.version, market.tokens, market.size_min) == ("v2", ("77", "88"), 7 * UNIT)
        assert unknown_terms(market) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "v3"}, "version: v1 -> v3"),
        ({"feeType": "crypto_fees_v9"}, "feeType: crypto_fees_v2 -> crypto_fees_v9"),
        ({"feeSchedule": {"exponent": 1, "rate": 0.07, "takerOnly": False}}, "charges makers"),
        ({"cryptoMarketConfig": {"twapEnabled": True, "twapLookbackSeconds": 7}}, "an average over 7 s"),
        ({"cryptoMarketConfig": "absent", "resolutionSource": CHAINLINK + "btc-usd-twap-9s"}, "twap-9s"),
    ],
    ids=["version", "fee type", "makers pay", "average", "source"],
)  # fmt: skip
async def test_unknown_terms_are_listed_never_tradable_and_told_with_what_differs(change: Any, says: str) -> None:
    async with shelf() as found:
        found.gamma.serve(0)
        found.gamma.serve(1, **change)
        await found.read(until=START + 1)
        found.catalog.take_notes()
        known, strange = await found.markets()
        assert (knows_rules(known), knows_rules(strange)) == (True, False)
        assert unknown_terms(strange)
        (note,) = found.catalog.take_notes()
        assert note.severity is Severity.ERROR
        assert note.text.startswith(f"{slug_of(1)} is not traded, unknown: ")
        assert says in note.text
        await found.read()
        assert found.catalog.take_notes() == []


async def test_what_gamma_and_the_engine_say_differently_of_fees_is_unknown() -> None:
    async with shelf() as found:
        slug = found.gamma.serve(0)
        found.gamma.clob[found.gamma.market(slug)["conditionId"]]["fd"] = {"r": 0.25, "e": 2, "to": True}
        (market,) = await found.markets(until=START + 1)
        assert not knows_rules(market)
        assert "fees: 0.07^1 (takers, rebate 0.20) -> 0.25^2 (takers, rebate 0.20)" in market.rule_set


async def test_known_terms_that_change_from_window_to_window_are_told_and_traded_on() -> None:
    async with shelf() as found:
        found.gamma.serve(0)
        slug = found.gamma.serve(1, feeSchedule={"exponent": 1, "rate": 0.08, "takerOnly": True, "rebateRate": 0.2})
        found.gamma.clob[found.gamma.market(slug)["conditionId"]]["fd"]["r"] = 0.08
        _, market = await found.markets()
        assert (market.fees.rate, knows_rules(market)) == (80_000, True)
        told = [note for note in found.catalog.take_notes() if "than the windows before: feeSchedule" in note.text]
        assert [note.severity for note in told] == [Severity.WARNING]


@pytest.mark.parametrize(("prices", "payout"), [('["1", "0"]', UNIT), ('["0", "1"]', 0), ('["0.5", "0.5"]', UNIT // 2)])
async def test_a_result_is_the_final_payout_and_is_asked_for_no_more(prices: str, payout: int) -> None:
    async with shelf() as found:
        slug = found.gamma.serve(0)
        assert [type(entry) for entry in await found.read(until=START + 1)] == [MarketListed]
        found.clock.now = START + 990_000
        found.gamma.resolve(slug, prices)
        _, result = await found.read(until=START + 1)
        assert result == MarketResolved(Millis(START + 987_000), Millis(START + 990_000), result.market, Price(payout))
        asked = len(found.gamma.asked)
        assert (await found.read(until=START + 1))[1] == result
        assert len(found.gamma.asked) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"closed": False, "outcomePrices": '["1", "0"]'},
        {"closed": True, "outcomePrices": '["0.9995", "0.0005"]'},
        {"closed": True, "outcomePrices": '["1", "1"]'},
        {"closed": True, "outcomePrices": '["1", "0"]', "umaResolutionStatus": "disputed"},
        {"closed": True, "outcomePrices": '["1", "0"]', "resolutionStatus": "active"},
        {"closed": True, "outcomePrices": '["1"]'},
        {"closed": True, "outcomePrices": '["1e999999", "0"]'},
        {"closed": True, "outcomePrices": 7},
    ],
)
async def test_what_is_not_a_final_payout_is_no_result(change: Any) -> None:
    async with shelf() as found:
        slug = found.gamma.serve(0)
        found.clock.now = START + 990_000
        found.gamma.market(slug).update(change)
        assert [type(entry) for entry in await found.read(until=START + 1)] == [MarketListed]


async def test_a_result_before_the_windows_end_is_not_believed() -> None:
    async with shelf() as found:
        found.gamma.resolve(found.gamma.serve(0))
        assert [type(entry) for entry in await found.read(until=START + 1)] == [MarketListed]


async def test_a_window_that_its_name_does_not_find_is_found_in_its_series() -> None:
    async with shelf() as found:
        for number in range(-1, 120):
            found.gamma.serve(number)
        found.gamma.hidden = {slug_of(0), slug_of(1)}
        assert [market.id for market in await found.markets()] == [slug_of(0), slug_of(1)]
        assert "/events?series_id=10192&closed=false&limit=100&offset=0" in found.gamma.asked
        found.gamma.asked.clear()
        found.clock.now += 20_000
        assert await found.markets() == []  # the listing is large, and asked for once a minute
        assert not any(path.startswith("/events?") for path in found.gamma.asked)


async def test_a_window_that_is_nowhere_is_told_when_it_is_due_and_not_before() -> None:
    async with shelf() as found:
        found.gamma.serve(0)
        await found.read(until=START + 2_700_000)
        assert [note for note in found.catalog.take_notes() if "not in the catalogue" in note.text] == []
        found.clock.now = START + 400_000
        await found.read(until=START + 2_700_000)
        await found.read(until=START + 2_700_000)
        assert found.catalog.take_notes() == [CatalogNote(Severity.ERROR, f"{slug_of(1)} is not in the catalogue")]


async def test_one_window_that_cannot_be_read_does_not_cost_the_others() -> None:
    async with shelf() as found:
        for number in range(2):
            found.gamma.serve(number)
        found.gamma.refuses_slugs = {slug_of(0)}
        assert [market.id for market in await found.markets()] == [slug_of(1)]


@pytest.mark.parametrize(("status", "error"), [(429, VenueBusy), (503, VenueBusy), (500, VenueUnavailable)])
async def test_a_gamma_that_answers_nothing_is_an_outage(status: int, error: type[Exception]) -> None:
    async with shelf() as found:
        found.gamma.refuses = status
        with pytest.raises(error, match=str(status)):
            await found.read()


async def test_a_clob_that_does_not_know_the_market_yet_leaves_gammas_terms() -> None:
    async with shelf() as found:
        found.gamma.clob = {}
        found.gamma.serve(0)
        found.gamma.clob.clear()
        (listed,) = await found.read(until=START + 1)
        assert (listed.market.tick, listed.at) == (10_000, START)  # a page may be a minute old


async def test_after_days_away_the_windows_of_now_are_read_first_and_only_so_many_at_a_time() -> None:
    async with shelf() as found:
        for number in range(-300, 2):
            found.gamma.serve(number)
        found.gamma.asked.clear()
        markets = await found.markets(since=START - 300 * 900_000)
        assert len(markets) == 64
        assert slug_of(1) in {market.id for market in markets}
        assert len([path for path in found.gamma.asked if path.startswith("/events/slug/")]) == 64


def test_a_series_without_known_names_is_refused() -> None:
    with pytest.raises(BadInput, match="no up/down windows of '1h'"):
        Catalog(Rest(""), Rest(""), HandClock(0), CatalogPlan(series=("BTC-1h",)))
