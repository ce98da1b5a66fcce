"""The report says what happened, whether the money adds up, and no more than its sample can carry."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.backtest.report import EquityPoint, Report, Sample, trades_needed
from polybot.backtest.report_builder import build_report
from polybot.backtest.report_html import POINTS_MAX, _thinned, render_html
from polybot.backtest.report_tables import CENT, caveat, dollars, verdicts
from polybot.backtest.report_text import render_text
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    Journaled,
    Severity,
    SystemNoted,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    Verdict,
    WindowRecorded,
)
from polybot.domain.ids import AgentId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Money
from polybot.risk.audit import Auditor
from tests.facts import MOMENTUM, REVERSION, SPIKE, START, WINDOW_MS, Story, a_market, money, price, shares


def story_of_three_windows() -> Story:
    """Momentum wins, wins and loses; mean reversion passes; volume spike was down once and is refused once."""
    story = Story()
    for agent, capital in ((MOMENTUM, "333.34"), (REVERSION, "333.33"), (SPIKE, "333.33")):
        story.agent(agent, capital)
    for number, payout in enumerate(("1", "1", "0")):
        market = story.opened(a_market(number))
        story.bought(MOMENTUM, market)
        if number == 1:
            story.refused(SPIKE, market, "book_stale", value=8300, limit=5000, text="the book is 8300 ms old")
        story.at(market.window_end)
        story.window(MOMENTUM, market, Verdict.TRADED, "filled", orders=1, fills=1)
        miss = {"value": 0.0031, "threshold": 0.01, "shortfall": 0.0069}
        story.window(REVERSION, market, Verdict.PASSED, "move_too_small", **miss)
        down = (Verdict.DOWN, "agent_down") if number == 2 else (Verdict.PASSED, "no_trades")
        story.window(SPIKE, market, *down)
        story.settled(market, payout)
    return story


def audited(story: Story) -> list[AnyFact]:
    """The story's facts with the auditor's verdicts among them, to the end of the run."""
    auditor, facts = Auditor(), list[AnyFact]()
    story.books_audited()
    for fact in story.ended():
        facts.append(fact)
        facts += auditor.apply(fact)
    return facts


def the_report(story: Story | None = None) -> Report:
    return build_report(audited(story or story_of_three_windows()))


def test_results_are_told_per_agent_and_for_the_floor() -> None:
    report = the_report()
    momentum, reversion, spike = report.agents
    assert (momentum.agent, momentum.trades, momentum.wins, momentum.win_rate) == (MOMENTUM, 3, 2, 2 / 3)
    assert momentum.equity_to - momentum.equity_from == momentum.pnl == report.floor.pnl
    assert (reversion.trades, reversion.passed, spike.down) == (0, 3, 1)
    assert (report.floor.agent, report.floor.equity_from) == (None, money("1000"))
    assert momentum.break_even == pytest.approx((10.8 + 0.34776) / 20, rel=1e-6)


def test_exposure_peaks_while_the_order_is_open_at_what_it_may_cost() -> None:
    assert the_report().floor.exposure_peak == a_market().fees.buy_cost_max(price("0.55"), shares("20"))


def test_curves_start_from_the_capital_and_step_at_settlements() -> None:
    report = the_report()
    assert report.floor.curve[0].equity == money("1000")
    assert report.floor.curve[-1].equity == report.floor.equity_to
    assert len(report.agents[0].curve) == 4
    assert len(report.agents[1].curve) == 1


def test_every_window_says_what_each_agent_did_and_how_near_it_came() -> None:
    text = render_text(the_report())
    assert "09:00–09:15   Up    momentum        TRADED    +8.85  1 order, 1 fill" in text
    assert "mean-reversion  PASSED        –  move_too_small: 0.0031 against 0.01, by 0.0069" in text
    assert "volume-spike    DOWN          –  agent_down" in text
    assert "Every agent has its record for every window: 9 of 9." in text


def test_a_missing_window_record_is_said_aloud() -> None:
    facts = audited(story_of_three_windows())
    facts.remove(next(fact for fact in facts if isinstance(fact, WindowRecorded)))
    report = build_report(facts)
    assert report.records_missing == 1
    assert "WINDOW RECORDS ARE MISSING: 1 of 9." in list(verdicts(report))
    assert "MISSING" in render_text(report)


def test_a_window_the_run_stopped_in_is_open_and_misses_nothing() -> None:
    story = story_of_three_windows()
    story.opened(a_market(3))
    report = build_report(story.facts)
    assert (report.records_missing, report.windows[-1].ended, report.finished) == (0, False, False)
    assert "not at its end yet" in render_text(report)


def test_refusals_are_counted_by_rule() -> None:
    (refusal,) = the_report().refusals
    assert (refusal.rule, refusal.count, refusal.example) == ("book_stale", 1, "the book is 8300 ms old")


def test_the_money_adds_up_to_the_last_digit_and_says_so() -> None:
    report = the_report()
    assert report.money.text == "The money adds up: 1000.00 + (6.55672) = 1006.55672; ledger, fills and venue agree."


def test_a_run_that_lost_shows_its_loss_in_the_sum() -> None:
    story = Story()
    story.agent(MOMENTUM, "1000")
    market = story.opened(a_market())
    story.bought(MOMENTUM, market)
    story.settled(market, "0")
    text = build_report(story.facts).money.text
    assert text.startswith("The money adds up: 1000.00 + (-11.14776) = 988.85224; ")
    assert "never compared" in text


def test_a_settlement_that_does_not_follow_from_the_fills_is_named_with_the_difference() -> None:
    facts = audited(story_of_three_windows())
    place = next(place for place, fact in enumerate(facts) if isinstance(fact, TradeSettled))
    settled = facts[place]
    assert isinstance(settled, TradeSettled)
    facts[place] = msgspec.structs.replace(settled, pnl=Money(settled.pnl + 1))
    report = build_report(facts)
    assert not report.money.adds_up
    assert report.money.text.startswith("THE MONEY DOES NOT ADD UP: ")
    assert "0.000001 apart" in report.money.text


def test_desks_that_are_off_in_opposite_ways_do_not_hide_each_other() -> None:
    facts = audited(story_of_three_windows())
    for place, fact in enumerate(facts):
        if isinstance(fact, BooksAudited) and fact.agent in (MOMENTUM, REVERSION):
            off = CENT if fact.agent == MOMENTUM else -CENT
            facts[place] = msgspec.structs.replace(fact, desk_cash=Money(fact.desk_cash + off), passed=False)
    report = build_report(facts)
    assert "THE MONEY DOES NOT ADD UP" in report.money.text
    assert "THE AUDIT FAILED" in render_text(report)


def test_an_open_position_stands_at_cost_and_the_money_still_adds_up() -> None:
    story = story_of_three_windows()
    story.bought(MOMENTUM, story.opened(a_market(3)))
    assert build_report(story.facts).money.adds_up


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((MOMENTUM, REVERSION)),
            st.sampled_from(tuple(Outcome)),
            st.integers(500, 2500),
            st.integers(30, 54),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from(("0", "0.5", "1")),
)
def test_the_money_adds_up_for_any_honest_story(
    trades: list[tuple[AgentId, Outcome, int, int, bool]], payout: str
) -> None:
    story = Story()
    for agent in (MOMENTUM, REVERSION):
        story.agent(agent, "500")
    market = story.opened(a_market())
    for agent, outcome, lots, cents, fails in trades:
        size, at = f"{lots / 100:.2f}", f"0.{cents}"
        order = story.intent(agent, market, size=size, outcome=outcome, ask=at)
        story.accepted(order)
        fill = story.matched(order, size, at)
        (story.failed_fill if fails else story.confirmed_fill)(fill)
    story.settled(market, payout)
    story.books_audited()
    report = build_report(story.facts)
    assert report.money.adds_up
    assert report.money.equity == sum(story.cash.values()) == report.floor.equity_to


def test_the_audits_last_word_on_an_order_is_the_one_that_counts() -> None:
    facts = audited(story_of_three_windows())
    assert build_report(facts).audit.failed == 0
    auditor, broken = Auditor(), list[AnyFact]()
    for fact in story_of_three_windows().ended():
        said = msgspec.structs.replace(fact, pnl=money("1")) if isinstance(fact, TradeSettled) else fact
        broken += [said, *auditor.apply(said)]
    audit = build_report(broken).audit
    assert (audit.orders, audit.audited, audit.failed, audit.findings_total) == (3, 3, 3, 3)
    assert "settled_pnl: P&L $1.00, payout less cost less fees is $8.85224" in render_text(build_report(broken), 120)


def test_an_order_nobody_audited_is_not_passed_over() -> None:
    facts = audited(story_of_three_windows())
    facts.remove(next(fact for fact in facts if isinstance(fact, TradeAudited)))
    assert any(text.startswith("The audit is not complete: 2 of 3 orders") for text in verdicts(build_report(facts)))
    unaudited = build_report(story_of_three_windows().ended())
    assert "NO AUDIT: none of 3 orders was audited." in list(verdicts(unaudited))


def test_break_even_weighs_trades_as_the_win_rate_does() -> None:
    story = Story()
    story.agent(MOMENTUM, "1000")
    market = story.opened(a_market())
    story.bought(MOMENTUM, market, limit="0.11", ask="0.10", size="100")
    story.bought(MOMENTUM, market, limit="0.51", ask="0.50", size="10")
    story.settled(market, "1")
    assert build_report(story.facts).floor.break_even == pytest.approx((0.10 + 0.0063 + 0.50 + 0.0175) / 2)


def test_a_run_in_which_no_agent_was_started_has_no_uptime() -> None:
    facts = [fact for fact in story_of_three_windows().ended() if not isinstance(fact, AgentChanged)]
    assert [performer.uptime for performer in build_report(facts).agents] == [None, None, None]


def test_pauses_crashes_and_errors_are_told() -> None:
    story = story_of_three_windows()
    story.tell(AgentChanged, agent=SPIKE, state=AgentState.CRASHED, role="trader", text="ZeroDivisionError")
    story.tell(
        TradingPaused,
        agent=None,
        breaker="daily_loss",
        value=0.11,
        limit=0.1,
        text="$110 lost since midnight",
        until=None,
    )
    story.tell(SystemNoted, severity=Severity.ERROR, component="postgres", text="connection refused")
    story.tell(SystemNoted, severity=Severity.INFO, component="postgres", text="all is well")
    report = build_report(story.facts)
    text = render_text(report)
    assert report.agents[2].crashes == report.floor.crashes == 1
    assert "$110 lost since midnight" in text
    assert "connection refused" in text
    assert "all is well" not in text


def test_journaled_facts_and_bare_ones_make_the_same_report() -> None:
    facts = audited(story_of_three_windows())
    journaled = [Journaled(seq=seq, position=seq * 10, fact=fact) for seq, fact in enumerate(facts, 1)]
    assert build_report(journaled) == build_report(facts)


def test_no_facts_make_an_empty_report_that_can_be_shown() -> None:
    report = build_report([])
    assert "never started" in render_text(report)
    assert "No trade was settled" in render_html(report)


@pytest.mark.parametrize(("edge", "trades"), [(0.01, 15_457), (0.02, 3_865), (0.05, 619)])
def test_the_trades_an_edge_needs_are_those_of_the_power_formula(edge: float, trades: int) -> None:
    assert trades_needed(edge) == trades


def test_the_caveat_names_windows_error_and_interval() -> None:
    text = caveat(Sample(windows=12, windows_traded=11, trades=23, wins=12))
    assert (
        "23 trades in 11 of 12 windows: win rate 52.2 % ± 10.4 % (one standard error), 95 % interval 33 to 71 %" in text
    )


def test_all_won_claims_no_certainty() -> None:
    sample = Sample(windows=3, windows_traded=3, trades=3, wins=3)
    assert sample.standard_error is None
    assert sample.interval == pytest.approx((0.438, 1.0), abs=0.001)
    assert "±" not in caveat(sample)


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    story = story_of_three_windows()
    story.window(REVERSION, a_market(2), Verdict.PASSED, "move_too_small", text="a long tale of a small move " * 9)
    assert max(len(line) for line in render_text(build_report(story.facts)).splitlines()) == 100


def test_two_series_and_two_days_are_told_apart() -> None:
    story = story_of_three_windows()
    eth = msgspec.structs.replace(a_market(96), asset="ETH", series="ETH-15m")
    story.opened(eth)
    story.window(REVERSION, eth, Verdict.PASSED, "move_too_small")
    assert "29 Sep 09:00–09:15 ETH-15m" in render_text(build_report(story.facts))


def test_markets_listed_ahead_are_counted_and_not_told_one_by_one() -> None:
    story = story_of_three_windows()
    story.opened(msgspec.structs.replace(a_market(96), series="ETH-15m"))
    text = render_text(build_report(story.facts))
    assert "1 more market had been listed" in text
    assert "29 Sep" not in text


@pytest.mark.parametrize(
    ("amount", "text"), [("0.005", "+0.01"), ("-0.005", "-0.01"), ("0.004999", "0.00"), ("-1234.5", "-1,234.50")]
)
def test_dollars_are_rounded_half_away_from_zero(amount: str, text: str) -> None:
    assert dollars(money(amount), signed=True) == text


class Outline(HTMLParser):
    """Element names that open and close, and everything that would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        self.scripts += tag == "script"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing() -> None:
    outline = Outline()
    outline.feed(render_html(the_report()))
    assert (outline.open, outline.fetched, outline.scripts) == ([], [], 2)


