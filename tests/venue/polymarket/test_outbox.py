"""Orders of one turn of the loop leave together, each of them once, and each hears what was said to it."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.ids import TokenId
from polybot.domain.units import Shares
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.client import Posted
from polybot.venue.polymarket.client_errors import BatchRejected, VenueRejected
from polybot.venue.polymarket.order_form import OrderForm, form_of
from polybot.venue.polymarket.outbox import BATCH_MAX, Answered, Outbox
from tests.venue.polymarket.orders import WALLET, an_intent, market

FORM = form_of(an_intent(), market(), WALLET)


def an_order(name: str) -> OrderForm:
    return msgspec.structs.replace(FORM, token=TokenId(name))


class Desk:
    """Says to each order that it was posted with its own name for a trade, or what `says` holds for it; an exception
    for "*" is what a whole request comes to. With `hangs` nothing is ever said."""

    def __init__(self, says: dict[str, Answered] | None = None) -> None:
        self.says = says or {}
        self.requests: list[list[str]] = []
        self.hangs, self.hung_up = False, 0
        self.outbox = Outbox(self._one, self._many)

    def send(self, name: str) -> Awaitable[Posted]:
        return self.outbox.send(an_order(name))

    @property
    def sent(self) -> list[str]:
        return [name for request in self.requests for name in request]

    async def _one(self, form: OrderForm) -> Posted:
        answer = (await self._all([form.token]))[0]
        if isinstance(answer, Posted):
            return answer
        raise answer

    async def _many(self, batch: Sequence[OrderForm]) -> Sequence[Answered]:
        assert len(batch) > 1, "an order by itself is no batch"
        return await self._all([form.token for form in batch])

    async def _all(self, names: Sequence[str]) -> list[Answered]:
        self.requests.append(list(names))
        try:
            await (asyncio.Event().wait() if self.hangs else asyncio.sleep(0))
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        if isinstance(error := self.says.get("*"), Exception):
            raise error
        return [self.says.get(name) or posted(name) for name in names]


def posted(name: str) -> Posted:
    return Posted(status="live", matched=Shares(0), trades=(name,))


def an_answer(said: str, name: str) -> Answered:
    if said == "taken":
        return posted(name)
    return VenueRejected(200, name) if said == "refused" else VenueUnavailable(name)


async def outcomes(*orders: Awaitable[Posted]) -> list[Posted | BaseException]:
    return await asyncio.gather(*orders, return_exceptions=True)


async def test_orders_of_one_turn_leave_in_one_request_and_a_lone_one_by_itself():
    desk = Desk()
    assert await outcomes(desk.send("a"), desk.send("b"), desk.send("c")) == [posted(name) for name in "abc"]
    assert await desk.send("d") == posted("d")
    assert desk.requests == [["a", "b", "c"], ["d"]]


async def test_an_order_waits_for_one_turn_of_the_loop():
    desk, turns = Desk(), 0
    sending = asyncio.ensure_future(desk.send("a"))
    while not desk.requests:
        await asyncio.sleep(0)
        turns += 1
    assert turns == 2, "one in which it is handed over, one in which it leaves"
    await sending


async def test_more_than_the_venue_takes_at_once_leave_in_more_than_one_request():
    desk = Desk()
    await outcomes(*(desk.send(str(n)) for n in range(2 * BATCH_MAX + 1)))
    assert [len(request) for request in desk.requests] == [BATCH_MAX, BATCH_MAX, 1]


async def test_each_order_hears_what_was_said_to_it_and_a_refusal_is_nobody_elses():
    refused, unknown = VenueRejected(200, "size"), VenueUnavailable("which one is this?")
    desk = Desk({"b": refused, "c": unknown})
    assert await outcomes(*(desk.send(name) for name in "abcd")) == [posted("a"), refused, unknown, posted("d")]


@pytest.mark.parametrize("error", [VenueUnavailable("cut"), BatchRejected(429, "Too Many Requests"), KeyError("a bug")])
async def test_what_befalls_the_request_befalls_every_order_of_it_and_none_is_sent_again(error):
    desk = Desk({"*": error})
    assert await outcomes(*(desk.send(name) for name in "abc")) == [error] * 3
    assert desk.requests == [["a", "b", "c"]]


async def test_an_order_that_is_given_up_is_not_sent_any_more_or_takes_none_of_the_others_with_it():
    desk = Desk()
    tasks = [asyncio.ensure_future(desk.send(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert await outcomes(tasks[2]) == [posted("c")]
    assert desk.requests == [["b", "c"]]


async def test_a_request_that_nobody_waits_for_is_hung_up_and_not_before():
    desk = Desk()
    desk.hangs = True
    tasks = [asyncio.ensure_future(desk.send(name)) for name in "ab"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert desk.requests
    for hung_up, task in enumerate(tasks):
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert desk.hung_up == hung_up
    assert not desk.outbox._leaving


Step = st.sampled_from(["send", "send", "send", "turn", "give up the first", "give up the last"])
Said = st.sampled_from(["taken", "refused", "unknown"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(Step, Said), max_size=60), st.sampled_from([None, "lost", "429"]))
def test_any_sequence_of_placements_sends_each_order_once_and_answers_each_by_itself(steps, whole):
    asyncio.run(_play(steps, whole))


async def _play(steps: Sequence[tuple[str, str]], whole: str | None) -> None:
    desk = Desk()
    if whole is not None:
        desk.says["*"] = VenueUnavailable("cut") if whole == "lost" else BatchRejected(429, "Too Many Requests")
    tasks: dict[str, asyncio.Task[Posted]] = {}
    given_up: set[str] = set()
    for number, (step, said) in enumerate(steps):
        if step == "send":
            name = str(number)
            desk.says[name] = an_answer(said, name)
            tasks[name] = asyncio.create_task(desk.outbox.send(an_order(name)))
        elif step == "turn":
            await asyncio.sleep(0)
        elif waiting := [name for name, task in tasks.items() if not task.done()]:
            name = waiting[0 if step.endswith("first") else -1]
            tasks[name].cancel()
            given_up.add(name)
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert len(desk.sent) == len(set(desk.sent)), "once"
    assert set(desk.sent) >= tasks.keys() - given_up, "and none was forgotten"
    assert all(len(request) <= BATCH_MAX for request in desk.requests)
    for name in tasks.keys() - given_up:
        task = tasks[name]
        assert (task.exception() or task.result()) == desk.says.get("*" if whole else name)
