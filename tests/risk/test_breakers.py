"""R14: what opens each breaker, for how long, as which facts, and that a restart keeps it shut."""

import msgspec
import pytest

from polybot.desk.room import RoomState, TradingRoom
from polybot.desk.state import Holding
from polybot.domain.events import (
    AnyFact,
    CapitalAllocated,
    MarketSettled,
    SignalRefused,
    TradeSettled,
    TradingPaused,
    TradingResumed,
)
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.market import Outcome
from polybot.domain.units import DAY_MS, Millis, Money, Shares
from polybot.risk.breakers import DayBook, daily_breakers, loss_streak_breaker, next_midnight
from polybot.risk.limits import HOUR_MS, Limits
from tests.builders import Floor, a_plan, always, book, listed, one_sided, resolved, wants
from tests.facts import START, money

LIMITS = Limits()
NOON = Millis(20_000 * DAY_MS + DAY_MS // 2)
MIDNIGHT = Millis(20_001 * DAY_MS)
AGENT = AgentId("scripted")


def day_book(*equity: str, at: int = NOON) -> DayBook:
    """A day that began with the first amount and went through the others."""
    kept = DayBook()
    kept.deposit(Millis(at), money(equity[0]))
    for amount in equity[1:]:
        kept.note(Millis(at), money(amount))
    return kept


def open_breakers(kept: DayBook, at: int = NOON) -> list[str]:
    return [paused.breaker for paused in daily_breakers(kept, Millis(at), LIMITS)]


class TestTheDay:
    def test_a_loss_just_under_ten_percent_pauses_nothing(self):
        assert open_breakers(day_book("1000", "900.000001")) == []

    def test_ten_percent_lost_since_midnight_pauses_the_floor_until_the_next(self):
        (paused,) = daily_breakers(day_book("1000", "900"), NOON, LIMITS)
        assert (paused.agent, paused.breaker, paused.until) == (None, "daily_loss", MIDNIGHT)
        assert (paused.value, paused.limit) == (0.1, 0.1)
        assert paused.text == "$100.00 lost since midnight UTC, 10.0%; the limit is 10%"

    def test_a_drawdown_is_measured_from_the_days_peak(self):
        (paused,) = daily_breakers(day_book("1000", "1200", "1020"), NOON, LIMITS)
        assert (paused.breaker, paused.value, paused.until) == ("daily_drawdown", 0.15, MIDNIGHT)

    def test_a_drawdown_just_under_fifteen_percent_pauses_nothing(self):
        assert open_breakers(day_book("1000", "1200", "1020.000001")) == []

    def test_both_can_open_at_once(self):
        assert open_breakers(day_book("1000", "850")) == ["daily_loss", "daily_drawdown"]

    def test_midnight_begins_a_new_day_with_the_equity_it_finds(self):
        kept = day_book("1000", "1200", "950")
        kept.note(MIDNIGHT, money("940"))
        assert (kept.start, kept.peak, kept.equity) == (money("950"), money("950"), money("940"))

    def test_yesterdays_losses_pause_nothing_today_even_if_nothing_has_settled_yet(self):
        assert open_breakers(day_book("1000", "850"), at=MIDNIGHT) == []

    def test_money_put_in_is_no_profit_and_money_taken_out_no_loss(self):
        kept = day_book("1000", "1100")
        kept.deposit(NOON, Money(-money("500")))
        assert open_breakers(kept) == []
        assert (kept.start, kept.peak, kept.equity) == (money("500"), money("600"), money("600"))

    def test_next_midnight_is_later_even_at_midnight(self):
        assert next_midnight(MIDNIGHT) == MIDNIGHT + DAY_MS
        assert next_midnight(Millis(MIDNIGHT - 1)) == MIDNIGHT


class TestTheLosingStreak:
    def test_four_losses_in_a_row_are_bad_luck(self):
        assert loss_streak_breaker(AGENT, 4, NOON, LIMITS) is None

    def test_five_pause_the_agent_for_an_hour(self):
        paused = loss_streak_breaker(AGENT, 5, NOON, LIMITS)
        assert paused is not None
        assert (paused.agent, paused.breaker, paused.value, paused.limit) == (AGENT, "loss_streak", 5, 5)
        assert paused.until == NOON + HOUR_MS
        assert paused.text == "5 losses in a row (limit 5): paused for 60 minutes"

    def test_both_numbers_are_settings(self):
        paused = loss_streak_breaker(AGENT, 2, NOON, Limits(loss_streak_max=2, loss_streak_pause_ms=1_000))
        assert paused is not None
        assert paused.until == NOON + 1_000


# -- as facts, in a room ----------------------------------------------------------------------------------------------


def losing_floor(losses: int, at: int = START) -> Floor:
    """A floor whose only agent bought Up once in each of so many windows, and lost."""
    floor = Floor(a_plan(script=always(wants(fair="0.90"))), at=at)
    for number in range(losses):
        market = one_sided(number)
        floor.play(listed(market), book(market, 60_000), book(market, 62_000), resolved(market, "0"))
    return floor


def pauses(floor: Floor) -> list[tuple[str, AgentId | None]]:
    return [(fact.breaker, fact.agent) for fact in floor.of(TradingPaused)]


def again(floor: Floor) -> TradingRoom:
    """The room as a restart finds it: from the checkpoint's bytes."""
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(floor.room.state), type=RoomState)
    return TradingRoom(floor.plans, floor.limits, state)


def folded(floor: Floor) -> TradingRoom:
    """The room as a restart without a checkpoint finds it: from the facts alone."""
    room = TradingRoom(floor.plans, floor.limits)
    for fact in floor.facts:
        room.apply(fact)
    return room


