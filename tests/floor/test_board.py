"""What the board says of the floor: fit or not, how old its books are, how firmly it leads."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import pytest

from polybot.circuit import CircuitSnapshot
from polybot.clock import ReplayClock
from polybot.desk.room import TradingRoom
from polybot.domain.events import AgentState
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis, Money
from polybot.floor.board import Board, RunInfo
from polybot.floor.board_state import BoardState
from polybot.floor.status import AccountStatus, LeadStatus, StoreState, StoreStatus
from polybot.floor.supervisor import AgentSpec, Supervisor
from polybot.risk.limits import Limits
from tests.builders import CAPITAL, a_plan, book, listed, one_sided
from tests.facts import START
from tests.floor.test_boss import Idler

OK = StoreStatus(state=StoreState.OK)
MARKET = one_sided()


class SetStores:
    """Stores that are as the test says."""

    def __init__(self, journal: StoreStatus) -> None:
        self._journal = journal

    def database(self) -> StoreStatus:
        return OK

    def redis(self) -> StoreStatus:
        return OK

    def journal(self) -> StoreStatus:
        return self._journal

    def circuits(self) -> Sequence[CircuitSnapshot]:
        return ()


def a_board(journal: StoreStatus = OK, clock: ReplayClock | None = None) -> Board:
    clock = clock or ReplayClock(Millis(START))
    board = Board(TradingRoom([a_plan()], Limits()), clock, clock.now_ms, BoardState())
    board.stores = SetStores(journal)
    board.info = RunInfo(
        run="r", mode="paper", source="t", started_at=Millis(START), capital=CAPITAL, exposure_share=1,
        events_total=None, windows_total=None,
    )  # fmt: skip
    board.supervisor = Supervisor(
        [AgentSpec(name=AgentId("scripted"), role="trader", build=Idler)], clock, _nobody_asks, random.Random(1)
    )
    return board


async def _nobody_asks(spec: AgentSpec, state: AgentState, text: str) -> None:
    pass


@pytest.mark.parametrize(
    ("state", "reasons"), [(StoreState.OK, ()), (StoreState.DEGRADED, ()), (StoreState.DOWN, ("journal: the disk",))]
)
async def test_a_slow_journal_leaves_the_floor_fit_to_trade_and_a_dead_one_does_not(state, reasons) -> None:
    board = a_board(StoreStatus(state=state, detail="the disk"))
    assert board.supervisor is not None
    await board.supervisor.start()
    try:
        await asyncio.sleep(0)
        status = board.status()
        assert (status.fit, status.reasons) == (not reasons, reasons)
    finally:
        await board.supervisor.stop()


def test_the_age_shown_is_that_of_what_the_book_says_not_of_its_arrival() -> None:
    clock = ReplayClock(Millis(START))
    board = a_board(clock=clock)
    prompt = book(MARKET, 60_000)
    late = msgspec.structs.replace(prompt, received=Millis(prompt.at + 4_000))
    for event in (listed(MARKET), late):
        board.room.observe(event)
    clock.move_to(late.received)
    (line,) = board.market_lines()
    assert line.up.book_age_ms == 4_000


def test_how_firmly_it_leads_is_told_where_there_is_somebody_to_lead() -> None:
    board = a_board()
    assert board.status().leadership is None
    board.lead = lambda: LeadStatus(footing="alone", epoch=7, holder="here", standby=False)
    assert board.status().leadership == LeadStatus(footing="alone", epoch=7, holder="here", standby=False)


def test_what_speaks_against_the_account_is_told_and_not_taken_for_a_lost_lead() -> None:
    board = a_board()
    board.lead = lambda: LeadStatus(footing="firm", epoch=7, holder="here", standby=False)
    board.account = lambda: account_with("the user channel is away", "the account has not been read")
    board.room.state.pauses["account"] = None
    board.room.fence = lambda: False
    shown = [(pause.breaker, pause.text) for pause in board.status().paused]
    assert shown == [("account", "the user channel is away; the account has not been read")]


@pytest.mark.parametrize("footing", ["paused", "asleep"])
def test_a_lead_that_is_not_sure_is_told_beside_what_else_keeps_the_floor_from_trading(footing) -> None:
    board = a_board()
    board.lead = lambda: LeadStatus(footing=footing, epoch=7, holder="here", standby=False)
    board.room.state.pauses["kill_switch"] = None
    board.room.fence = lambda: False
    assert [pause.breaker for pause in board.status().paused] == ["kill_switch", "not_leader"]


def account_with(*troubles: str) -> AccountStatus:
    none = Money(0)
    return AccountStatus(
        wallet=none, elsewhere=none, unpaid=none, dust=none, channel_open=False, heartbeat_armed=True,
        reading_age_s=None, troubles=troubles,
    )  # fmt: skip
