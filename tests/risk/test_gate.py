"""Every rule of the gate at its bound and just beyond, and that no run of approvals gets past the money limits."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.book import Book, BookState
from polybot.domain.events import SignalRefused
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import LOT, UNIT, Millis, Money, Price, Shares, format_units
from polybot.risk.gate import REFUSALS, Approved, Circumstances, OrderWish, Refused, judge, order_budget
from polybot.risk.limits import Limits
from tests.facts import START, a_market, money, price, shares

LIMITS = Limits()
MARKET = msgspec.structs.replace(a_market(), fees=NO_FEES)
NOW = Millis(START + 60_000)


def a_book(*, received: int = NOW, ask: str = "0.50", state: BookState = BookState.VERIFIED) -> Book:
    up = Book(Outcome.UP)
    up.replace(([price("0.40")], [shares("100")]), ([price(ask)], [shares("100")]), Millis(received), Millis(received))
    up.state = state
    return up


def said_again(unchanged_ms: int) -> Book:
    """A book that was asked for anew just now, and is dated as before."""
    book = a_book(received=NOW - unchanged_ms)
    book.ask(NOW)
    book.replace(([price("0.40")], [shares("100")]), ([price("0.50")], [shares("100")]), book.at, NOW)
    return book


def terms(**changes: Any) -> dict[str, Any]:
    """Other terms, and a wish whose fee still fits the limits."""
    return {"seen": {"market": msgspec.structs.replace(MARKET, **changes)}, "wish": {"shares": shares("30")}}


FEES = FeeSchedule(rate=10)


def a_wish(**changes: Any) -> OrderWish:
    wish = OrderWish(
        id=OrderId("a-000001"),
        agent=AgentId("a"),
        outcome=Outcome.UP,
        limit=price("0.50"),
        shares=shares("40"),
        time_in_force=TimeInForce.FAK,
        post_only=False,
        fair_value=price("0.70"),
        reason="because",
        inputs={"x": 1.0},
    )
    return msgspec.structs.replace(wish, **changes)


def seen(**changes: Any) -> Circumstances:
    circumstances = Circumstances(
        now=NOW,
        event_seq=7,
        market=MARKET,
        book=a_book(),
        cash_available=money("333"),
        agent_exposure=money("0"),
        floor_exposure=money("0"),
        capital_base=money("1000"),
        agent_pause=None,
        floor_pause=None,
    )
    return msgspec.structs.replace(circumstances, **changes)


# rule, what is just allowed, what is just too much, the number that failed, and the bound it failed
RULES: list[tuple[str, dict[str, Any], dict[str, Any], float, float]] = [
    ("floor_paused", {}, {"seen": {"floor_pause": "daily_loss"}}, 1, 0),
    ("agent_paused", {}, {"seen": {"agent_pause": "loss_streak"}}, 1, 0),
    (
        "before_window",
        {"seen": {"now": START, "book": a_book(received=START)}},
        {"seen": {"now": START - 1, "book": a_book(received=START - 1)}},
        0.001,
        0,
    ),
    (
        "outside_window",
        {"seen": {"now": MARKET.window_end - 5_001, "book": a_book(received=MARKET.window_end - 5_001)}},
        {"seen": {"now": MARKET.window_end - 5_000, "book": a_book(received=MARKET.window_end - 5_000)}},
        5,
        5,
    ),
    ("book_not_verified", {}, {"seen": {"book": a_book(state=BookState.UNVERIFIABLE)}}, 0, 1),
    ("book_not_verified", {}, {"seen": {"book": a_book(state=BookState.CONTRADICTED)}}, 0, 1),
    ("unknown_rules", terms(rule_set="chainlink-spot"), terms(rule_set="a coin that is tossed"), 0, 1),
    (
        "unknown_rules",
        terms(rule_set="chainlink-spot"),
        terms(rule_set="chainlink-spot -> chainlink-twap60-2026-08-07"),
        0,
        1,
    ),
    ("unknown_rules", terms(version="v2"), terms(version="v3"), 0, 1),
    ("unknown_fees", terms(fees=FEES), terms(fees=msgspec.structs.replace(FEES, taker_only=False)), 0, 1),
    (
        "unknown_fees",
        terms(fees=msgspec.structs.replace(FEES, exponent=2)),
        terms(fees=msgspec.structs.replace(FEES, exponent=3)),
        0,
        1,
    ),
    ("unknown_fees", {}, terms(fees=FeeSchedule(rate=250_001)), 0, 1),
    (
        "book_frozen",
        {"seen": {"book": said_again(60_000)}},
        {"seen": {"book": said_again(60_001)}},
        60.001,
        60,
    ),
    (
        "book_stale",
        {"seen": {"book": a_book(received=NOW - 5_000)}},
        {"seen": {"book": a_book(received=NOW - 5_001)}},
        5_001,
        5_000,
    ),
    ("off_tick", {}, {"wish": {"limit": Price(price("0.50") + 1)}}, 0.500001, 0.01),
    (
        "price_range",
        {"wish": {"limit": price("0.99"), "shares": shares("20")}},
        {"wish": {"limit": price("1.00"), "shares": shares("20")}},
        1.0,
        0.01,
    ),
    (
        "price_range",
        {"wish": {"limit": price("0.01"), "shares": shares("200")}},
        {"wish": {"limit": price("0.00"), "shares": shares("200")}},
        0.0,
        0.01,
    ),
    ("off_lot", {"wish": {"shares": shares("5.01")}}, {"wish": {"shares": shares("5.005")}}, 5.005, 0.01),
    ("size_minimum", {"wish": {"shares": shares("5")}}, {"wish": {"shares": shares("4.99")}}, 4.99, 5),
    (
        "would_cross",
        {"wish": {"post_only": True, "limit": price("0.49")}},
        {"wish": {"post_only": True, "limit": price("0.50")}},
        0.50,
        0.50,
    ),
    (
        "notional_minimum",
        {"wish": {"limit": price("0.10"), "shares": shares("10")}, "seen": {"book": a_book(ask="0.10")}},
        {"wish": {"limit": price("0.10"), "shares": shares("9.99")}, "seen": {"book": a_book(ask="0.10")}},
        0.999,
        1,
    ),
    (
        "order_ramp",
        {"wish": {"shares": shares("10")}, "seen": {"order_cost_max": money("5")}},
        {"wish": {"shares": shares("10")}, "seen": {"order_cost_max": Money(money("5") - 1)}},
        5,
        4.999999,
    ),
    ("order_capital", {"wish": {"shares": shares("40")}}, {"wish": {"shares": shares("40.01")}}, 20.005, 20),
    (
        "agent_capital",
        {"seen": {"agent_exposure": money("80")}},
        {"seen": {"agent_exposure": Money(money("80") + 1)}},
        100.000001,
        100,
    ),
    (
        "floor_capital",
        {"seen": {"floor_exposure": money("380")}},
        {"seen": {"floor_exposure": Money(money("380") + 1)}},
        400.000001,
        400,
    ),
    (
        "cash",
        {"seen": {"cash_available": money("20")}},
        {"seen": {"cash_available": Money(money("20") - 1)}},
        20,
        19.999999,
    ),
]


def asked(changes: dict[str, Any]) -> Approved | Refused:
    return judge(a_wish(**changes.get("wish", {})), seen(**changes.get("seen", {})), LIMITS)


@pytest.mark.parametrize(
    ("rule", "allowed", "too_much", "value", "limit"), RULES, ids=lambda v: v if isinstance(v, str) else ""
)
class TestEveryRule:
    def test_approves_at_its_bound(self, rule, allowed, too_much, value, limit):
        assert isinstance(asked(allowed), Approved)

    def test_refuses_just_beyond_it_with_the_number_that_failed(self, rule, allowed, too_much, value, limit):
        assert asked(too_much) == Refused(rule=rule, value=value, limit=limit)

    def test_says_so_in_words(self, rule, allowed, too_much, value, limit):
        refused = asked(too_much)
        assert isinstance(refused, Refused)
        assert refused.text == REFUSALS[rule].format(value=value, limit=limit)


def test_no_rule_goes_untried():
    assert {rule for rule, *_ in RULES} == set(REFUSALS)


def test_a_low_priced_order_that_would_only_rest_needs_no_dollar():
    wish = a_wish(limit=price("0.10"), shares=shares("5"), post_only=True, time_in_force=TimeInForce.GTD)
    assert isinstance(judge(wish, seen(), LIMITS), Approved)


def test_the_fee_counts_towards_the_order_limit():
    market = a_market()
    wish = a_wish(shares=shares("39"))  # 19.50 and a fee of 0.6825
    refused = judge(wish, seen(market=market), LIMITS)
    assert refused == Refused(
        rule="order_capital", value=market.fees.buy_cost_max(wish.limit, wish.shares) / UNIT, limit=20
    )


def test_the_limits_shrink_with_settled_losses():
    wish = a_wish(shares=shares("40"))
    assert judge(wish, seen(capital_base=Money(money("1000") - 1)), LIMITS).__class__ is Refused


def test_an_approval_carries_what_the_gate_saw():
    answer = judge(a_wish(), seen(agent_exposure=money("3"), floor_exposure=money("9")), LIMITS)
    assert isinstance(answer, Approved)
    intent, proof = answer.intent, answer.intent.proof
    assert (intent.side, intent.cost_max, intent.decided_at) == (Side.BUY, money("20"), NOW)
    assert (proof.event_seq, proof.book_state) == (7, BookState.VERIFIED)
    assert (proof.book_age_ms, proof.book_age_ms_max) == (0, 5_000)
    assert (proof.best_bid, proof.best_ask, proof.depth) == (price("0.40"), price("0.50"), shares("100"))
    assert (proof.capital_base, proof.agent_exposure, proof.floor_exposure) == (money("1000"), money("3"), money("9"))
    assert (proof.fee_fingerprint, proof.rule_set) == (MARKET.fees.fingerprint, MARKET.rule_set)


def test_a_change_that_reached_us_late_does_not_make_the_book_fresh():
    late = a_book(received=NOW - 6_000)
    late.touch(Millis(NOW - 5_500), NOW)
    assert judge(a_wish(), seen(book=late), LIMITS) == Refused(rule="book_stale", value=5_500, limit=5_000)


def test_a_book_newer_than_the_decision_is_of_age_nought():
    answer = judge(a_wish(), seen(book=a_book(received=NOW + 40)), LIMITS)
    assert isinstance(answer, Approved)
    assert answer.intent.proof.book_age_ms == 0


def test_a_refusal_is_a_fact_anybody_can_read():
    refused = Refused(rule="order_capital", value=20.5, limit=20)
    assert refused.text == "the order may cost $20.50, one order may cost $20.00"
    assert "rule" in SignalRefused.__struct_fields__


# -- no sequence of approvals gets past the limits ------------------------------------------------------------------

AGENTS = [AgentId(f"agent-{number}") for number in range(6)]
wishes = st.tuples(
    st.sampled_from(AGENTS),
    st.integers(1, 99).map(lambda cents: Price(cents * 10_000)),
    st.integers(500, 6_000).map(lambda lots: Shares(lots * LOT)),
)
releases = st.tuples(st.sampled_from(AGENTS), st.just(None), st.floats(0, 1))
losses = st.tuples(st.none(), st.none(), st.integers(0, 5_000_000))


@given(
    st.lists(st.one_of(wishes, wishes, wishes, releases, losses), min_size=20, max_size=200),
    st.builds(
        Limits,
        order_capital_share=st.integers(1_000, 50_000),
        agent_capital_share=st.integers(50_000, 150_000),
        floor_capital_share=st.integers(150_000, 500_000),
    ),
)
def test_no_sequence_of_approvals_gets_past_order_agent_or_floor_limit(steps, limits):
    """Orders approved, partly released (an order closed, a trade settled) and capital lost, in any order."""
    open_cost = dict.fromkeys(AGENTS, 0)
    base = money("1000")
    for agent, limit, amount in steps:
        if agent is None:
            base = Money(base - amount)
            continue
        if limit is None:
            open_cost[agent] = int(open_cost[agent] * amount)
            continue
        circumstances = seen(
            market=a_market(),
            agent_exposure=Money(open_cost[agent]),
            floor_exposure=Money(sum(open_cost.values())),
            capital_base=base,
            cash_available=money("1000"),
        )
        answer = judge(a_wish(agent=agent, limit=limit, shares=amount), circumstances, limits)
        if isinstance(answer, Refused):
            continue
        cost = answer.intent.cost_max
        open_cost[agent] += cost
        told = f"{format_units(cost)} of {format_units(base)}"
        assert cost * UNIT <= base * limits.order_capital_share, told
        assert open_cost[agent] * UNIT <= base * limits.agent_capital_share, told
        assert sum(open_cost.values()) * UNIT <= base * limits.floor_capital_share, told


@given(st.integers(1, 10_000_000_000), st.integers(1, UNIT))
def test_the_budget_of_an_order_is_what_the_gate_allows(base, share):
    limits = Limits(order_capital_share=share, agent_capital_share=UNIT, floor_capital_share=UNIT)
    budget = order_budget(Money(base), limits)
    assert budget * UNIT <= base * share < (budget + 1) * UNIT
