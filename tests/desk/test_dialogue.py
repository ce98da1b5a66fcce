"""A desk's day as a dialogue: an event or a fact goes in, verdicts come out, and the state says what was made of it."""

from typing import Any

import pytest

from polybot.desk.room import TradingRoom
from polybot.domain.errors import OrderError
from polybot.domain.events import (
    AnyFact,
    CapitalAllocated,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    Liquidity,
    MarketEvent,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    ReferencePriced,
    SignalRefused,
    TradeSettled,
    TradingPaused,
)
from polybot.domain.ids import AgentId, FillId, OrderId, SeriesId
from polybot.domain.ledger import CASH
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, Intended, OrderIntent, TimeInForce, Working
from polybot.domain.units import UNIT, Millis, Money, Price
from polybot.risk.gate import Approved
from polybot.risk.limits import Limits
from polybot.strategies.base import Wake
from tests.builders import Scripted, a_plan, always, book, listed, one_sided, trade, wants
from tests.facts import START, money, price, shares

AGENT = AgentId("scripted")
FIRST = OrderId("scripted-000001")
MARKET = one_sided()


class Talk:
    """One room with money in it, spoken to event by event; `say` answers with the verdicts."""

    def __init__(self, *plans: Any, limits: Limits | None = None) -> None:
        plans = plans or (a_plan(),)
        self.room = TradingRoom(list(plans), limits or Limits())
        self.now = Millis(START)
        for plan in plans:
            self.tell(CapitalAllocated, agent=plan.agent, capital=money("500"), moved=money("500"))
        self.hear(listed(MARKET))
        self.desk = self.room.desks[plans[0].agent]

    def hear(self, event: MarketEvent) -> list[Any]:
        self.now = event.received
        state = self.room.observe(event)
        return [v for s in self.room.affected(event, state) for v in self.room.step(event, s, self.now)]

    def tell(self, kind: type, **fields: Any) -> AnyFact:
        fact: AnyFact = kind(at=self.now, **fields)
        self.room.apply(fact)
        return fact

    def bought(self) -> OrderIntent:
        (verdict,) = self.hear(book(MARKET, 60_000))
        assert isinstance(verdict, Approved)
        return verdict.intent

    def matched(self, intent: OrderIntent, size: str, at_price: str = "0.52", number: int = 1) -> FillMatched:
        fact = self.tell(
            FillMatched,
            agent=intent.agent,
            fill=FillId(f"{intent.id}.{number}"),
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=Side.BUY,
            price=price(at_price),
            shares=shares(size),
            fee=money("0.10"),
            liquidity=Liquidity.TAKER,
            available=shares("100"),
        )
        assert isinstance(fact, FillMatched)
        return fact


