"""Answers people about the account while a live floor runs, and books what they accept (live_accept.py). Of app.py.

What is booked is compared with the account as it is then, to the millionth, and with nothing that was seen before.
"""

import asyncio
from collections.abc import Callable

from loguru import logger

from polybot.account_file import AccountFile, AccountFileError
from polybot.account_talk import AccountAnswer, AccountAsk, AccountView, UnpaidSeen
from polybot.clock import Clock
from polybot.desk.room import TradingRoom
from polybot.domain.order import OrderIntent
from polybot.domain.units import Money
from polybot.floor.dispatch import Dispatcher
from polybot.live_accept import REMEDIES, OpenItem, acceptances, cost_item, item_name, open_items, refusal
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.account import AccountWatch
from polybot.venue.polymarket.venue import PolymarketVenue

LOOK_EVERY_S = 0.25
READ_S_MAX = 40.0
"""A reading takes 30 s at most, and begins at most 5 s after the one before (account.py)."""
STEP_S = 0.05
LOOK_UPS_MAX = 20
"""Orders looked up for one answer; only those the floor itself has in doubt are."""
UNREAD = "the account could not be read just now: nothing was booked; try again"


class AccountClerk:
    """Run `run()` as a task. `troubles`: all that speaks against trading; `dust`: what redeeming leaves lying."""

    def __init__(
        self,
        file: AccountFile,
        dispatcher: Dispatcher,
        watch: AccountWatch,
        venue: PolymarketVenue,
        clock: Clock,
        *,
        troubles: Callable[[], tuple[str, ...]],
        dust: Callable[[], Money],
    ) -> None:
        self._file, self._dispatcher, self._watch, self._venue = file, dispatcher, watch, venue
        self._clock, self._troubles, self._dust = clock, troubles, dust
        self._seen: str | None = None

    @property
    def _room(self) -> TradingRoom:
        return self._dispatcher.room

    async def run(self) -> None:
        """For ever; raises only what the journal raises. What was asked of an earlier process is not done."""
        left = await asyncio.to_thread(self._file.asked)
        self._seen = None if left is None else left.id
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Answer what is asked, once."""
        ask = await asyncio.to_thread(self._file.asked)
        if ask is None or ask.id == self._seen:
            return
        self._seen = ask.id
        answer = await (self._show(ask) if ask.amounts is None else self._book(ask, ask.amounts))
        try:
            await asyncio.to_thread(self._file.answer, answer)
        except AccountFileError as error:
            logger.bind(action="account").error("{}", error)

    async def _show(self, ask: AccountAsk) -> AccountAnswer:
        costs, unasked = await self._costs()
        return AccountAnswer(id=ask.id, view=self._view([*costs, *self._items()], unasked))

    async def _book(self, ask: AccountAsk, amounts: dict[str, int]) -> AccountAnswer:
        """Between the last look at the items and the commit nothing else has its turn."""
        if not await self._read_anew():
            return AccountAnswer(id=ask.id, view=self._view(self._items(), []), refused=UNREAD)
        costs, unasked = await self._costs()
        items = [*costs, *self._items()]
        refused = refusal(amounts, ask.reason, items)
        if refused is not None:
            return AccountAnswer(id=ask.id, view=self._view(items, unasked), refused=refused)
        at = self._clock.now_ms()
        await self._dispatcher.commit(acceptances(amounts, items, at=at, by=ask.by, reason=ask.reason))
        costs, unasked = await self._costs()  # takes in the fills that may be booked now
        is_read = await self._read_anew()
        items = [*costs, *self._items()]
        done = "booked" if is_read else "booked; the account could not be read since"
        return AccountAnswer(id=ask.id, view=self._view(items, unasked), done=done)

    # -- what there is ------------------------------------------------------------------------------------------------

    async def _read_anew(self) -> bool:
        """Whether a comparison that began only now is there."""
        asked_s = self._clock.monotonic()
        self._watch.want()
        while self._clock.monotonic() - asked_s < READ_S_MAX:
            compared = self._watch.compared
            if compared is not None and compared.began_s >= asked_s:
                return True
            await asyncio.sleep(STEP_S)
        return False

    def _items(self) -> list[OpenItem]:
        watch = self._watch
        if watch.compared is None:
            return []
        state = self._room.state  # what is settled since the comparison is not shares any more, but money
        open_now = {name: market for name, market in state.markets.items() if name not in state.payouts}
        return open_items(watch.unexplained, watch.compared, watch.since, open_now)

    async def _costs(self) -> tuple[list[OpenItem], list[str]]:
        """Orders that cost more than was reserved, and those that could not be looked up. What can be booked is."""
        found: list[OpenItem] = []
        unasked: list[str] = []
        for intent in self._doubted()[:LOOK_UPS_MAX]:
            try:
                account = await self._venue.account_of(intent) or []
            except (VenueUnavailable, VenueBusy) as error:
                unasked.append(f"{intent.id} could not be looked up: {error}")
                continue
            await self._dispatcher.take(account)  # what this look-up has learned is not told again
            item = cost_item(self._room.desks[intent.agent].state, intent, account)
            found += [] if item is None else [item]
        return found, unasked

    def _doubted(self) -> list[OrderIntent]:
        """Orders of which not everything is booked; at rest there are none but those that cost too much."""
        found: list[OrderIntent] = []
        for desk in self._room.desks.values():
            found += [known.intent for known in desk.state.orders.values()]
            found += [ended.intent for order, ended in desk.state.ended.items() if order in desk.unproven]
        return found

    def _view(self, items: list[OpenItem], unasked: list[str]) -> AccountView:
        compared, wallet = self._watch.compared, self._room.state.wallet
        told = {item.seen.text for item in items}
        remedies = {difference.text: REMEDIES.get(difference.kind, "") for difference in self._watch.unexplained}
        troubles = [text for text in self._troubles() if text not in told]
        return AccountView(
            read_at=None if compared is None else compared.reading.at,
            wallet=None if compared is None else compared.reading.collateral.balance,
            least=None if compared is None else compared.books.cash_least,
            most=None if compared is None else compared.books.cash_most,
            elsewhere=wallet.elsewhere,
            cash=Money(sum(desk.state.cash for desk in self._room.desks.values())),
            unpaid=wallet.unpaid,
            dust=self._dust(),
            unpaid_of=tuple(
                UnpaidSeen(market=name, amount=market.unpaid, at=market.at) for name, market in wallet.markets.items()
            ),
            beside={
                item_name(name, outcome): shares
                for name, held in wallet.beside.items()
                for outcome, shares in held.items()
            },
            items=tuple(item.seen for item in items),
            others=(*(f"{text}: {remedies[text]}" if remedies.get(text) else text for text in troubles), *unasked),
        )
