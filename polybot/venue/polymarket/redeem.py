"""Turns settled shares into pUSD through the venue's relayer, without gas, in batches, again until it is confirmed.

An EOA has no relayer: it broadcasts, and pays POL for, one transaction a claim.

What to do is read from the chain's own account each time, so that a crash in the middle needs no memory: whatever was
not done is still listed. What was done is listed for some seconds more, and left alone meanwhile.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.errors import BadInput
from polybot.domain.ids import ConditionId
from polybot.domain.units import Money, format_units
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.account_settlement import (
    CALLS_MAX,
    Claim,
    ClaimKind,
    Settled,
    SettlementPlan,
    batches,
    plan_settlement,
)
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.client_errors import VenueRejected
from polybot.venue.polymarket.order_pace import Bucket

EVERY_S = 30.0
SPACING_S = 1.0
"""Between two looks at least, however often one is wanted."""
STATUSES = ("REDEEMABLE", "MERGEABLE", "REDEEMABLE_LOST")
AGAIN_S_FIRST, AGAIN_S_MAX = 5.0, 600.0
"""After a transaction that failed: doubled each time."""
FAILS_TOLD = 5
LISTED_S = 60.0
"""What has been confirmed may be listed for so long after: the data service is some seconds late."""
LATE_MOST = 15
"""Times that: while the very claim that was confirmed is listed, the service is later than it should be. Claiming it
again would be confirmed too, pay nothing, and be counted."""
READING_S_MAX, TRANSACT_S_MAX = 60.0, 300.0
"""An answer that comes in drops has no end: the client's own limits begin anew with each."""
SUBMITS_PER_S, SUBMITS_BURST = 20 / 60, 5
"""Below the relayer's 25 a minute, since the client itself may repeat a submission."""


class _Done(msgspec.Struct, frozen=True):
    """The last claim of a market that was confirmed, and when, in monotonic seconds."""

    at: float
    kind: ClaimKind
    worth: Money


class _Failed(msgspec.Struct, frozen=True):
    """How often a claim has failed in a row, and why the last time."""

    count: int
    why: str


