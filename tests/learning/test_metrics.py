"""The monitor's figures: what counts, what never does, and that the sums are exact."""

import statistics
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    CapitalAllocated,
    MetricsRecorded,
    RunEnded,
    RunStarted,
    TradeSettled,
)
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.order import CloseReason, TimeInForce
from polybot.domain.units import Millis, Money, Shares
from polybot.learning.metrics import Performance, Score
from tests.facts import MOMENTUM, REVERSION, START, Story, a_market, money, paid

MINUTE = 60_000


def fold(facts: Iterable[AnyFact]) -> Performance:
    performance = Performance()
    for fact in facts:
        performance.apply(fact)
    return performance


def record(facts: Iterable[AnyFact], agent: AgentId | None = MOMENTUM, at: int = START) -> MetricsRecorded:
    return next(found for found in fold(facts).record(Millis(at)) if found.agent == agent)


def settled(pnl: str, cost: str = "10", fees: str = "0", agent: AgentId = MOMENTUM, at: int = START) -> TradeSettled:
    return TradeSettled(
        at=Millis(at),
        agent=agent,
        order=OrderId(f"{agent}-000001"),
        market=MarketId("m"),
        outcome=Outcome.UP,
        shares=Shares(20_000_000),
        cost=money(cost),
        fees=money(fees),
        payout=Money(money(pnl) + money(cost) + money(fees)),
        pnl=money(pnl),
    )


def started(capital: str = "1000", at: int = START) -> RunStarted:
    return RunStarted(
        at=Millis(at), run="r", source="tape", mode="paper", capital=money(capital), seed=1, version="0.1.0"
    )


def allocated(moved: str, agent: AgentId = MOMENTUM) -> CapitalAllocated:
    return CapitalAllocated(at=START, agent=agent, capital=money(moved), moved=money(moved))


def turned(state: AgentState, at: int, agent: AgentId = MOMENTUM) -> AgentChanged:
    return AgentChanged(at=Millis(at), agent=agent, state=state, role="trader")


def test_an_agent_that_never_traded_has_no_win_rate_and_no_sharpe() -> None:
    found = record([started(), allocated("300")])
    assert (found.trades, found.win_rate, found.sharpe, found.drawdown) == (0, None, None, 0.0)
    assert found.equity == money("300")


def test_trades_wins_money_and_fees_are_counted_at_settlement() -> None:
    found = record([allocated("300"), settled("8.85", fees="0.35"), settled("-10.35", fees="0.35")])
    assert (found.trades, found.wins, found.win_rate) == (2, 1, 0.5)
    assert (found.pnl, found.fees, found.equity) == (money("-1.5"), money("0.7"), money("298.5"))


def test_a_trade_that_ends_at_nothing_is_no_win() -> None:
    assert record([settled("0")]).wins == 0


def test_a_settlement_without_shares_is_no_trade() -> None:
    empty = msgspec.structs.replace(settled("0", cost="0"), shares=Shares(0))
    assert record([allocated("300"), empty]).trades == 0


def test_sharpe_is_mean_over_deviation_of_return_on_stake_and_not_annualised() -> None:
    facts: list[AnyFact] = [
        settled("5", cost="9.5", fees="0.5"),
        settled("-10", cost="9.5", fees="0.5"),
        settled("1", cost="4"),
    ]
    returns = [0.5, -1.0, 0.25]
    assert record(facts).sharpe == pytest.approx(statistics.mean(returns) / statistics.stdev(returns))


def test_sharpe_needs_two_trades_that_differ() -> None:
    assert record([settled("5")]).sharpe is None
    assert record([settled("-10"), settled("-10")]).sharpe is None


def test_drawdown_is_the_deepest_fall_of_settled_equity_from_its_peak() -> None:
    facts: list[AnyFact] = [allocated("100"), settled("20"), settled("-30"), settled("40"), settled("-10")]
    assert record(facts).drawdown == pytest.approx(30 / 120)


def test_money_taken_out_or_put_in_is_no_drawdown() -> None:
    facts: list[AnyFact] = [allocated("100"), settled("-20"), allocated("-40"), allocated("500")]
    assert record(facts).drawdown == pytest.approx(0.20)
    assert record([*facts, settled("-54")]).drawdown == pytest.approx(1 - 0.8 * 0.9)


def test_the_floor_starts_from_the_configured_capital_and_sums_its_agents() -> None:
    facts: list[AnyFact] = [
        started(),
        allocated("300"),
        allocated("300", REVERSION),
        settled("-10"),
        settled("4", agent=REVERSION),
    ]
    floor = record(facts, None)
    assert (floor.trades, floor.wins, floor.pnl, floor.equity) == (2, 1, money("-6"), money("994"))
    assert floor.drawdown == pytest.approx(10 / 1000)


def test_a_second_start_adds_no_capital() -> None:
    assert record([started(), settled("-10"), started()], None).equity == money("990")


def test_an_open_order_is_exposed_by_what_it_may_cost_then_by_what_it_did() -> None:
    story = Story()
    story.agent(MOMENTUM, "300")
    order = story.intent(MOMENTUM, story.opened(a_market()), tif=TimeInForce.GTC)
    assert record(story.facts).exposure == order.cost_max
    story.accepted(order)
    fill = story.matched(order, "8", "0.54")
    assert record(story.facts).exposure == order.cost_max
    story.closed(order, CloseReason.CANCELLED)
    assert record(story.facts).exposure == record(story.facts, None).exposure == paid(fill)
    story.confirmed_fill(fill)
    story.settled(a_market(), "0")
    assert record(story.facts).exposure == record(story.facts, None).exposure == 0


