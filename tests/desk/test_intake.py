"""What of a venue's replies is news: whatever comes late, twice, in disorder or never, the books end up the same."""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.desk.intake import Taken
from polybot.desk.room import TradingRoom
from polybot.desk.state import DeskState
from polybot.domain.account_facts import CostAccepted
from polybot.domain.events import (
    CancelRefused,
    FillConfirmed,
    FillFailed,
    FillMatched,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    VenueReply,
)
from polybot.domain.fact import Fact
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.ledger import CASH
from polybot.domain.order import Closed, CloseReason, Intended, OrderIntent, TimeInForce, Working
from polybot.domain.units import Millis, Money
from polybot.risk.limits import Limits
from tests.builders import a_plan
from tests.desk.worlds import seeds
from tests.facts import START, Story, a_market, money, paid, shares

AGENT = AgentId("scripted")
Kind = TypeVar("Kind", bound=Fact)


class Day:
    """A room with intents in it, and the venue's words on them as they really happened; nothing delivered yet."""

    def __init__(self, *, orders: int = 1, size: str = "20", tif: TimeInForce = TimeInForce.FAK) -> None:
        self.story = Story()
        self.room = TradingRoom([a_plan("scripted")], Limits())
        self.story.agent(AGENT, "1000")
        market = self.story.opened(a_market())
        self.intents = [self.story.intent(AGENT, market, size=size, tif=tif) for _ in range(orders)]
        for fact in self.story.facts:
            self.room.apply(fact)
        self.begun = len(self.story.facts)
        self.applied: list[VenueReply] = []

    @property
    def intent(self) -> OrderIntent:
        return self.intents[0]

    @property
    def desk(self) -> DeskState:
        return self.room.desks[AGENT].state

    @property
    def order(self) -> Intended | Working | Closed:
        return self.desk.orders.get(self.intent.id) or self.desk.ended[self.intent.id]

    def accepted(self) -> OrderAccepted:
        self.story.accepted(self.intent)
        return self._last(OrderAccepted)

    def matched(self, size: str = "20", at_price: str = "0.54") -> FillMatched:
        return self.story.matched(self.intent, size, at_price)

    def confirmed(self, fill: FillMatched) -> FillConfirmed:
        self.story.confirmed_fill(fill)
        return self._last(FillConfirmed)

    def failed(self, fill: FillMatched) -> FillFailed:
        self.story.failed_fill(fill)
        return self._last(FillFailed)

    def closed(self, reason: CloseReason) -> OrderClosed:
        self.story.closed(self.intent, reason)
        return self._last(OrderClosed)

    def rejected(self) -> OrderRejected:
        self.story.tell(OrderRejected, agent=AGENT, order=self.intent.id, text="no thanks")
        return self._last(OrderRejected)

    def hear(self, *replies: VenueReply) -> Taken:
        """The venue says these in one breath; what is news is applied, as it is once it is durable."""
        taken = self.room.intake(replies)
        for fact in taken.facts:
            self.room.apply(fact)
        self.applied += taken.facts
        return taken

    @property
    def replies(self) -> list[VenueReply]:
        """All that the venue has said of the orders, in order."""
        return [fact for fact in self.story.facts[self.begun :] if isinstance(fact, VenueReply)]

    def _last(self, kind: type[Kind]) -> Kind:
        fact = self.story.facts[-1]
        assert isinstance(fact, kind)
        return fact


# -- rule by rule -----------------------------------------------------------------------------------------------------


def test_replies_in_order_are_all_news() -> None:
    day = Day()
    replies: list[VenueReply] = [day.accepted(), fill := day.matched(), day.closed(CloseReason.FILLED)]
    replies.append(day.confirmed(fill))
    assert day.hear(*replies) == Taken(facts=replies)
    assert day.desk.cash == money("1000") - paid(fill)