class Redeemer:
    """Run `run()` as a task. `settled` is called with every confirmed transaction: journal it, compare by it.

    Merging changes nothing in a desk's books: a complete set pays one pUSD whoever wins. It only comes earlier, which
    the wallet's memory knows (desk/wallet.py).
    """

    def __init__(
        self,
        client: AccountClient,
        clock: Clock,
        settled: Callable[[Settled], None],
        *,
        merges: bool = True,
        listed_s: float = LISTED_S,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_act`: whether this floor leads the account; its successor would not know of what another claims."""
        self._client, self._clock, self._settled, self._may_act = client, clock, settled, may_act
        self._merges, self._listed_s = merges, listed_s
        self._at_once = 1 if client.wallet.pays_gas else CALLS_MAX  # an EOA's calls are not done all or none
        self._submits = Bucket(SUBMITS_PER_S, SUBMITS_BURST)
        self._done: dict[ConditionId, _Done] = {}
        self._not_before: dict[tuple[ClaimKind, ConditionId], float] = {}
        self._failures: dict[tuple[ClaimKind, ConditionId], _Failed] = {}
        self._wanted = asyncio.Event()
        self.plan = SettlementPlan()
        """As last read: dust and losers among it, for people."""

    def failing(self) -> dict[str, str]:
        """What is to be had and has failed FAILS_TOLD times in a row or more, in words for people, by its name."""
        told = {}
        for claim in self.plan.claims:
            failed = self._failures.get(_key(claim))
            if failed is not None and failed.count >= FAILS_TOLD:
                what = f"{format_units(claim.worth)} pUSD of {claim.condition}"
                told[f"{claim.kind} {claim.condition}"] = (
                    f"{what} could not be claimed {failed.count} times: {failed.why}"
                )
        return told

    def want(self) -> None:
        """Look soon: a market has been settled."""
        self._wanted.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wanted.clear()
            await self.look()
            await asyncio.sleep(SPACING_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S - SPACING_S):
                    await self._wanted.wait()

    async def look(self) -> int:
        """One round: read what is to be had, and have it. Returns how many claims were confirmed."""
        if not self._may_act():
            return 0
        try:
            async with asyncio.timeout(READING_S_MAX):
                positions = [found for status in STATUSES for found in await self._client.positions(status)]
        except (TimeoutError, VenueUnavailable, VenueBusy) as error:
            logger.bind(action="settlement").warning("positions could not be read: {}", error)
            return 0
        self.plan = plan_settlement(positions)
        self._forget_done()
        ready = [claim for claim in self.plan.claims if self._is_ready(claim)]
        whole = [claim for claim in ready if _key(claim) not in self._failures]
        failed = [claim for claim in ready if _key(claim) in self._failures]
        confirmed = 0
        one_by_one = batches(failed, 1)  # one that fails must not hold up the others
        for batch in (*batches(whole, self._at_once), *one_by_one):
            confirmed += len(batch) if await self._transact(batch) else 0
        return confirmed

    def _is_ready(self, claim: Claim) -> bool:
        if claim.kind is ClaimKind.MERGE and not self._merges:
            return False
        return claim.condition not in self._done and self._not_before.get(_key(claim), 0.0) <= self._clock.monotonic()

    def _forget_done(self) -> None:
        """What is listed of a market is believed again once what was done there can be seen in it."""
        now_s = self._clock.monotonic()
        listed = {(claim.kind, claim.condition, claim.worth) for claim in self.plan.claims}
        self._done = {
            market: done
            for market, done in self._done.items()
            if now_s - done.at < self._listed_s * (LATE_MOST if (done.kind, market, done.worth) in listed else 1)
        }

    async def _transact(self, batch: tuple[Claim, ...]) -> bool:
        now_s = self._clock.monotonic()
        wait_s = self._submits.wait_s(now_s)
        self._submits.take(now_s)
        await asyncio.sleep(wait_s)
        worth = format_units(sum(claim.worth for claim in batch))
        try:
            async with asyncio.timeout(TRANSACT_S_MAX):
                transaction = await self._client.transact(self._calls(batch), f"Settle {worth} pUSD")
        except (BadInput, TimeoutError, VenueRejected, VenueUnavailable, VenueBusy) as error:
            self._failed(batch, str(error))
            return False
        for claim in batch:
            self._done[claim.condition] = _Done(self._clock.monotonic(), claim.kind, claim.worth)
            self._failures.pop(_key(claim), None)
        logger.bind(action="settlement").info("settled {} pUSD of {} markets: {}", worth, len(batch), transaction)
        self._settled(Settled(at=self._clock.now_ms(), transaction=transaction, claims=batch))
        return True

    def _failed(self, batch: tuple[Claim, ...], why: str) -> None:
        for claim in batch:
            key = _key(claim)
            before = self._failures[key].count if key in self._failures else 0
            self._failures[key] = _Failed(before + 1, why)
            wait_s = min(AGAIN_S_FIRST * 2 ** min(before, 10), AGAIN_S_MAX)
            self._not_before[key] = self._clock.monotonic() + wait_s
        logger.bind(action="settlement").warning("a settlement of {} markets failed: {}", len(batch), why)

    def _calls(self, batch: tuple[Claim, ...]) -> list[Any]:
        calls: list[Any] = []
        for claim in batch:
            if claim.kind is ClaimKind.REDEEM:
                calls += self._client.redeem_calls(claim.condition, claim.version, claim.shares)
            else:
                calls += self._client.merge_calls(claim.condition, claim.version, claim.shares[0])
        return calls


def _key(claim: Claim) -> tuple[ClaimKind, ConditionId]:
    return claim.kind, claim.condition
