"""A rehearsal from its first process to its verdict: an exchange, a floor, faults by plan, calm, and the comparison.

Everything is a process of its own and speaks over sockets, as it would with the real venue.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import msgspec

from polybot.agents.auditor import AUDITOR
from polybot.agents.monitor import MONITOR
from polybot.chaos.real_follow import Follower
from polybot.chaos.real_parts import Service, ServiceFault
from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.ids import AgentId
from polybot.rehearsal.compare import Ledger, is_quiet
from polybot.rehearsal.exchange_process import ExchangeProcess
from polybot.rehearsal.floor import FUNDS, environment, identity_of, write_agents
from polybot.rehearsal.plan import Deed, Kind, plan_deeds
from polybot.rehearsal.settle_up import settle_up
from polybot.rehearsal.switches import Switches
from polybot.runs import journal_path
from polybot.storage import journal_file
from polybot.storage.journal_file import JournalUnusableError
from polybot.switch_file import SwitchFile, Wish

FRAME_MS = 900_000
LOOK_S = 0.1
TRADING_S_MAX = 90.0
TRADES_S_MIN = 8.0
"""Machine seconds before the first end of windows that counts, and after the last kill."""
REST_S_MAX = 300.0
GIVEN_UP_MAX = 8
"""Starts in a row that may be given up, because the exchange refused to be talked to just then."""

Tell = Callable[[str], None]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is rehearsed. `windows` ends of windows of each series are passed, the first of them under way; `gap_s` is
    the mean of machine seconds between faults; `into_s` how far the first window is when the exchange opens."""

    speed: float = 10.0
    windows: int = 2
    seed: int = 1
    ghost_rate: float = 0.35
    gap_s: float = 5.0
    into_s: float | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it; all is well where `findings` is empty."""

    folder: Path
    terms: Terms
    findings: list[str] = []
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    missed: Counter[str] = msgspec.field(default_factory=Counter)
    """Kills that found no floor at work, or came so late that what followed would not have been under faults."""
    launches: int = 0
    given_up: int = 0
    windows: int = 0
    orders: int = 0
    reached: int = 0
    """Orders that the exchange has taken in."""
    batched: int = 0
    """Orders that came there in a request with others."""
    fills: int = 0
    confirmed: int = 0
    ghosts: int = 0
    never_sent: int = 0
    turnover: int = 0
    facts: int = 0
    rows: int = 0
    """Of the database, compared."""
    hours: float = 0.0
    """Of the exchange's clock, under faults."""
    seconds: float = 0.0


