"""Orders handed over in one turn of the event loop leave in one request; an order by itself leaves as one.

Agents that decide on the same tick are done in the same turn, since their intents become durable together. Waiting for
the others costs that turn: one `call_soon`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.client import Posted
from polybot.venue.polymarket.client_errors import VenueRejected
from polybot.venue.polymarket.order_form import OrderForm

BATCH_MAX = 15
"""Orders in one request (polymarket.md 6.1)."""

Answered = Posted | VenueRejected | VenueUnavailable


class _Parcel(msgspec.Struct, frozen=True):
    """An order, and whoever waits for what is said to it."""

    form: OrderForm
    answer: asyncio.Future[Posted]


class Outbox:
    """`post` signs and sends one order, `post_batch` up to BATCH_MAX; neither is asked twice for the same.

    Signing comes after the turn, so that it parts no orders where it takes long and is done in a thread.
    """

    def __init__(
        self,
        post: Callable[[OrderForm], Awaitable[Posted]],
        post_batch: Callable[[Sequence[OrderForm]], Awaitable[Sequence[Answered]]],
    ) -> None:
        self._post, self._post_batch = post, post_batch
        self._open: list[_Parcel] | None = None
        """The batch that orders of this turn join."""
        self._leaving: set[asyncio.Task[None]] = set()

    async def send(self, form: OrderForm) -> Posted:
        """Once, with the others of this turn. Raises what was said to it, or came of the whole request."""
        parcel = _Parcel(form, asyncio.get_running_loop().create_future())
        if self._open is None or len(self._open) == BATCH_MAX:
            self._open = self._begin()
        self._open.append(parcel)
        return await parcel.answer

    def _begin(self) -> list[_Parcel]:
        """A batch whose task has its first step when this turn is over."""
        batch: list[_Parcel] = []
        task = asyncio.create_task(self._leave(batch), name="order batch")
        self._leaving.add(task)
        task.add_done_callback(lambda done: self._over(done, batch))
        return batch

    async def _leave(self, batch: list[_Parcel]) -> None:
        if self._open is batch:
            self._open = None
        left = [parcel for parcel in batch if not parcel.answer.done()]  # some may have been given up meanwhile
        self._end_with(left)
        if len(left) > 1:
            answers = await self._post_batch([parcel.form for parcel in left])
        else:
            answers = [await self._post(parcel.form) for parcel in left]
        for parcel, answer in zip(left, answers, strict=True):
            if parcel.answer.done():
                continue
            if isinstance(answer, Posted):
                parcel.answer.set_result(answer)
            else:
                parcel.answer.set_exception(answer)

    def _end_with(self, left: Sequence[_Parcel]) -> None:
        """A request that nobody waits for any more is hung up, so that none outlives the calls it was made for."""
        task = asyncio.current_task()

        def look(_: asyncio.Future[Posted]) -> None:
            if task is not None and all(parcel.answer.done() for parcel in left):
                task.cancel()

        for parcel in left:
            parcel.answer.add_done_callback(look)

    def _over(self, task: asyncio.Task[None], batch: Sequence[_Parcel]) -> None:
        """What was raised is every order's that has no answer yet."""
        self._leaving.discard(task)
        error = VenueUnavailable("the request was given up") if task.cancelled() else task.exception()
        for parcel in batch:
            if error is not None and not parcel.answer.done():
                parcel.answer.set_exception(error)