class TestDeciding:
    def test_a_signal_becomes_an_approved_order_with_its_reason(self):
        (verdict,) = Talk(a_plan(script=always(wants(fair="0.70", reason="I like it")))).hear(book(MARKET, 60_000))
        assert isinstance(verdict, Approved)
        intent = verdict.intent
        assert (intent.id, intent.market, intent.outcome) == (FIRST, MARKET.id, Outcome.UP)
        assert (intent.limit, intent.time_in_force, intent.reason) == (price("0.53"), TimeInForce.FAK, "I like it")
        assert intent.proof.event_seq == 2  # the listing and the book
        assert intent.cost_max <= money("10")  # two percent of the 500 there are

    def test_an_approved_order_is_reserved_before_anything_is_sent(self):
        talk = Talk()
        intent = talk.bought()
        state = talk.desk.state
        assert state.orders == {FIRST: Intended(intent=intent)}
        assert (state.reserved, state.exposure) == (intent.cost_max, intent.cost_max)
        assert (state.cash, state.cash_available) == (money("500"), money("500") - intent.cost_max)
        assert talk.room.exposure() == intent.cost_max

    def test_no_opinion_no_verdict(self):
        assert Talk(a_plan(script=always(None))).hear(book(MARKET, 60_000)) == []

    def test_one_order_at_a_time_in_a_market(self):
        talk = Talk(a_plan(orders_per_window=3))
        talk.bought()
        assert talk.hear(book(MARKET, 61_000)) == []

    def test_the_next_order_comes_after_the_answer_with_a_new_number(self):
        talk = Talk(a_plan(orders_per_window=3))
        first = talk.bought()
        talk.tell(OrderRejected, agent=AGENT, order=first.id, text="no")
        (verdict,) = talk.hear(book(MARKET, 61_000))
        assert verdict.intent.id == "scripted-000002"

    def test_a_fill_not_yet_confirmed_keeps_nobody_from_the_next_order_and_counts_as_deployed(self):
        talk = Talk(a_plan(orders_per_window=3))
        intent = talk.bought()
        talk.tell(OrderAccepted, agent=AGENT, order=FIRST)
        talk.matched(intent, "10")
        talk.tell(OrderClosed, agent=AGENT, order=FIRST, reason=CloseReason.KILLED)
        (verdict,) = talk.hear(book(MARKET, 61_000))
        assert verdict.intent.proof.agent_exposure == money("5.30")

    def test_another_market_is_another_matter(self):
        talk, other = Talk(a_plan(orders_per_window=1)), one_sided(1, window_start=Millis(START))
        talk.bought()
        talk.hear(listed(other, START + 60_500))
        (verdict,) = talk.hear(book(other, 61_000))
        assert verdict.intent.market == other.id

    def test_no_more_orders_in_a_window_than_its_terms_allow(self):
        talk = Talk(a_plan(orders_per_window=1))
        talk.bought()
        talk.tell(OrderRejected, agent=AGENT, order=FIRST, text="no")
        assert talk.hear(book(MARKET, 61_000)) == []

    @pytest.mark.parametrize("at", [-1, 900_000])
    def test_nothing_is_decided_outside_the_window(self, at):
        assert Talk().hear(book(MARKET, at)) == []

    def test_an_agent_looks_only_at_its_series(self):
        assert Talk(a_plan(series=[SeriesId("ETH-15m")])).hear(book(MARKET, 60_000)) == []
        assert len(Talk(a_plan(series=[SeriesId("BTC-15m")])).hear(book(MARKET, 60_000))) == 1

    def test_a_strategy_is_asked_only_for_what_wakes_it(self):
        plan = a_plan()
        plan.strategy.__class__ = type("OnTrades", (Scripted,), {"wakes": Wake.TRADE})
        talk = Talk(plan)
        assert talk.hear(book(MARKET, 60_000)) == []
        assert len(talk.hear(trade(MARKET, 60_001))) == 1

    def test_a_reference_price_wakes_for_every_market_of_its_asset(self):
        talk = Talk()
        talk.hear(book(MARKET, 60_000, bids=()))
        talk.desk.state.tallies.clear()
        talk.desk.state.orders.clear()
        talk.desk.state.holdings.clear()
        event = ReferencePriced(Millis(START + 60_001), Millis(START + 60_001), "BTC", "chainlink", 100_000 * UNIT)
        assert [type(v) for v in talk.hear(event)] == [Approved]
        other = ReferencePriced(Millis(START + 60_002), Millis(START + 60_002), "ETH", "chainlink", 4_000 * UNIT)
        assert talk.hear(other) == []

    def test_a_reference_price_of_another_asset_concerns_nobody(self):
        event = ReferencePriced(Millis(START + 60_001), Millis(START + 60_001), "ETH", "chainlink", 4_000 * UNIT)
        assert Talk().hear(event) == []

    def test_an_order_may_be_capped_below_the_owners_limit(self):
        (verdict,) = Talk(a_plan(order_cost_max=money("5"))).hear(book(MARKET, 60_000))
        assert verdict.intent.cost_max <= money("5")

    def test_desks_see_what_the_one_before_them_has_just_reserved(self):
        plans = [a_plan(f"agent-{number}") for number in range(4)]
        talk = Talk(
            *plans, limits=Limits(order_capital_share=20_000, agent_capital_share=20_000, floor_capital_share=50_000)
        )
        verdicts = talk.hear(book(MARKET, 60_000))
        assert [type(verdict) for verdict in verdicts] == [Approved, Approved, SignalRefused, SignalRefused]
        assert verdicts[2].rule == "floor_capital"