def test_a_fill_told_of_after_its_order_was_closed_is_booked() -> None:
    day = Day()
    day.hear(day.accepted(), day.closed(CloseReason.KILLED))
    fill = day.matched("7")
    assert day.hear(fill).facts == [fill]
    spent = Money(paid(fill))
    assert day.order == Closed(intent=day.intent, reason=CloseReason.KILLED, filled=shares("7"), spent=spent)
    assert day.desk.exposure == paid(fill)


def test_whatever_is_said_twice_is_taken_in_once_in_one_breath_or_in_two() -> None:
    day = Day()
    replies: list[VenueReply] = [day.accepted(), fill := day.matched("8"), day.confirmed(fill)]
    replies.append(day.closed(CloseReason.KILLED))
    twice = [reply for reply in replies for _ in range(2)]
    assert day.hear(*twice) == Taken(facts=replies)
    assert day.hear(*twice) == Taken()
    assert day.hear(*reversed(twice)) == Taken()


def test_a_rejection_said_twice_is_taken_in_once() -> None:
    day = Day()
    rejected = day.rejected()
    assert day.hear(rejected, rejected).facts == [rejected]
    assert day.hear(rejected) == Taken()


def test_the_first_word_on_the_end_of_a_fill_stands() -> None:
    day = Day()
    fill = day.matched()
    confirmed, failed = day.confirmed(fill), day.failed(fill)
    assert day.hear(fill, confirmed, failed).facts[1:] == [fill, confirmed]
    assert day.hear(failed) == Taken()


def test_a_confirmation_of_a_fill_never_heard_of_is_left_and_its_order_looked_up() -> None:
    day = Day()
    confirmed = day.confirmed(fill := day.matched())
    assert day.hear(confirmed) == Taken(doubtful=[day.intent.id])
    assert day.hear(fill, confirmed).facts[-2:] == [fill, confirmed]


def test_in_one_breath_a_confirmation_before_its_fill_is_left_too() -> None:
    day = Day()
    confirmed = day.confirmed(fill := day.matched())
    taken = day.hear(confirmed, fill)
    assert taken.facts[-1] == fill
    assert taken.doubtful == [day.intent.id]


def test_an_order_said_to_be_filled_whose_fills_are_missing_stays_open_and_is_looked_up() -> None:
    day = Day()
    closed = day.closed(CloseReason.FILLED)
    assert day.hear(day.accepted(), day.matched("8"), closed).doubtful == [day.intent.id]
    assert isinstance(day.order, Working)
    assert day.desk.exposure == day.intent.cost_max  # what is not filled is still reserved
    assert day.hear(day.matched("12"), closed).facts[-1] == closed


def test_a_fill_implies_the_acceptance_that_was_lost() -> None:
    day = Day()
    fill = day.matched("8")
    accepted, booked = day.hear(fill).facts
    assert accepted == OrderAccepted(at=fill.at, agent=AGENT, order=day.intent.id)
    assert booked == fill
    assert day.hear(day.accepted()) == Taken()


def test_so_does_an_end_other_than_never_sent() -> None:
    day = Day()
    closed = day.closed(CloseReason.KILLED)
    assert [type(fact) for fact in day.hear(closed).facts] == [OrderAccepted, OrderClosed]
    never = Day()
    closed = never.closed(CloseReason.NEVER_SENT)
    assert never.hear(closed).facts == [closed]


@pytest.mark.parametrize("reason", [CloseReason.NEVER_SENT, CloseReason.REJECTED])
def test_an_order_closed_as_never_sent_or_not_taken_that_turns_up_is_a_stray_to_be_cancelled(
    reason: CloseReason,
) -> None:
    day = Day()
    day.hear(day.closed(reason) if reason is CloseReason.NEVER_SENT else day.rejected())
    assert day.hear(day.accepted()) == Taken(strays=[day.intent.id], doubtful=[day.intent.id])


