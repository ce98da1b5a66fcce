"""Everything that one live account needs, wired by hand: the venue object and the tasks that keep it true.

What it finds out is for the floor to act on: `health` is read, `venue.standing.drain()` told, differences paused on.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from polybot.clock import Clock
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import Millis, Money
from polybot.venue.polymarket.account import AccountWatch
from polybot.venue.polymarket.account_settlement import Settled
from polybot.venue.polymarket.account_values import Books, Difference
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.heartbeat import OrderHeartbeat
from polybot.venue.polymarket.keys import Hosts
from polybot.venue.polymarket.permission import PermissionWatch
from polybot.venue.polymarket.redeem import Redeemer
from polybot.venue.polymarket.socket import SocketTerms, TextSocket
from polybot.venue.polymarket.user_stream import UserStream
from polybot.venue.polymarket.venue import PolymarketVenue
from polybot.venue.polymarket.wire_user import OrderSeen, TradeSeen

Job = Callable[[], Coroutine[Any, Any, None]]
READING_S_MAX = 180.0
"""An account that has not been read for so long, three times its pace, is not known any more."""


class AccountHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`troubles` are reasons against new orders, in words, none where all is well; money in millionths."""

    troubles: tuple[str, ...]
    unexplained: tuple[Difference, ...]
    channel_open: bool
    heartbeat_armed: bool
    reading_age_s: float | None
    signing_ms: float
    collateral: Money | None
    dust: Money


class LiveAccount:
    """`books` and `settled` are the floor's: our side of a comparison, and what to do with a confirmed settlement."""

    def __init__(
        self,
        client: AccountClient,
        hosts: Hosts,
        clock: Clock,
        *,
        market_of: Callable[[MarketId], Market | None],
        books: Callable[[], Books],
        settled: Callable[[Settled], None],
        since: Millis,
        merges: bool = True,
        terms: SocketTerms | None = None,
    ) -> None:
        self.client, self._clock, self._told_settled = client, clock, settled
        self.may_act: Callable[[], bool] = lambda: True
        """Whether this floor leads the account: the floor's to set, asked before anything is cancelled or claimed."""
        self.venue = PolymarketVenue(client, market_of, clock)
        self.watch = AccountWatch(client, self.venue, clock, books, since, may_act=self._leads)
        self.heartbeat = OrderHeartbeat(client, clock, lambda: self.venue.progressed_at)
        self.redeemer = Redeemer(
            client, clock, self._settled, merges=merges, listed_s=hosts.listed_s, may_act=self._leads
        )
        self.permission = PermissionWatch(client, self.venue.standing, hosts.geoblock, clock)
        socket = TextSocket(hosts.user_socket, "user", clock, terms)
        self.stream = UserStream(socket, client.credentials, clock, self._hear, self.watch.want)

    def jobs(self, jitter: random.Random) -> dict[str, Job]:
        """What has to run beside the floor, each for ever, by name."""
        return {
            "user_stream": lambda: self.stream.run(jitter),
            "account": self.watch.run,
            "heartbeat": self.heartbeat.run,
            "settlement": self.redeemer.run,
            "permission": self.permission.run,
        }

    async def close(self) -> None:
        """The client is whose it was opened by."""
        await self.stream.close()

    def health(self) -> AccountHealth:
        read_at, now_s = self.watch.read_at, self._clock.monotonic()
        reading = self.watch.reading
        return AccountHealth(
            troubles=tuple(self._troubles(now_s)),
            unexplained=self.watch.unexplained,
            channel_open=self.stream.is_open,
            heartbeat_armed=self.heartbeat.is_armed,
            reading_age_s=None if read_at is None else now_s - read_at,
            signing_ms=self.client.signer.ms,
            collateral=None if reading is None else reading.collateral.balance,
            dust=self.redeemer.plan.dust,
        )

    def _troubles(self, now_s: float) -> list[str]:
        read_at = self.watch.read_at
        troubles = [self.venue.standing.stopped] if self.venue.standing.stopped else []
        troubles += [difference.text for difference in self.watch.unexplained if not difference.is_rounding]
        if not self.stream.is_open:
            troubles.append("the user channel is away")
        if not self.heartbeat.is_armed:
            why = f" ({self.heartbeat.complaint.reason})" if self.heartbeat.complaint.reason else ""
            troubles.append(f"the order heartbeat does not beat{why}: nobody would cancel for us")
        if read_at is None or now_s - read_at > READING_S_MAX:
            troubles.append("the account has not been read and compared")
        if self.permission.asked_at is None:
            troubles.append("whether we may trade from here has not been asked")
        return troubles

    def _leads(self) -> bool:
        return self.may_act()

    def _settled(self, settled: Settled) -> None:
        self.venue.balance_doubted = True
        self._told_settled(settled)

    def _hear(self, event: OrderSeen | TradeSeen) -> None:
        """News of orders nobody here knows is for the next reading of the account to explain."""
        if not self.venue.hear(event):
            self.watch.want()