class Rehearsal:
    """One of them, in an empty `folder`."""

    def __init__(self, folder: Path, terms: Terms, tell: Tell) -> None:
        self.folder, self.terms, self._tell = folder, terms, tell
        self.outcome = Outcome(folder=folder, terms=terms)
        self._clock = SystemClock()
        self._who = identity_of(terms.seed)
        self._exchange = ExchangeProcess(folder / "exchange.log")
        self._data = folder / "data"
        self._ledger, self._seq = Ledger(), 0
        self._tries = 0

    async def run(self) -> Outcome:
        """Never raises for what the floor or the exchange do: that is a finding."""
        began = self._clock.monotonic()
        try:
            async with AsyncExitStack() as stack:
                await self._rehearse(stack)
        except PolybotError as error:
            self.outcome.findings.append(str(error))
        self.outcome.seconds = self._clock.monotonic() - began
        return self.outcome

    async def _rehearse(self, stack: AsyncExitStack) -> None:
        await self._open(stack)
        await self._until_trading()
        began = await self._switches.clock()
        await self._under_faults(self._end_after(began))
        self.outcome.hours = (await self._switches.clock() - began) / 3_600_000
        await self._calm_down()
        await self._until_rest()
        code = await self._service.stop()
        if code:
            raise ServiceFault(f"the floor stopped with {code}; {self._service.log_tail()}")
        self._follower.look()
        self.outcome.findings += self._follower.missing()
        await settle_up(self.outcome, self._who, self._switches, self._data)

    # -- opening ------------------------------------------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack) -> None:
        """Exchange and floor, which end with `stack`."""
        terms = self.terms
        write_agents(self.folder)
        stack.push_async_callback(self._exchange.stop)
        await self._exchange.start(
            speed=terms.speed,
            seed=terms.seed,
            ghost_rate=terms.ghost_rate,
            fund={self._who.wallet: Decimal(FUNDS)},
            into_s=terms.into_s,
        )
        self._switches = Switches(self._exchange.url)
        key = await self._switches.relayer_key(self._who.address)
        told = environment(self.folder, self._exchange.url, self._who, key, speed=terms.speed, seed=terms.seed)
        self._service = Service(self._data, told)
        stack.callback(self._service.kill)
        agents = {AgentId(path.stem) for path in (self.folder / "configs" / "strategies").glob("*.toml")}
        self._follower = Follower(journal_path(self._data), frozenset(agents | {AUDITOR, MONITOR}))
        self._launch()

    def _launch(self) -> None:
        self.outcome.launches += 1
        self._service.launch(speed=1)
        self._follower.launched()

    async def _until_trading(self) -> None:
        deadline = self._clock.monotonic() + TRADING_S_MAX
        while self._follower.progress.trading is None:
            if self._clock.monotonic() > deadline:
                raise ServiceFault(f"no trading {TRADING_S_MAX:g} s after the start; {self._service.log_tail()}")
            await self._wait(LOOK_S)

    def _end_after(self, began: int) -> int:
        """On the exchange's clock: just before an end of windows, and not the next one where that is too near."""
        second_ms = round(1000 * self.terms.speed)
        least = began + round(TRADES_S_MIN) * second_ms
        return least - least % FRAME_MS + self.terms.windows * FRAME_MS - second_ms

    # -- under faults -------------------------------------------------------------------------------------------------

    async def _under_faults(self, end: int) -> None:
        """Until the exchange's clock is at `end`."""
        deeds = plan_deeds(self.terms.seed, self.terms.gap_s)
        undoing: set[asyncio.Task[None]] = set()
        try:
            while (left_s := await self._left_s(end)) > 0:
                deed = next(deeds)
                await self._wait(min(deed.after_s, left_s))
                if deed.after_s < left_s:
                    await self._do(deed, undoing, left_s - deed.after_s)
        finally:
            for task in undoing:  # the calm that follows undoes everything
                task.cancel()

    async def _left_s(self, end: int) -> float:
        """Machine seconds; the exchange's clock is asked, for nobody else knows it."""
        told = await self._switches.clock()
        return (end - told) / 1000 / self.terms.speed

    async def _do(self, deed: Deed, undoing: set[asyncio.Task[None]], left_s: float) -> None:
        kind = deed.kind
        if kind is Kind.KILL and (self._follower.progress.trading is None or left_s < TRADES_S_MIN):
            self.outcome.missed[kind] += 1
            return
        self.outcome.faults[kind] += 1
        self._say(kind)
        if kind is Kind.KILL:
            self._service.kill()
            await asyncio.sleep(deed.lasts_s)
            self._launch()
            return
        await self._switches.begin(deed)
        if deed.lasts_s:
            task = asyncio.create_task(self._undo(deed), name="undo")
            undoing.add(task)
            task.add_done_callback(undoing.discard)

    async def _undo(self, deed: Deed) -> None:
        await asyncio.sleep(deed.lasts_s)
        await self._switches.end(deed)

    # -- coming to rest -----------------------------------------------------------------------------------------------

    async def _calm_down(self) -> None:
        """The faults are over and nothing new is begun: by the owner's own switch, which the floor has to obey."""
        self._say("calm")
        await self._switches.calm()
        wish = Wish(stop=True, id="rehearsal", by="the rehearsal", cancel_all=True)
        await asyncio.to_thread(SwitchFile(self._data).ask_stop, wish)

    async def _until_rest(self) -> None:
        deadline = self._clock.monotonic() + REST_S_MAX
        for look in itertools.count():
            self._read_journal()
            books = await self._switches.books()
            if self._ledger.is_at_rest and is_quiet(books, self._who.wallet):
                return
            if self._clock.monotonic() > deadline:
                self.outcome.findings.append(f"nothing came to rest within {REST_S_MAX:g} s after the last fault")
                return
            if look % 5 == 0:
                self._say("coming to rest")
            await self._wait(1.0)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _wait(self, seconds: float) -> None:
        """Raises ServiceFault when the floor ends by itself while it trades; a start that is given up is tried anew."""
        end = self._clock.monotonic() + seconds
        while True:
            self._exchange.require_alive()
            self._follower.look()
            if self._service.exit_code is not None:
                await self._start_again()
            elif self._follower.progress.started is not None:
                self._tries = 0
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, LOOK_S))

    async def _start_again(self) -> None:
        """As Docker would, where the exchange was away just when the floor began; any other end is a finding."""
        if self._follower.progress.started is not None or self._tries >= GIVEN_UP_MAX:
            raise ServiceFault(f"the floor ended with {self._service.exit_code}; {self._service.log_tail()}")
        self._tries += 1
        self.outcome.given_up += 1
        await asyncio.sleep(1)
        self._launch()

    def _read_journal(self) -> None:
        path = journal_path(self._data)
        if not path.exists():
            return
        try:
            for row in journal_file.read_rows(path, self._seq):
                self._ledger.take(row.journaled())
                self._seq = row.seq
        except JournalUnusableError:
            if self._seq:
                raise

    def _say(self, what: str) -> None:
        self._read_journal()
        ledger, outcome = self._ledger, self.outcome
        ghosts = sum(not fate for fate in ledger.fates.values())
        self._tell(
            f"{len(ledger.payouts)} windows settled, {len(ledger.intents)} orders, {len(ledger.fills)} fills, "
            f"{ghosts} ghosts, {outcome.faults[Kind.KILL]} kills, {outcome.faults.total()} faults: {what}"
        )
