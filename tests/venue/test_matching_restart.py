"""Start-up after a crash: an older checkpoint, and the facts the journal has since. Nothing happens a second time."""

import msgspec

from polybot.domain.events import FillMatched, IntentRecorded, OrderAccepted, VenueReply
from polybot.domain.ids import OrderId
from polybot.venue.matching import SimulatorState
from polybot.venue.open_orders import OpenOrders
from tests.venue.builders import DELAY_MS, FAK, GTC, LATENCY_MS, SELL, STEADY, Bench


class Crashing(Bench):
    """A bench that is brought back from `saved` and the facts told since."""

    def __init__(self) -> None:
        super().__init__()
        self.book(bids={"0.50": "40"}, asks={"0.52": "30"})
        self.save()

    def save(self) -> None:
        self.saved, self.told = msgspec.msgpack.encode(self.state), len(self.replies)

    def restart(self, order: OrderId, lost: int = 0) -> list[VenueReply]:
        """Come back without the last `lost` facts; the order's intent was journaled before it was sent."""
        intents = [*self.state.travelling.values(), *(held.intent for held in self.state.orders.values())]
        facts = self.replies[self.told : len(self.replies) - lost]
        state = msgspec.msgpack.decode(self.saved, type=SimulatorState)
        self.venue = type(self.venue)(STEADY, self.markets.by_id, state)
        for intent in [i for i in intents if i.id == order]:
            self.venue.restore(IntentRecorded(at=self.now, agent=intent.agent, intent=intent))
        for fact in facts:
            self.venue.restore(fact)
        self.replies = self.replies[: len(self.replies) - lost]
        return facts


def test_an_order_refused_since_does_not_arrive_again() -> None:
    bench = Crashing()
    order = bench.place("0.515", "10")
    bench.save()
    bench.wait(LATENCY_MS)
    bench.restart(order)
    assert not bench.venue.knows(order)
    assert bench.wait(1_000) == []


def test_an_order_accepted_since_arrives_once() -> None:
    bench = Crashing()
    order = bench.place("0.52", "10")
    bench.save()
    bench.wait(LATENCY_MS)
    bench.restart(order)
    bench.wait(1_000)
    assert len(bench.answers(order, OrderAccepted)) == 1
    assert (bench.fills(order), bench.end(order)) == ([("0.52", "10")], "filled")


def test_an_order_sent_and_accepted_since_is_taken_up_from_its_intent() -> None:
    bench = Crashing()
    order = bench.rest("0.51", "10")
    bench.restart(order)
    bench.wait(DELAY_MS)
    bench.trade(SELL, "0.51", "10")
    assert bench.end(order) == "filled"


def test_a_fill_whose_closing_was_lost_is_closed_and_not_repeated() -> None:
    bench = Crashing()
    order = bench.place("0.52", "10")
    bench.save()
    bench.wait(LATENCY_MS + DELAY_MS)
    bench.restart(order, lost=1)  # the last fact was its closing
    bench.wait(1_000)
    assert (bench.fills(order), bench.end(order)) == ([("0.52", "10")], "filled")


def test_what_a_resting_order_got_since_is_missing_from_what_rests() -> None:
    bench = Crashing()
    order = bench.rest("0.51", "10", tif=GTC)
    bench.save()
    bench.trade(SELL, "0.51", "4")
    bench.restart(order)
    bench.trade(SELL, "0.51", "50")
    assert bench.fills(order) == [("0.51", "4"), ("0.51", "6")]


def test_what_was_taken_since_is_not_sold_again() -> None:
    bench = Crashing()
    order = bench.place("0.53", "25", tif=FAK)
    bench.save()
    bench.wait(LATENCY_MS + DELAY_MS)
    bench.restart(order)
    assert bench.fills(bench.take("0.52", "25")) == [("0.52", "5")]


def test_the_venue_does_not_answer_from_before_the_last_fact() -> None:
    bench = Crashing()
    order = bench.place("0.52", "10")
    bench.save()
    bench.wait(LATENCY_MS)
    bench.restart(order)
    clock = OpenOrders(STEADY, bench.markets.by_id, bench.state)
    assert clock.moment(bench.now) == bench.now
    bench.wait(1_000)
    assert bench.answers(order, FillMatched)[0].at >= bench.answers(order, OrderAccepted)[0].at