def test_a_voided_fill_never_counts() -> None:
    story = Story()
    story.agent(MOMENTUM, "300")
    order = story.intent(MOMENTUM, story.opened(a_market()))
    story.accepted(order)
    fill = story.matched(order, "20", "0.54")
    story.closed(order, CloseReason.FILLED)
    story.failed_fill(fill)
    story.settled(a_market(), "1")
    found = record(story.facts)
    assert (found.trades, found.exposure, found.pnl, found.fees, found.equity) == (0, 0, 0, 0, money("300"))


def test_what_is_over_is_forgotten() -> None:
    story = Story()
    story.agent(MOMENTUM, "300")
    for number in range(20):
        market = story.opened(a_market(number))
        story.bought(MOMENTUM, market)
        story.settled(market, "1")
    performance = fold(story.facts)
    assert not performance.orders
    assert not performance.fills


def test_uptime_is_the_share_of_time_running_since_the_first_start() -> None:
    facts: list[AnyFact] = [
        turned(AgentState.STARTING, START),
        turned(AgentState.RUNNING, START + MINUTE),
        turned(AgentState.CRASHED, START + 3 * MINUTE),
        turned(AgentState.RUNNING, START + 4 * MINUTE),
    ]
    assert record(facts, at=START + 5 * MINUTE).uptime == pytest.approx(3 / 5)


def test_a_run_that_was_killed_ran_no_longer_than_its_last_fact() -> None:
    facts: list[AnyFact] = [
        started(),
        turned(AgentState.RUNNING, START),
        settled("1", at=START + MINUTE),
        started(at=START + 9 * MINUTE),
        turned(AgentState.RUNNING, START + 9 * MINUTE),
    ]
    assert record(facts, at=START + 10 * MINUTE).uptime == pytest.approx(2 / 10)


def test_a_run_that_ended_stops_every_clock() -> None:
    ended = RunEnded(at=Millis(START + MINUTE), reason="asked to", finished=False)
    facts: list[AnyFact] = [turned(AgentState.RUNNING, START), ended]
    assert record(facts, at=START + 2 * MINUTE).uptime == pytest.approx(0.5)


def test_the_floors_uptime_is_that_of_all_its_agents_together() -> None:
    auditor = AgentId("auditor")
    facts: list[AnyFact] = [
        turned(AgentState.RUNNING, START),
        turned(AgentState.RUNNING, START, auditor),
        turned(AgentState.CRASHED, START + MINUTE, auditor),
    ]
    assert record(facts, None, START + 2 * MINUTE).uptime == pytest.approx(3 / 4)


def test_an_agent_that_has_only_just_started_is_up() -> None:
    assert record([turned(AgentState.RUNNING, START)]).uptime == 1.0
    assert record([turned(AgentState.STARTING, START)]).uptime == 0.0


def test_there_is_one_record_per_agent_by_name_and_last_the_floors() -> None:
    facts: list[AnyFact] = [
        started(),
        allocated("300"),
        allocated("300", REVERSION),
        turned(AgentState.RUNNING, START, AgentId("boss")),
    ]
    assert [found.agent for found in fold(facts).record(START)] == ["boss", REVERSION, MOMENTUM, None]


pnls = st.integers(min_value=-20_000_000, max_value=20_000_000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((MOMENTUM, REVERSION)), pnls), max_size=40))
def test_the_floor_is_the_sum_of_its_agents_to_the_last_millionth(trades: list[tuple[AgentId, int]]) -> None:
    facts: list[AnyFact] = [started("600"), allocated("300"), allocated("300", REVERSION)]
    for agent, pnl in trades:
        facts.append(msgspec.structs.replace(settled("0", agent=agent), pnl=Money(pnl)))
    first, second, floor = fold(facts).record(START)
    assert first.pnl + second.pnl == floor.pnl == sum(pnl for _, pnl in trades)
    assert first.equity + second.equity == floor.equity == money("600") + floor.pnl


@settings(max_examples=60, deadline=None)
@given(st.lists(pnls, max_size=60))
def test_running_figures_are_those_of_the_whole_history(history: list[int]) -> None:
    score = Score()
    score.fund(money("300"))
    equity, peak, deepest = money("300"), money("300"), 0.0
    for pnl in history:
        score.settle(msgspec.structs.replace(settled("0"), pnl=Money(pnl)))
        equity = Money(equity + pnl)
        peak = max(peak, equity)
        deepest = max(deepest, (peak - equity) / peak)
    assert (score.equity, score.drawdown) == (equity, deepest)
    if len(set(history)) > 1:
        returns = [pnl / money("10") for pnl in history]
        assert score.returns.sharpe == pytest.approx(statistics.mean(returns) / statistics.stdev(returns), abs=1e-9)


def test_a_monitor_from_a_checkpoint_goes_on_as_if_it_had_not_stopped() -> None:
    story = Story()
    story.agent(MOMENTUM, "300")
    market = story.opened(a_market())
    story.bought(MOMENTUM, market)
    story.settled(market, "1")
    for cut in range(len(story.facts)):
        half = fold(story.facts[:cut])
        restored = msgspec.msgpack.decode(msgspec.msgpack.encode(half), type=Performance)
        for fact in story.facts[cut:]:
            restored.apply(fact)
        assert restored.record(START) == fold(story.facts).record(START)