@pytest.mark.parametrize("reason", [CloseReason.NEVER_SENT, CloseReason.REJECTED])
def test_so_is_one_whose_fill_turns_up_and_the_fill_is_ours(reason: CloseReason) -> None:
    day = Day()
    day.hear(day.closed(reason) if reason is CloseReason.NEVER_SENT else day.rejected())
    fill = day.matched("5")
    assert day.hear(fill) == Taken(facts=[fill], strays=[day.intent.id], doubtful=[day.intent.id])
    assert day.desk.exposure == paid(fill)


def test_an_order_the_venue_had_accepted_is_not_closed_as_never_sent() -> None:
    day = Day()
    day.hear(day.accepted())
    assert day.hear(day.closed(CloseReason.NEVER_SENT)) == Taken(doubtful=[day.intent.id])
    assert isinstance(day.order, Working)


def test_a_rejection_of_an_order_that_was_accepted_fits_nothing() -> None:
    day = Day()
    day.hear(day.accepted())
    assert day.hear(day.rejected()) == Taken(doubtful=[day.intent.id])


def test_a_fill_beyond_what_was_asked_is_refused_and_shown_to_a_person() -> None:
    day = Day(tif=TimeInForce.GTC)
    day.hear(day.accepted(), day.matched("15"))
    beyond = day.matched("6")
    assert day.hear(beyond) == Taken(doubtful=[day.intent.id], strangers=[beyond])
    assert day.hear(fitting := day.matched("5")).facts == [fitting]


@pytest.mark.parametrize("tif", [TimeInForce.FOK, TimeInForce.FAK])
def test_a_market_buy_that_brings_more_shares_for_its_money_is_booked_whole(tif: TimeInForce) -> None:
    day = Day(tif=tif)
    fill = day.matched("22", "0.48")
    closed = day.closed(CloseReason.FILLED)
    assert day.hear(day.accepted(), fill, closed).facts[1:] == [fill, closed]
    assert day.desk.reserved == 0
    day.hear(day.confirmed(fill))
    assert day.desk.cash == money("1000") - paid(fill)
    assert day.desk.holdings[day.intent.id].shares == shares("22")


def test_a_fill_of_no_shares_is_none_and_shown_to_a_person() -> None:
    day = Day()
    day.hear(day.accepted())
    nothing = day.matched("0")
    assert day.hear(nothing) == Taken(doubtful=[day.intent.id], strangers=[nothing])


def test_so_is_what_it_brought_and_is_told_of_after_the_close_within_the_same_money() -> None:
    day = Day()
    day.hear(day.accepted(), day.matched("18", "0.48"), day.closed(CloseReason.KILLED))
    late, beyond = day.matched("4", "0.48"), day.matched("2", "0.48")
    assert day.hear(late).facts == [late]
    assert day.hear(beyond) == Taken(doubtful=[day.intent.id], strangers=[beyond])


def test_a_market_buy_that_cost_more_than_was_reserved_is_refused_and_shown_to_a_person() -> None:
    day = Day()
    day.hear(day.accepted(), day.matched("15"))
    beyond = day.matched("6")
    assert paid(beyond) > day.desk.reserved > 0
    assert day.hear(beyond) == Taken(doubtful=[day.intent.id], strangers=[beyond])


def test_once_a_person_accepts_what_it_cost_it_is_booked_whole_and_nothing_beyond_that() -> None:
    day = Day()
    first, beyond = day.matched("15"), day.matched("6")
    day.hear(day.accepted(), first, beyond, killed := day.closed(CloseReason.KILLED))
    cost = Money(paid(first) + paid(beyond))
    day.room.apply(CostAccepted(at=beyond.at, agent=AGENT, order=day.intent.id, cost=cost, by="ann", text="a fee"))
    assert day.hear(first, beyond, killed).facts == [beyond]
    day.hear(day.confirmed(first), day.confirmed(beyond))
    assert day.desk.cash == money("1000") - cost
    assert day.desk.holdings[day.intent.id].shares == shares("21")
    more = day.matched("1")
    assert day.hear(more).strangers == [more]


