"""Real money beside a floor: the account at the venue, what it finds out, and what the floor does about that. Part of
app.py.

Whatever speaks against trading (the account differs from our books, the user channel is away, the order heartbeat does
not beat, the venue said stop) shuts the floor's fence at once and is a pause in the record; it ends when it is over.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial

from loguru import logger

from polybot.account_file import AccountFile
from polybot.clock import Clock
from polybot.doctor import preflight
from polybot.doctor.findings import require_passed
from polybot.domain.events import Journaled, MarketSettled, Severity, TradingPaused, TradingResumed
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.order import OrderIntent, Working
from polybot.domain.units import UNIT, Millis, format_units
from polybot.floor.status import ACCOUNT, AccountStatus
from polybot.house import House
from polybot.live_accept import ARRIVED_S, Arrivals
from polybot.live_account import account_hosts, opened_account
from polybot.live_books import books_of, stuck_fills, wallet_moves, wallet_opened
from polybot.live_clerk import AccountClerk
from polybot.recovery import Recovered
from polybot.settings import Settings
from polybot.venue.polymarket.account_settlement import Settled
from polybot.venue.polymarket.live import cancel_all_of
from polybot.venue.polymarket.live_account import LiveAccount
from polybot.venue.polymarket.order_errors import Treatment
from polybot.venue.polymarket.venue import PolymarketVenue

LOOK_S = 0.25
SINCE_MS = 3_600_000
"""Trades are read from so long before the last that the floor knows of: they may be listed late."""
FIRST_LOOK_S_MAX = 60.0
CANCEL_AGAIN_S = 0.5
"""Whoever asked for it waits half a minute at most (cli/stop.py)."""
DEPOSIT = "deposit it, and book that with `polybot account accept`"
STUCK = "is neither confirmed nor failed after half an hour: look it up; its window waits for it"
CLAIM = "it is tried on; claim it on polymarket.com, where the wallet's approvals are given, too"
ASK = " (`polybot account` shows it, and can book what was moved by hand)"
FRESH_S = ARRIVED_S / 3
"""What was last read so long ago says nothing of now: where something differs it is read every few seconds."""
LACKS_MAX = UNIT // 100
"""What the roundings of many trades may add up to, where the wallet has the capital and not a millionth more."""
NOT_LOOKED = "the account has not been looked at yet"


class LiveTrading:
    """`open` before the house, `wire` into it; `status` for people."""

    def __init__(self, settings: Settings, clock: Clock, was: Recovered) -> None:
        self._settings, self._clock, self._room = settings, clock, was.room
        self._since = Millis(max(0, (was.now or clock.now_ms()) - SINCE_MS))
        self._goes_on = was.memory.seq > 0
        self._account: LiveAccount | None = None
        self._troubles: tuple[str, ...] = (NOT_LOOKED,)
        self._settled: list[Settled] = []
        self._arrivals = Arrivals()
        self._told: dict[str, set[str]] = {}

    async def open(self, stack: AsyncExitStack) -> PolymarketVenue:
        """The account, opened, examined (`polybot doctor`) and looked at once.

        Raises BadInput, ClientMismatch, NoAccount, NotReady.
        """
        client = await stack.enter_async_context(opened_account(self._settings, self._clock))
        findings = await preflight(self._settings, clock=self._clock, client=client, at_start=True)
        require_passed(findings, goes_on=self._goes_on)
        account = self._account = LiveAccount(
            client,
            account_hosts(self._settings),
            self._clock,
            market_of=self._market_of,
            books=lambda: books_of(self._room, self._hash_of),
            settled=self._settled.append,
            since=self._since,
        )
        stack.push_async_callback(account.close)
        desks = [desk.state for desk in self._room.desks.values()]
        provisional = [fill for desk in desks for fill in desk.provisional.values()]
        account.venue.remember(provisional, [fill for desk in desks for fill in desk.final])
        for desk in desks:  # what a former process sent is followed from the start
            for known in desk.orders.values():
                account.venue.adopt(known.intent, accepted=isinstance(known, Working))
        with suppress(TimeoutError):  # what was not seen now speaks against trading until it is
            async with asyncio.timeout(FIRST_LOOK_S_MAX):
                await account.permission.ask()
                await account.watch.look()
        return account.venue

    def _market_of(self, market: MarketId) -> Market | None:
        return self._room.state.markets.get(market)

    def _hash_of(self, intent: OrderIntent) -> str | None:
        return self._opened.venue.hash_of(intent)

    @property
    def _opened(self) -> LiveAccount:
        assert self._account is not None, "open comes first"
        return self._account

    def wire(self, house: House) -> None:
        """The account's work goes on beside the floor, and shuts its fence where it must."""
        otherwise = house.room.fence
        house.room.fence = lambda: not self._troubles and otherwise()
        self._opened.may_act = house.leads
        if house.kill_switch is not None:
            house.kill_switch.cancel_account = partial(cancel_all_of, self._opened.client, CANCEL_AGAIN_S)
            house.kill_switch.on_resume.append(self._opened.venue.standing.resume)
        jobs = self._opened.jobs(random.Random(self._settings.seed)) | {"settlement": self._settle}
        for name, job in jobs.items():
            logger.bind(action="account").debug("{} goes on beside the floor", name)
            house.beside(job)
        house.beside(lambda: self._watch(house))
        house.beside(self._clerk(house).run)
        house.dispatcher.follow(self._hear)

    def _clerk(self, house: House) -> AccountClerk:
        account = self._opened
        return AccountClerk(
            AccountFile(self._settings.data_dir),
            house.dispatcher,
            account.watch,
            account.venue,
            self._clock,
            troubles=self._seen,
            dust=lambda: account.redeemer.plan.dust,
        )

    def _hear(self, facts: list[Journaled]) -> None:
        """What was won can be turned into pUSD now."""
        if any(isinstance(entry.fact, MarketSettled) for entry in facts):
            self._opened.redeemer.want()

    def status(self) -> AccountStatus | None:
        if self._account is None:
            return None
        health, wallet = self._account.health(), self._room.state.wallet
        return AccountStatus(
            wallet=health.collateral,
            elsewhere=wallet.elsewhere,
            unpaid=wallet.unpaid,
            dust=health.dust,
            channel_open=health.channel_open,
            heartbeat_armed=health.heartbeat_armed,
            reading_age_s=health.reading_age_s,
            troubles=self._troubles,
        )

    # -- beside the floor ---------------------------------------------------------------------------------------------

    async def _watch(self, house: House) -> None:
        """For ever: troubles become a pause, notices system events, settlements facts."""
        account = self._opened
        while True:
            self._troubles = self._seen()
            await self._pause_or_resume(house)
            for notice in account.venue.standing.drain():
                severity = Severity.CRITICAL if notice.treatment is Treatment.STOP else Severity.WARNING
                await house.dispatcher.note(severity, "venue", notice.text)
            await self._journal_wallet(house)
            await self._tell_new(house, Severity.WARNING, "venue", self._stuck())
            await self._tell_new(house, Severity.ERROR, "settlement", self._unclaimed())
            await asyncio.sleep(LOOK_S)

    async def _pause_or_resume(self, house: House) -> None:
        now, paused = self._clock.now_ms(), ACCOUNT in house.room.state.pauses
        if self._troubles and not paused:
            text = "; ".join(self._troubles) + (ASK if self._opened.watch.unexplained else "")
            count = float(len(self._troubles))
            paused_now = TradingPaused(at=now, agent=None, breaker=ACCOUNT, value=count, limit=0, text=text, until=None)
            await house.dispatcher.commit([paused_now])
        elif paused and not self._troubles:
            text = "account, user channel and order heartbeat are as they should be"
            await house.dispatcher.commit([TradingResumed(at=now, agent=None, breaker=ACCOUNT, text=text)])

    async def _journal_wallet(self, house: House) -> None:
        """What of the wallet no desk knows is remembered with the facts (desk/wallet.py)."""
        reading, room = self._opened.watch.reading, house.room
        if reading is not None and room.state.wallet.elsewhere is None:
            opened = wallet_opened(room, self._hash_of, reading, self._clock.now_ms())
            if opened is not None:
                await house.dispatcher.commit([opened])
        await self._believe_arrivals(house)
        while self._settled:
            await house.dispatcher.commit(wallet_moves(room, self._settled[0]))
            self._settled.pop(0)

    async def _believe_arrivals(self, house: House) -> None:
        now_s, watch = self._clock.monotonic(), self._opened.watch
        is_fresh = watch.read_at is not None and now_s - watch.read_at < FRESH_S
        found = watch.unexplained if is_fresh else ()  # or the same money would be counted again
        came = self._arrivals.believed(found, self._room.state.wallet.elsewhere, now_s, self._clock.now_ms())
        if came is not None:
            await house.dispatcher.commit([came])
            watch.want()

    async def _tell_new(self, house: House, severity: Severity, component: str, found: Mapping[str, str]) -> None:
        """What was not there at the last look, by its name: once each, and again after a restart."""
        news, self._told[component] = found.keys() - self._told.get(component, set()), set(found)
        for name in sorted(news):
            await house.dispatcher.note(severity, component, found[name])

    def _stuck(self) -> dict[str, str]:
        stuck = stuck_fills(self._room, self._clock.now_ms())
        return {fill.fill: f"{fill.fill} of {fill.market} {STUCK}" for fill in stuck}

    def _unclaimed(self) -> dict[str, str]:
        """The desks reckon with what was won, and the wallet does not have it."""
        return {name: f"{text} ({CLAIM})" for name, text in self._opened.redeemer.failing().items()}

    async def _settle(self) -> None:
        """Redeeming begins once the wallet is measured, and late enough that nothing is listed any more that a former
        process redeemed: it would be counted twice."""
        await asyncio.sleep(account_hosts(self._settings).listed_s)
        while self._room.state.wallet.elsewhere is None:  # noqa: ASYNC110 - a fact of the floor's, seconds away
            await asyncio.sleep(LOOK_S)
        await self._opened.redeemer.run()

    def _seen(self) -> tuple[str, ...]:
        """Everything that speaks against trading now."""
        elsewhere = self._room.state.wallet.elsewhere
        found = [*self._opened.health().troubles]
        if elsewhere is None:
            found.append("what of the wallet is the floor's has not been measured yet")
        elif elsewhere < -LACKS_MAX:
            lacks = f"{format_units(-elsewhere)} pUSD less than the floor's capital and gains"
            found.append(f"the wallet has {lacks}: {DEPOSIT}")
        return tuple(found)