def test_the_page_shows_the_texts_own_tables_and_four_plots() -> None:
    report = the_report()
    page = render_html(report)
    assert page.count('class="plot"') == 4
    shown = re.sub(r"<[^>]+>", " ", page[: page.index("<script>")])
    for words in ("move_too_small: 0.0031 against 0.01, by 0.0069", "+8.85", "9 of 9", report.money.text):
        assert words in shown


def test_words_from_outside_cannot_become_markup() -> None:
    evil = "</script><script>alert('x')</script>"
    story = Story()
    story.agent(AgentId(evil), "1000")
    market = story.opened(a_market())
    story.bought(AgentId(evil), market)
    story.settled(market, "1")
    story.tell(SystemNoted, severity=Severity.ERROR, component="venue", text=evil)
    page = render_html(build_report(story.facts))
    assert evil not in page
    assert "<script>alert" not in page


def test_the_same_facts_give_the_same_bytes_whatever_the_hash_seed() -> None:
    program = (
        "import hashlib, tests.backtest.test_report as t\n"
        "report = t.the_report()\n"
        "page = t.render_text(report) + t.render_html(report)\n"
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert render_html(the_report()) == render_html(the_report())


def test_a_long_curve_is_thinned_and_keeps_its_end() -> None:
    curve = tuple(EquityPoint(at=Millis(START + n * WINDOW_MS), equity=Money(n)) for n in range(10_001))
    thinned = _thinned(curve)
    assert len(thinned) <= POINTS_MAX
    assert thinned[0] == curve[0]
    assert thinned[-1] == curve[-1]