class TestRefusals:
    def paused(self) -> Talk:
        talk = Talk()
        talk.tell(
            TradingPaused, agent=AGENT, breaker="loss_streak", value=5.0, limit=5.0, text="five losses", until=None
        )
        return talk

    def test_a_refused_wish_is_a_fact_with_rule_number_and_bound(self):
        (verdict,) = self.paused().hear(book(MARKET, 60_000))
        assert isinstance(verdict, SignalRefused)
        assert (verdict.agent, verdict.market, verdict.rule) == (AGENT, MARKET.id, "agent_paused")
        assert (verdict.value, verdict.limit, verdict.text) == (1, 0, "the agent is paused")

    def test_only_the_first_of_a_rule_and_window_is_told_the_rest_are_counted(self):
        talk = self.paused()
        talk.hear(book(MARKET, 60_000))
        assert talk.hear(book(MARKET, 61_000)) == []
        assert talk.desk.state.tallies[MARKET.id].refusals == {"agent_paused": 2}

    def test_a_floor_pause_comes_before_the_agents_own(self):
        talk = self.paused()
        talk.tell(TradingPaused, agent=None, breaker="daily_loss", value=0.1, limit=0.1, text="", until=None)
        (verdict,) = talk.hear(book(MARKET, 60_000))
        assert verdict.rule == "floor_paused"

    def test_a_contradicted_book_is_not_traded_on(self):
        (verdict,) = Talk().hear(book(MARKET, 60_000, bids=(("0.60", "10"),), asks=(("0.52", "10"),)))
        assert verdict.rule == "book_not_verified"


class TestFills:
    def accepted(self) -> tuple[Talk, OrderIntent]:
        talk = Talk()
        intent = talk.bought()
        talk.tell(OrderAccepted, agent=AGENT, order=FIRST)
        return talk, intent

    def test_an_accepted_order_works(self):
        talk, intent = self.accepted()
        assert talk.desk.state.orders == {FIRST: Working(intent=intent)}

    def test_a_match_is_provisional_the_cash_is_gone_and_the_shares_are_not_yet_ours(self):
        talk, intent = self.accepted()
        talk.matched(intent, "10")
        state = talk.desk.state
        assert state.cash == money("500")
        assert state.ledger.balance("cash", CASH).held_out == money("5.30")
        assert (state.holdings, list(state.provisional)) == ({}, ["scripted-000001.1"])
        assert state.held(MARKET.id) == {Outcome.UP: shares("10")}

    def test_a_match_moves_money_from_reserved_to_spent_and_exposure_stays(self):
        talk, intent = self.accepted()
        talk.matched(intent, "10")
        assert talk.desk.state.exposure == intent.cost_max
        assert talk.desk.state.cash_available == money("500") - intent.cost_max

    def test_confirmed_it_is_a_holding_at_cost(self):
        talk, intent = self.accepted()
        fill = talk.matched(intent, "10")
        talk.tell(FillConfirmed, agent=AGENT, fill=fill.fill, order=FIRST)
        state = talk.desk.state
        holding = state.holdings[FIRST]
        assert (holding.shares, holding.cost, holding.fees) == (shares("10"), money("5.20"), money("0.10"))
        assert (state.cash, state.provisional) == (money("494.70"), {})

    def test_voided_it_never_was(self):
        talk, intent = self.accepted()
        fill = talk.matched(intent, "10")
        talk.tell(OrderClosed, agent=AGENT, order=FIRST, reason=CloseReason.KILLED)
        talk.tell(FillFailed, agent=AGENT, fill=fill.fill, order=FIRST, text="undone")
        state = talk.desk.state
        assert (state.cash, state.cash_available, state.exposure) == (money("500"), money("500"), 0)
        assert (state.provisional, state.holdings, state.tallies[MARKET.id].fills) == ({}, {}, 0)

    def test_closing_frees_what_was_not_spent(self):
        talk, intent = self.accepted()
        talk.matched(intent, "10")
        talk.tell(OrderClosed, agent=AGENT, order=FIRST, reason=CloseReason.KILLED)
        assert (talk.desk.state.orders, talk.desk.state.exposure) == ({}, money("5.30"))

    def test_two_fills_of_one_order_are_one_holding(self):
        talk, intent = self.accepted()
        for number, at_price in ((1, "0.52"), (2, "0.53")):
            fill = talk.matched(intent, "5", at_price, number)
            talk.tell(FillConfirmed, agent=AGENT, fill=fill.fill, order=FIRST)
        holding = talk.desk.state.holdings[FIRST]
        assert (holding.shares, holding.cost, holding.fees) == (shares("10"), money("5.25"), money("0.20"))

    def test_a_fill_beyond_the_orders_size_is_a_bug_and_says_so(self):
        talk, intent = self.accepted()
        with pytest.raises(OrderError, match="would make"):
            talk.matched(intent, "1000")

    def test_the_venue_speaking_of_an_order_unknown_here_is_a_bug_and_says_so(self):
        with pytest.raises(OrderError, match="it does not know"):
            Talk().tell(OrderAccepted, agent=AGENT, order=OrderId("scripted-000009"))


