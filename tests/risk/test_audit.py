"""The auditor passes an honest story, and finds every single thing that can be wrong with one."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import (
    AnyFact,
    BooksAudited,
    IntentRecorded,
    MarketOpened,
    OrderAccepted,
    OrderRejected,
    RunStarted,
    SystemNoted,
    TradeAudited,
    TradeSettled,
    TradingPaused,
    TradingResumed,
)
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.order import CloseReason, TimeInForce
from polybot.domain.units import Millis, Money
from polybot.risk.audit import ORDERS_KEPT_MAX, Auditor
from polybot.risk.audit_orders import FINDINGS_PER_ORDER_MAX
from polybot.risk.audit_rules import Rule
from polybot.risk.limits import Limits
from tests.facts import MOMENTUM, REVERSION, SPIKE, START, Story, a_market, money, price
from tests.risk.broken_stories import BREAKS, Mutation, changed, honest_story, intent, missing, paused, where


def audit(facts: Sequence[AnyFact], limits: Limits | None = None) -> list[TradeAudited | SystemNoted]:
    auditor = Auditor(limits=limits or Limits())
    return [verdict for fact in facts for verdict in auditor.apply(fact)]


def found(facts: Sequence[AnyFact]) -> list[str]:
    """Every finding about the story, whatever it was said about."""
    texts: list[str] = []
    for verdict in audit(facts):
        texts += verdict.findings if isinstance(verdict, TradeAudited) else [verdict.text]
    return texts


def test_an_honest_story_passes_with_one_verdict_per_order() -> None:
    verdicts = audit(honest_story().facts)
    assert [v.order for v in verdicts if isinstance(v, TradeAudited)] == [
        "momentum-000001",
        "mean-reversion-000001",
        "volume-spike-000001",
        "momentum-000002",
    ]
    assert found(honest_story().facts) == []


@pytest.mark.parametrize(("rule", "breaks"), BREAKS, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(BREAKS)])
def test_a_story_broken_in_one_place_is_found_out(rule: Rule, breaks: Mutation) -> None:
    findings = found(breaks(honest_story().facts))
    assert any(text.startswith(f"{rule}: ") for text in findings), findings


def test_money_that_was_freed_while_an_order_was_decided_may_still_count_as_deployed_in_its_proof() -> None:
    proof = {"agent_exposure": Money(1), "floor_exposure": Money(20_000_000)}
    assert found(intent(1, proof=proof)(honest_story().facts)) == []


def test_every_rule_has_a_story_that_breaks_it() -> None:
    assert {rule for rule, _ in BREAKS} == set(Rule)


@pytest.mark.parametrize("kind", list(dict.fromkeys(type(fact) for fact in honest_story().facts)))
def test_a_story_with_a_fact_left_out_is_judged_without_an_exception(kind: type) -> None:
    facts = honest_story().facts
    for number in range(sum(type(fact) is kind for fact in facts)):
        found(missing(kind, number)(facts))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_scrambled_story_gives_findings_and_never_an_exception(data: st.DataObject) -> None:
    facts = honest_story().facts
    picked = data.draw(st.lists(st.sampled_from(facts), max_size=len(facts) + 5))
    auditor = Auditor()
    for fact in picked:
        auditor.apply(fact)
    assert auditor.exposure == sum(books.exposure for books in auditor.agents.values())


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=0, max_value=40))
def test_an_auditor_from_a_checkpoint_goes_on_as_if_it_had_not_stopped(cut: int) -> None:
    facts = changed(TradeSettled, pnl=money("9.2"))(honest_story().facts)
    auditor = Auditor()
    verdicts = [v for fact in facts[:cut] for v in auditor.apply(fact)]
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(auditor), type=Auditor)
    verdicts += [v for fact in facts[cut:] for v in restored.apply(fact)]
    assert verdicts == audit(facts)


def test_a_finding_names_the_rule_the_number_and_the_bound() -> None:
    (text,) = found(intent(proof={"book_age_ms": 6_200})(honest_story().facts))
    assert text == "book_age: the book was 6200 ms old, bound 5000 ms"


def test_the_order_limit_is_reckoned_from_the_auditors_own_capital() -> None:
    boasting = intent(proof={"capital_base": money("5000")}, cost_max=money("20"))
    findings = found(boasting(honest_story().facts))
    assert "order_capital: the order may cost $20.00, bound $18.00 (2% of $900.00)" in findings


def test_capital_that_was_lost_no_longer_carries_limits() -> None:
    story = honest_story()
    story.facts.pop()
    assert story.pnl > 0
    third = story.opened(a_market(2))
    story.bought(SPIKE, third)
    story.settled(third, "0")
    story.bought(MOMENTUM, story.opened(a_market(3)))
    assert story.pnl < 0
    overstated = intent(5, proof={"capital_base": money("900")})
    assert found(story.facts) == []
    assert any(text.startswith("capital_base: ") for text in found(overstated(story.facts)))


def test_a_wrong_settlement_replaces_the_verdict_given_before() -> None:
    verdicts = audit(changed(TradeSettled, pnl=money("9.2"))(honest_story().facts))
    about = [v for v in verdicts if isinstance(v, TradeAudited) and v.order == "momentum-000001"]
    assert [v.passed for v in about] == [True, False]


def test_an_order_may_be_sent_again_after_a_pause_has_ended() -> None:
    facts = paused(honest_story().facts)
    place = where(facts, TradingPaused)
    resumed = TradingResumed(at=facts[place].at, agent=None, breaker="daily_loss", text="a new day")
    assert found([*facts[: place + 1], resumed, *facts[place + 1 :]]) == []
    assert found(changed(TradingPaused, until=facts[place].at)(facts)) == []
    assert found(changed(TradingPaused, agent=SPIKE)(facts)) == [
        "paused: decided while trading was paused: 10 % lost today"
    ]


def test_an_order_is_judged_by_the_terms_in_force_when_it_was_meant() -> None:
    finer = msgspec.structs.replace(a_market(0), tick=price("0.001"))
    facts = intent(1, limit=price("0.455"))(honest_story().facts)
    place = where(facts, IntentRecorded, 1)
    opened = MarketOpened(at=facts[place].at, market=finer)
    texts = found([*facts[:place], opened, *facts[place:]])
    assert not any(text.startswith("tick_grid") for text in texts)


def test_a_voided_fill_costs_nothing_and_leaves_nothing_deployed() -> None:
    auditor = Auditor()
    for fact in honest_story().facts:
        auditor.apply(fact)
    assert auditor.exposure == 0
    assert auditor.agents[SPIKE].cash == money("300")


def test_the_desks_cash_is_compared_with_what_fills_and_payouts_give() -> None:
    story, auditor = honest_story(), Auditor()
    for fact in story.facts:
        auditor.apply(fact)
    books = auditor.balances(Millis(story.now), {agent: Money(cash) for agent, cash in story.cash.items()})
    assert [verdict.passed for verdict in books] == [True, True, True]
    wrong = auditor.balances(Millis(story.now), {MOMENTUM: money("300"), AgentId("stranger"): money("1")})
    assert [(v.agent, v.passed) for v in wrong] == [
        (REVERSION, False),
        (MOMENTUM, False),
        ("stranger", False),
        (SPIKE, False),
    ]
    assert wrong[1].recomputed_cash == story.cash[MOMENTUM]


def test_provisional_fills_are_not_yet_in_the_recomputed_cash() -> None:
    story = Story()
    story.agent(MOMENTUM, "300")
    order = story.intent(MOMENTUM, story.opened(a_market()))
    story.accepted(order)
    story.matched(order, "20", "0.54")
    auditor = Auditor()
    for fact in story.facts:
        auditor.apply(fact)
    expected = BooksAudited(at=START, agent=MOMENTUM, desk_cash=money("300"), recomputed_cash=money("300"), passed=True)
    assert auditor.balances(START, {MOMENTUM: money("300")}) == [expected]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((MOMENTUM, REVERSION, SPIKE)),
            st.sampled_from(tuple(Outcome)),
            st.integers(500, 2000),
            st.integers(40, 54),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from(("0", "0.5", "1")),
)
def test_recomputed_cash_is_the_stories_to_the_last_millionth(
    trades: list[tuple[AgentId, Outcome, int, int, bool]], payout: str
) -> None:
    story, auditor = Story(), Auditor()
    for agent in (MOMENTUM, REVERSION, SPIKE):
        story.agent(agent, "300")
    market = story.opened(a_market())
    for agent, outcome, lots, cents, fails in trades:
        order = story.intent(agent, market, size=f"{lots / 100:.2f}", outcome=outcome, ask=f"0.{cents}")
        story.accepted(order)
        fill = story.matched(order, f"{lots / 100:.2f}", f"0.{cents}")
        story.closed(order, CloseReason.FILLED)
        (story.failed_fill if fails else story.confirmed_fill)(fill)
    story.settled(market, payout)
    for fact in story.facts:
        auditor.apply(fact)
    assert {agent: books.cash for agent, books in auditor.agents.items()} == story.cash
    assert auditor.pnl == story.pnl == sum(story.cash.values()) - money("900")
    texts = found(story.facts)
    assert all(text.startswith(("agent_capital", "floor_capital")) for text in texts), texts


def a_bought_story(
    size: str, at_price: str, reason: CloseReason, tif: TimeInForce = TimeInForce.FAK, mode: str = "live"
) -> list[AnyFact]:
    """20 shares were meant at 0.55 and 0.54 were seen: $10.60 are given for them, which buy 19.27 at the limit."""
    story = Story()
    story.agent(MOMENTUM, "900")
    market = story.opened(a_market())
    order = story.intent(MOMENTUM, market, tif=tif)
    story.accepted(order)
    fill = story.matched(order, size, at_price)
    story.closed(order, reason)
    story.confirmed_fill(fill)
    story.settled(market, "1")
    return changed(RunStarted, mode=mode)(story.ended())


MARKET_ORDERS = (TimeInForce.FOK, TimeInForce.FAK)
FILLED, KILLED = CloseReason.FILLED, CloseReason.KILLED


@pytest.mark.parametrize("tif", MARKET_ORDERS)
@pytest.mark.parametrize(("size", "at_price", "reason"), [("22.08", "0.48", FILLED), ("19.27", "0.55", KILLED)])
def test_a_live_market_buy_may_bring_more_or_less_than_was_meant_for_its_money(
    size: str, at_price: str, reason: CloseReason, tif: TimeInForce
) -> None:
    assert found(a_bought_story(size, at_price, reason, tif)) == []


def test_on_paper_it_is_held_to_its_shares() -> None:
    (text,) = found(a_bought_story("22.08", "0.48", FILLED, mode="paper"))[:1]
    assert text.startswith(Rule.FILL_SIZE)
    texts = found(a_bought_story("19.27", "0.55", KILLED, TimeInForce.FOK, mode="paper"))
    assert [text.split(":")[0] for text in texts] == [Rule.ALL_OR_NOTHING]


@pytest.mark.parametrize("tif", MARKET_ORDERS)
def test_a_live_market_buy_that_spent_more_than_was_reserved_is_found_out(tif: TimeInForce) -> None:
    texts = found(a_bought_story("23", "0.48", FILLED, tif))
    assert [text.split(":")[0] for text in texts] == [Rule.FILL_SIZE, Rule.COST_PAID]


def test_a_live_resting_order_is_held_to_its_shares() -> None:
    assert any(
        text.startswith(Rule.FILL_SIZE) for text in found(a_bought_story("20.01", "0.54", FILLED, TimeInForce.GTC))
    )


def test_a_live_fill_or_kill_order_that_did_not_spend_its_money_is_found_out() -> None:
    texts = found(a_bought_story("19.25", "0.55", KILLED, TimeInForce.FOK))
    assert [text.split(":")[0] for text in texts] == [Rule.ALL_OR_NOTHING]


def test_the_end_of_a_live_market_buy_is_still_told_by_its_shares() -> None:
    for size, at_price, reason in (("22.08", "0.48", KILLED), ("19.27", "0.55", FILLED)):
        (text,) = found(a_bought_story(size, at_price, reason))
        assert text.startswith(Rule.CLOSE_REASON)


def test_an_order_of_no_possible_price_gives_findings_at_a_live_venue_too() -> None:
    for limit in ("0", "1"):
        facts = intent(limit=price(limit))(a_bought_story("20", "0.54", FILLED))
        assert any(text.startswith(Rule.PRICE_RANGE) for text in found(facts))


def test_nothing_is_remembered_without_bound() -> None:
    auditor = Auditor()
    story = Story()
    story.agent(MOMENTUM, "300")
    order = story.intent(MOMENTUM, story.opened(a_market()))
    for fact in story.facts:
        auditor.apply(fact)
    for number in range(ORDERS_KEPT_MAX + 50):
        renamed = msgspec.structs.replace(order, id=OrderId(f"momentum-x{number}"))
        auditor.apply(IntentRecorded(at=START, agent=MOMENTUM, intent=renamed))
        auditor.apply(OrderRejected(at=START, agent=MOMENTUM, order=renamed.id, text="no"))
        auditor.apply(OrderAccepted(at=START, agent=MOMENTUM, order=order.id))
    assert len(auditor.orders) == 1
    assert len(auditor.finished) == ORDERS_KEPT_MAX
    assert len(auditor.orders[order.id].findings) == FINDINGS_PER_ORDER_MAX