def test_what_was_accepted_of_an_order_is_forgotten_with_its_market() -> None:
    day = Day()
    day.hear(day.accepted(), day.closed(CloseReason.KILLED))
    day.room.apply(CostAccepted(at=START, agent=AGENT, order=day.intent.id, cost=money("20"), by="ann", text="a fee"))
    day.room.desks[AGENT].forget(day.intent.market)
    assert day.desk.accepted == {}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3_000), st.integers(1, 55), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 12),
)
def test_any_fills_of_a_market_buy_within_its_money_are_booked_and_the_money_adds_up(
    fills: list[tuple[int, int, bool]], told_late: int
) -> None:
    """Sizes in hundredths of a share, prices in cents; some fail on chain."""
    day = Day()
    day.hear(day.accepted())
    stood = matched = bought = 0
    for number, (size, cents, fails) in enumerate(fills):
        if number == told_late:
            day.hear(day.closed(CloseReason.KILLED))
        fill = day.matched(f"{size // 100}.{size % 100:02d}", f"0.{cents:02d}")
        if matched + paid(fill) > day.intent.cost_max:
            assert day.hear(fill).strangers == [fill]
            continue
        assert day.hear(fill).facts == [fill]
        assert 0 <= day.desk.reserved <= day.intent.cost_max
        assert day.desk.exposure <= day.intent.cost_max
        day.hear(day.failed(fill) if fails else day.confirmed(fill))
        matched += paid(fill)
        stood, bought = (stood, bought) if fails else (stood + paid(fill), bought + fill.shares)
    assert day.desk.ledger.total(CASH) == 0
    assert day.desk.cash == money("1000") - stood
    assert sum(holding.shares for holding in day.desk.holdings.values()) == bought
    assert day.desk.invested == stood
    assert not isinstance(day.order, Intended)
    assert day.order.spent == matched


def test_two_fills_in_one_breath_do_not_get_past_the_size_together() -> None:
    day = Day(tif=TimeInForce.GTC)
    one, other = day.matched("15"), day.matched("15")
    taken = day.hear(one, other)
    assert taken.facts[1:] == [one]
    assert taken.strangers == [other]


def test_orders_and_agents_nobody_knows_are_strangers_and_no_fact() -> None:
    day = Day()
    unknown = OrderAccepted(at=Millis(START), agent=AGENT, order=OrderId("scripted-000099"))
    nobody = OrderAccepted(at=Millis(START), agent=AgentId("nobody"), order=day.intent.id)
    assert day.hear(unknown, nobody) == Taken(strangers=[unknown, nobody])


def test_the_order_of_a_forgotten_market_is_a_stranger() -> None:
    day = Day()
    day.hear(accepted := day.accepted(), closed := day.closed(CloseReason.KILLED))
    day.room.desks[AGENT].forget(day.intent.market)
    assert day.hear(accepted, closed).strangers == [accepted, closed]


def test_a_refused_cancel_is_passed_on_and_changes_nothing() -> None:
    day = Day()
    day.hear(day.accepted())
    before = day.order
    refused = CancelRefused(at=Millis(START), agent=AGENT, order=day.intent.id, text="too late")
    assert day.hear(refused) == Taken(facts=[refused])
    assert day.order == before


# -- whatever the stream does -----------------------------------------------------------------------------------------


Portion = tuple[list[int], int | None]
"""What the stream brings in one breath, by number; then, perhaps, a look-up while so many replies had happened."""

numbers = st.integers(0, 10_000)
courses = st.lists(st.tuples(st.lists(numbers, max_size=8), st.none() | numbers), max_size=8)


def a_true_history(seed: int) -> Day:
    """One to three orders side by side, each rejected, or accepted, filled in parts that become final, and closed."""
    chance = Random(seed)
    day = Day(orders=chance.randrange(1, 4))
    lives = [_life_of(day.story, intent, chance) for intent in day.intents]
    while lives:
        life = chance.choice(lives)
        if next(life, None) is None:
            lives.remove(life)
    return day