class TestAsFacts:
    def test_the_fifth_loss_in_a_row_is_followed_by_a_pause_of_the_agent(self):
        assert pauses(losing_floor(4)) == []
        floor = losing_floor(5)
        assert pauses(floor) == [("loss_streak", AGENT)]
        last_loss = floor.of(TradeSettled)[-1]
        assert floor.facts.index(floor.of(TradingPaused)[0]) > floor.facts.index(last_loss)

    def test_a_paused_agent_is_refused_by_the_gate(self):
        floor = losing_floor(5)
        market = one_sided(5)
        floor.play(listed(market), book(market, 60_000))
        assert [refused.rule for refused in floor.of(SignalRefused)] == ["agent_paused"]

    def test_after_the_hour_it_may_trade_again_and_its_streak_is_forgotten(self):
        floor = losing_floor(5)
        until = floor.of(TradingPaused)[0].until
        assert until is not None
        market = one_sided(10)  # more than an hour later
        assert market.window_start > until
        floor.play(listed(market), book(market, 60_000))
        (resumed,) = floor.of(TradingResumed)
        assert (resumed.agent, resumed.breaker) == (AGENT, "loss_streak")
        assert floor.room.desks[AGENT].state.loss_streak == 0
        assert floor.room.desks[AGENT].state.orders  # bought again

    def test_a_win_ends_a_streak(self):
        floor = losing_floor(4)
        market = one_sided(4)
        floor.play(listed(market), book(market, 60_000), book(market, 62_000), resolved(market, "1"))
        assert floor.room.desks[AGENT].state.loss_streak == 0

    @pytest.mark.parametrize("restart", [again, folded], ids=["from the checkpoint", "from the facts"])
    def test_a_restart_keeps_the_pause_and_its_end(self, restart):
        floor = losing_floor(5)
        room = restart(floor)
        assert room.desks[AGENT].state.pauses == floor.room.desks[AGENT].state.pauses != {}
        assert not [f for f in room.due(Millis(START + 5 * 900_000)) if isinstance(f, TradingPaused)], (
            "not opened twice"
        )
        assert [type(f) for f in room.due(Millis(START + 20 * 900_000))] == [TradingResumed]

    @pytest.mark.parametrize("restart", [again, folded], ids=["from the checkpoint", "from the facts"])
    def test_a_streak_goes_on_over_a_restart(self, restart):
        assert restart(losing_floor(4)).desks[AGENT].state.loss_streak == 4


class TestTheDayInARoom:
    """A room whose single agent loses money by facts alone, so that amounts and times can be chosen."""

    def room(self) -> TradingRoom:
        room = TradingRoom([a_plan()], LIMITS)
        room.apply(CapitalAllocated(at=NOON, agent=AGENT, capital=money("1000"), moved=money("1000")))
        return room

    def lose(self, room: TradingRoom, amount: str, at: int, number: int = 1) -> None:
        order = OrderId(f"scripted-{number:06d}")
        state = room.desks[AGENT].state
        market = one_sided().id
        state.holdings[order] = Holding(order=order, market=market, outcome=Outcome.UP, cost=money(amount))
        room.apply(
            TradeSettled(
                at=Millis(at),
                agent=AGENT,
                order=order,
                market=market,
                outcome=Outcome.UP,
                shares=Shares(0),
                cost=money(amount),
                fees=Money(0),
                payout=Money(0),
                pnl=Money(-money(amount)),
            )
        )

    def settle(self, room: TradingRoom, at: int) -> list[AnyFact]:
        committed: list[AnyFact] = []
        while facts := room.due(Millis(at)):
            for fact in facts:
                committed.append(fact)
                room.apply(fact)
        return committed

    def test_ten_percent_lost_pauses_every_agent_and_midnight_resumes(self):
        room = self.room()
        self.lose(room, "100", NOON)
        (paused,) = self.settle(room, NOON)
        assert isinstance(paused, TradingPaused)
        assert room._floor_pause() == "daily_loss"
        assert self.settle(room, MIDNIGHT - 1) == []
        (resumed,) = self.settle(room, MIDNIGHT)
        assert isinstance(resumed, TradingResumed)
        assert (room._floor_pause(), room.state.day.start) == (None, money("900"))

    def test_losing_over_midnight_counts_on_each_side_of_it(self):
        room = self.room()
        self.lose(room, "60", MIDNIGHT - 1, 1)
        self.lose(room, "60", MIDNIGHT + 1, 2)
        assert self.settle(room, MIDNIGHT + 1) == []
        assert room.state.day.start == money("940")

    def test_a_restart_on_the_next_day_does_not_pause_it_for_yesterdays_loss(self):
        room = self.room()
        self.lose(room, "100", NOON)  # and the process dies before the pause is written
        assert self.settle(room, MIDNIGHT + 1) == []

    def test_a_restart_on_the_same_day_does(self):
        room = self.room()
        self.lose(room, "100", NOON)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(room.state), type=RoomState)
        revived = TradingRoom([a_plan()], LIMITS, state)
        assert [type(fact) for fact in self.settle(revived, NOON + 1)] == [TradingPaused]

    def test_a_floor_pause_survives_the_checkpoint(self):
        room = self.room()
        self.lose(room, "100", NOON)
        self.settle(room, NOON)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(room.state), type=RoomState)
        assert TradingRoom([a_plan()], LIMITS, state)._floor_pause() == "daily_loss"

    def test_a_settlement_of_an_unknown_market_disturbs_nothing(self):
        room = self.room()
        room.apply(MarketSettled(at=NOON, market=one_sided(9).id, payout_up=money("1")))  # type: ignore[arg-type]
        assert self.settle(room, NOON) == []