class TestSettlement:
    def holding(self, outcome: Outcome = Outcome.UP) -> Talk:
        talk = Talk(a_plan(script=always(wants(outcome))))
        intent = talk.bought()
        talk.tell(OrderAccepted, agent=AGENT, order=FIRST)
        fill = talk.matched(intent, "10")
        talk.tell(OrderClosed, agent=AGENT, order=FIRST, reason=CloseReason.KILLED)
        talk.tell(FillConfirmed, agent=AGENT, fill=fill.fill, order=FIRST)
        return talk

    @pytest.mark.parametrize(
        ("outcome", "payout_up", "payout", "pnl"),
        [
            (Outcome.UP, "1", "10", "4.70"),
            (Outcome.UP, "0", "0", "-5.30"),
            (Outcome.DOWN, "0", "10", "4.70"),
            (Outcome.DOWN, "1", "0", "-5.30"),
            (Outcome.UP, "0.5", "5", "-0.30"),
        ],
    )
    def test_a_position_ends_with_payout_less_cost_less_fees(self, outcome, payout_up, payout, pnl):
        talk = self.holding(outcome)
        talk.tell(MarketSettled, market=MARKET.id, payout_up=price(payout_up))
        (settled,) = talk.desk.settlements(talk.now)
        assert (settled.order, settled.outcome, settled.payout, settled.pnl) == (
            FIRST,
            outcome,
            money(payout),
            money(pnl),
        )
        talk.room.apply(settled)
        state = talk.desk.state
        assert (state.cash, state.equity) == (money("500") + money(pnl), money("500") + money(pnl))
        assert (state.holdings, state.exposure) == ({}, 0)

    def test_nothing_settles_before_the_venue_says_so(self):
        assert self.holding().desk.settlements(Millis(MARKET.window_end + 1)) == []

    def test_nothing_settles_while_a_fill_may_still_fail(self):
        talk = Talk()
        intent = talk.bought()
        talk.tell(OrderAccepted, agent=AGENT, order=FIRST)
        fill = talk.matched(intent, "10")
        talk.tell(OrderClosed, agent=AGENT, order=FIRST, reason=CloseReason.KILLED)
        talk.tell(MarketSettled, market=MARKET.id, payout_up=Price(UNIT))
        assert talk.desk.settlements(talk.now) == []
        talk.tell(FillConfirmed, agent=AGENT, fill=fill.fill, order=FIRST)
        assert [type(fact) for fact in talk.desk.settlements(talk.now)] == [TradeSettled]

    def test_the_ledger_sums_to_zero_in_every_asset(self):
        talk = self.holding()
        talk.tell(MarketSettled, market=MARKET.id, payout_up=Price(UNIT))
        talk.room.apply(talk.desk.settlements(talk.now)[0])
        ledger = talk.desk.state.ledger
        assert {ledger.total(asset) for asset in (CASH, f"{MARKET.id}:UP")} == {0}


def test_capital_may_be_taken_back():
    talk = Talk()
    talk.tell(CapitalAllocated, agent=AGENT, capital=money("300"), moved=Money(-money("200")))
    assert (talk.desk.state.capital, talk.desk.state.cash, talk.room.capital()) == (money("300"),) * 3


def test_facts_of_agents_and_kinds_that_are_not_the_desks_pass_by():
    talk = Talk()
    before = talk.room.state.desks[AGENT].next_order
    talk.tell(IntentRecorded, agent=AgentId("somebody-else"), intent=talk.bought())
    assert talk.room.state.desks[AGENT].next_order == before + 1
