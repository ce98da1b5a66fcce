"""One record per agent per window, always: what it says, when it is written, and which miss is the nearest."""

from collections import Counter

import pytest

from polybot.desk.room import RETIRE_AFTER_MS
from polybot.desk.state import MissRank, Tally
from polybot.domain.events import FillFailed, RunStarted, TradeSettled, Verdict, WindowRecorded
from polybot.domain.ids import AgentId, SeriesId
from polybot.domain.market import Market
from polybot.domain.signal import Signal
from polybot.domain.units import Millis
from polybot.strategies.base import MarketView
from polybot.venue.fill_models import VenueModel
from tests.builders import CAPITAL, Floor, a_plan, always, book, listed, one_sided, resolved, wants
from tests.facts import money

AGENT = AgentId("scripted")
MARKET = one_sided()


def window(floor: Floor, market: Market = MARKET, *looks: int) -> list[WindowRecorded]:
    """Play one window, with the book as it always is at these times (seconds), and return its records."""
    floor.play(listed(market), *(book(market, at * 1_000) for at in looks or (60, 62)), resolved(market))
    return [record for record in floor.of(WindowRecorded) if record.market == market.id]


def passing(*numbers: float) -> Floor:
    """An agent that passes with these numbers, one after the other, each needing 10."""
    said = iter(numbers)

    def script(view: MarketView) -> Signal | None:
        return view.passed("too_small", next(said), 10.0)

    return Floor(a_plan(script=script))


class TestTheRecord:
    def test_a_window_with_a_fill_is_traded(self):
        (record,) = window(Floor(a_plan()))
        assert (record.verdict, record.reason, record.orders, record.fills) == (Verdict.TRADED, "filled", 1, 1)
        assert (record.value, record.threshold, record.shortfall) == (None, None, None)

    def test_one_without_is_passed_with_reason_number_threshold_and_shortfall(self):
        (record,) = window(passing(4.0), MARKET, 60)
        assert (record.verdict, record.reason) == (Verdict.PASSED, "too_small")
        assert (record.value, record.threshold, record.shortfall) == (4.0, 10.0, 6.0)
        assert (record.evaluations, record.orders, record.fills) == (1, 0, 0)

    def test_the_nearest_miss_of_the_window_is_kept(self):
        (record,) = window(passing(4.0, 9.0, 7.0), MARKET, 60, 61, 62)
        assert (record.value, record.evaluations) == (9.0, 3)

    def test_a_miss_may_be_near_from_above_too(self):
        (record,) = window(passing(25.0, 12.0), MARKET, 60, 61)
        assert (record.value, record.shortfall) == (12.0, 2.0)

    def test_a_strategy_that_gives_no_reason_is_recorded_as_that(self):
        (record,) = window(Floor(a_plan(script=always(None))))
        assert record.reason == "no_reason_given"

    def test_a_window_without_market_data_is_passed_for_that(self):
        floor = Floor(a_plan())
        (record,) = floor.play(listed(MARKET), resolved(MARKET)).of(WindowRecorded)
        assert (record.verdict, record.reason, record.value) == (Verdict.PASSED, "no_market_data", None)

    def test_an_agent_that_trades_another_series_says_so(self):
        (record,) = window(Floor(a_plan(series=[SeriesId("ETH-15m")])))
        assert (record.verdict, record.reason, record.evaluations) == (Verdict.PASSED, "other_series", 0)

    def test_an_edge_too_small_keeps_the_signals_own_reason_in_words(self):
        (record,) = window(Floor(a_plan(script=always(wants(fair="0.53", reason="a hunch")))))
        assert (record.reason, record.text) == ("edge_too_small", "a hunch")
        assert record.value == pytest.approx(0.53 - 0.52 - 0.07 * 0.52 * 0.48, abs=1e-5)

    def test_a_refusal_of_the_gate_outranks_any_opinion(self):
        floor = Floor(a_plan(order_cost_max=money("5")))
        floor.room.state.pauses["by_hand"] = None
        (record,) = window(floor)
        assert (record.verdict, record.reason, record.value, record.threshold) == (Verdict.PASSED, "floor_paused", 1, 0)

    def test_what_the_venue_did_outranks_the_gate(self):
        floor = Floor(a_plan(), model=VenueModel(latency_median_ms=100, latency_spread=0))
        gone = book(MARKET, 60_050, asks=(("0.90", "100"),))  # the ask has left by the time the order arrives
        floor.play(listed(MARKET), book(MARKET, 60_000), gone, book(MARKET, 62_000), resolved(MARKET))
        (record,) = floor.of(WindowRecorded)
        assert (record.verdict, record.reason, record.orders, record.fills) == (Verdict.PASSED, "order_killed", 1, 0)

    def test_every_agent_has_exactly_one_for_every_window_however_often_the_market_is_heard_of(self):
        floor = Floor(a_plan("a"), a_plan("b", script=always(None)), a_plan("c", series=[SeriesId("ETH-15m")]))
        markets = [one_sided(number) for number in range(4)]
        for market in markets:
            window(floor, market)
            floor.play(listed(market, market.window_end + 20_000), resolved(market, after=30_000))
        floor.play(listed(markets[0], markets[-1].window_end + 3_600_000))  # long after it was forgotten
        rows = Counter((record.agent, record.market) for record in floor.of(WindowRecorded))
        assert rows == {(agent, market.id): 1 for agent in "abc" for market in markets}