def _life_of(story: Story, intent: OrderIntent, chance: Random) -> Iterator[str]:
    """Tells one reply, then waits for its turn."""
    if chance.random() < 0.2:
        story.tell(OrderRejected, agent=AGENT, order=intent.id, text="no thanks")
        return
    story.accepted(intent)
    yield "accepted"
    parts = chance.choice([["20"], ["12", "8"], ["5", "7"], ["4", "4", "4"], []])
    open_fills: list[FillMatched] = []
    for size in parts:
        open_fills.append(story.matched(intent, size, f"0.{chance.randrange(30, 55)}"))
        yield "matched"
        if chance.random() < 0.4:
            yield _finish(story, open_fills.pop(0), chance)
    whole = sum(map(int, parts)) == 20
    reasons = [CloseReason.FILLED] if whole else [CloseReason.KILLED, CloseReason.CANCELLED, CloseReason.EXPIRED]
    story.closed(intent, chance.choice(reasons))
    yield "closed"
    while open_fills:
        yield _finish(story, open_fills.pop(chance.randrange(len(open_fills))), chance)


def _finish(story: Story, fill: FillMatched, chance: Random) -> str:
    (story.failed_fill if chance.random() < 0.35 else story.confirmed_fill)(fill)
    return "final"


def what_counts(desk: DeskState) -> tuple[object, ...]:
    """Money, holdings and orders; not by which words a pass is remembered, which is of what was heard first."""
    tallies = {market: (tally.orders, tally.fills) for market, tally in desk.tallies.items()}
    lots = (desk.provisional, desk.final, desk.holdings, desk.invested, desk.positions)
    return desk.ledger, desk.cash_available, desk.exposure, desk.orders, desk.ended, lots, tallies


def play(day: Day, replies: Sequence[VenueReply], course: list[Portion]) -> None:
    for heard, asked in course:
        day.hear(*(replies[number % len(replies)] for number in heard))
        assert day.desk.ledger.total(CASH) == 0
        assert 0 <= day.desk.exposure <= sum(intent.cost_max for intent in day.intents)
        if asked is not None:
            look_up(day, replies[: asked % len(replies)])


def look_up(day: Day, so_far: Sequence[VenueReply]) -> None:
    for intent in day.intents:
        day.hear(*(reply for reply in so_far if reply.order == intent.id))


@settings(max_examples=400, deadline=None)
@given(seeds, courses)
def test_however_a_true_history_is_delivered_once_it_is_looked_up_the_books_are_the_true_ones(
    seed: int, course: list[Portion]
) -> None:
    truth, day = a_true_history(seed), a_true_history(seed)
    replies = truth.replies
    assert truth.hear(*replies) == Taken(facts=replies)

    play(day, replies, course)
    look_up(day, replies)
    assert what_counts(day.desk) == what_counts(truth.desk)
    failed = {reply.fill for reply in replies if isinstance(reply, FillFailed)}
    stood = [reply for reply in replies if isinstance(reply, FillMatched) and reply.fill not in failed]
    assert day.desk.exposure == sum(paid(fill) for fill in stood) == money("1000") - day.desk.cash

    assert max(Counter(map(event_of, day.applied)).values()) == 1
    look_up(day, replies)
    assert day.hear(*replies) == Taken()


def event_of(reply: VenueReply) -> tuple[object, ...]:
    """What a reply tells of: an acceptance found out from a fill is the same as the one that was lost."""
    if isinstance(reply, FillMatched):
        return FillMatched, reply.fill
    if isinstance(reply, FillConfirmed | FillFailed):
        return "final", reply.fill
    return type(reply), reply.order


def test_the_histories_are_worth_it() -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        for reply in a_true_history(seed).replies:
            seen[reply.reason if isinstance(reply, OrderClosed) else type(reply).__name__] += 1
    assert min(seen[kind] for kind in ("filled", "killed", "expired", "FillFailed", "OrderRejected")) >= 10, seen