class TestDown:
    def test_an_agent_that_is_away_all_along_was_down(self):
        floor = Floor(a_plan())
        floor.room.absent.add(AGENT)
        floor.room.desks[AGENT]._wakes = frozenset()  # nobody asks a desk whose agent is away
        (record,) = window(floor)
        assert (record.verdict, record.reason, record.value) == (Verdict.DOWN, "agent_down", None)

    def test_coming_back_at_the_very_end_does_not_make_it_a_pass(self):
        floor = Floor(a_plan())
        floor.room.absent.add(AGENT)
        wakes, floor.room.desks[AGENT]._wakes = floor.room.desks[AGENT]._wakes, frozenset()
        floor.play(listed(MARKET), book(MARKET, 60_000))
        floor.room.absent.discard(AGENT)
        floor.room.desks[AGENT]._wakes = wakes
        (record,) = floor.play(resolved(MARKET)).of(WindowRecorded)
        assert record.verdict is Verdict.DOWN

    def test_having_looked_once_it_passed_for_the_reason_it_saw(self):
        floor = passing(4.0)
        floor.play(listed(MARKET), book(MARKET, 60_000))
        floor.room.absent.add(AGENT)
        (record,) = floor.play(resolved(MARKET)).of(WindowRecorded)
        assert (record.verdict, record.reason) == (Verdict.PASSED, "too_small")

    def test_what_it_traded_before_it_went_counts(self):
        floor = Floor(a_plan())
        floor.play(listed(MARKET), book(MARKET, 60_000), book(MARKET, 62_000))
        floor.room.absent.add(AGENT)
        (record,) = floor.play(resolved(MARKET)).of(WindowRecorded)
        assert record.verdict is Verdict.TRADED


class TestGhosts:
    GHOSTS = VenueModel(latency_median_ms=1, latency_spread=0, confirm_ms=30_000, ghost_fill_share=1.0)

    def test_a_fill_that_fails_after_the_windows_end_makes_no_trade_of_it(self):
        """The record waits for the fill to be final: confirmed 30 s after the match, 20 s after the window's end."""
        floor = Floor(a_plan(), model=self.GHOSTS)
        floor.play(listed(MARKET), book(MARKET, 880_000), book(MARKET, 881_000), book(MARKET, 890_000))
        floor.play(book(MARKET, 900_000))
        assert floor.of(WindowRecorded) == []
        floor.play(resolved(MARKET, after=30_000))
        (record,) = floor.of(WindowRecorded)
        assert (record.verdict, record.reason, record.fills) == (Verdict.PASSED, "fill_failed", 0)
        assert (len(floor.of(FillFailed)), floor.of(TradeSettled)) == (1, [])

    def test_a_market_is_not_forgotten_while_a_fill_in_it_may_still_be_confirmed(self):
        """Confirmed over eleven minutes after the match, when the market would have been forgotten by now."""
        floor = Floor(a_plan(), model=VenueModel(latency_median_ms=1, latency_spread=0, confirm_ms=700_000))
        floor.play(listed(MARKET), book(MARKET, 890_000), book(MARKET, 892_000), resolved(MARKET))
        later = [listed(one_sided(5), MARKET.window_end + after) for after in (601_000, 700_000)]
        floor.play(*later)
        assert len(floor.of(TradeSettled)) == 1
        assert floor.desk_cash() == floor.venue.state.account.cash

    def test_an_order_nobody_ever_answers_does_not_keep_the_record_back_for_ever(self):
        floor = Floor(a_plan())
        floor.play(listed(MARKET), book(MARKET, 60_000))
        floor.venue.state.travelling.clear()  # lost on the way
        floor.venue.state.agenda.clear()
        floor.play(resolved(MARKET, after=599_999))
        assert floor.of(WindowRecorded) == []
        floor.play(listed(one_sided(5), MARKET.window_end + 600_000))
        assert [record.market for record in floor.of(WindowRecorded)] == [MARKET.id]

    def test_who_was_away_for_long_first_learns_what_became_of_its_fills(self):
        floor = Floor(a_plan(), model=self.GHOSTS)
        floor.play(listed(MARKET), book(MARKET, 880_000), book(MARKET, 881_000))
        back = Millis(MARKET.window_end + 1_800_000)
        floor.room.apply(
            RunStarted(at=back, run="r", source="tape", mode="paper", capital=CAPITAL, seed=1, version="1")
        )
        assert not [fact for fact in floor.room.due(back) if isinstance(fact, WindowRecorded)]
        waited = Millis(back + RETIRE_AFTER_MS)
        assert [fact.market for fact in floor.room.due(waited) if isinstance(fact, WindowRecorded)] == [MARKET.id]


class TestTheNearestMiss:
    def test_further_along_beats_nearer(self):
        tally = Tally()
        tally.miss(MissRank.OPINION, "far", 1, 10)
        tally.miss(MissRank.WAITING, "near", 9.99, 10)
        assert tally.code == "far"

    def test_on_the_same_step_the_relatively_nearer_wins(self):
        tally = Tally()
        tally.miss(MissRank.OPINION, "ninety percent", 0.9, 1.0)
        tally.miss(MissRank.OPINION, "ninety-nine percent", 99, 100)
        tally.miss(MissRank.OPINION, "half", 0.005, 0.01)
        assert tally.code == "ninety-nine percent"

    def test_as_near_as_before_keeps_the_first(self):
        tally = Tally()
        tally.miss(MissRank.OPINION, "first", 5, 10)
        tally.miss(MissRank.OPINION, "second", 50, 100)
        assert tally.code == "first"
