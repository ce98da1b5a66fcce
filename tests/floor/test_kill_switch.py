"""The kill switch, order by order: nothing leaves once it is thrown, what is open is cancelled and told."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from polybot.domain.events import OrderRejected, SystemNoted, TradingPaused, TradingResumed
from polybot.domain.ids import OrderId
from polybot.domain.order import CloseReason
from polybot.domain.units import Millis
from polybot.floor.kill_switch import CANCEL_S_MAX, KillSwitch
from polybot.floor.venue_calls import CALL_S_MAX
from polybot.switch_file import STOP, SwitchAnswer, SwitchFile, Wish
from polybot.venue.base import VenueUnavailable
from tests.floor.venues import VenueStage

Script = Callable[[VenueStage, KillSwitch], Awaitable[None]]


def play(folder: Path, script: Script, *, agents: int = 1) -> VenueStage:
    stage = VenueStage(agents=agents)

    async def with_switch(stage: VenueStage) -> None:
        switch = KillSwitch(SwitchFile(folder), stage.dispatcher, stage.clock, lambda: False)
        stage.room.fence = switch.may_trade
        await script(stage, switch)

    stage.play(with_switch)
    return stage


def test_an_order_that_is_decided_while_the_pause_is_being_written_does_not_leave(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        approved = stage.decide()
        assert approved
        stage.journal.gate.clear()
        sending = stage.dispatcher.carry_out(approved, stage.clock.now_ms())
        stopping = asyncio.create_task(switch.stop(cancel_all=False, by="ann"))
        await asyncio.sleep(0.1)
        stage.journal.gate.set()
        await asyncio.gather(sending, stopping)
        assert stage.venue.placed == []
        (refused,) = stage.of(OrderRejected)
        assert "not sent" in refused.text

    play(tmp_path, script)


def test_one_that_is_on_its_way_is_waited_for_and_then_cancelled(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        stage.venue.place_s = 3.0
        sending = asyncio.create_task(stage.send())
        await asyncio.sleep(0.5)
        stopping = asyncio.create_task(switch.stop(cancel_all=True, by="ann"))
        (intent,) = await sending
        await asyncio.sleep(0.1)
        assert stage.venue.cancelled == [intent.id]
        stage.venue.stream.append(stage.closed(intent, CloseReason.CANCELLED))
        report = await stopping
        assert (report.done, report.trouble) == (
            "the floor is paused, until somebody resumes; 1 of the floor's orders were cancelled",
            "",
        )
        assert any("1 of the floor's orders were cancelled" in fact.text for fact in stage.of(SystemNoted))

    play(tmp_path, script)


def test_an_order_of_which_no_end_is_heard_is_told_as_trouble(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        (intent,) = await stage.send()
        began = stage.clock.monotonic()
        report = await switch.stop(cancel_all=True, by="ann")
        assert intent.id in report.trouble
        assert "still open in its books" in report.trouble
        assert stage.clock.monotonic() - began < CANCEL_S_MAX + 1

    play(tmp_path, script)


def test_the_account_is_emptied_even_of_what_is_not_ours_and_its_silence_is_told(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        left = ["0xabc"]

        async def cancel_account() -> list[str]:
            if not left:
                raise VenueUnavailable("no answer")
            return left

        switch.cancel_account = cancel_account
        assert "1 orders of the account open" in (await switch.stop(cancel_all=True, by="ann")).trouble
        left.clear()
        assert "no answer" in (await switch.stop(cancel_all=True, by="ann")).trouble

    play(tmp_path, script)


def test_orders_whose_cancels_are_not_answered_do_not_hold_up_the_one_call_for_all_of_them(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        emptied: list[float] = []

        async def no_answer(order: OrderId, now: Millis) -> None:
            await asyncio.sleep(3_600)

        async def cancel_account() -> list[str]:
            emptied.append(stage.clock.monotonic())
            await asyncio.sleep(3_600)
            return []

        await stage.send()
        stage.venue.cancel, switch.cancel_account = no_answer, cancel_account  # type: ignore[method-assign]
        began = stage.clock.monotonic()
        report = await switch.stop(cancel_all=True, by="ann")
        assert emptied[0] - began < CALL_S_MAX + 1
        assert "the account's orders could not all be cancelled: no answer" in report.trouble

    play(tmp_path, script, agents=4)


def test_it_is_paused_once_and_until_a_person_resumes_whatever_the_hour(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        for _ in range(3):
            await switch.stop(cancel_all=False, by="ann")
        (pause,) = stage.of(TradingPaused)
        assert (pause.breaker, pause.agent, pause.until) == ("kill_switch", None, None)
        await asyncio.sleep(3 * 86_400)
        await stage.dispatcher.commit_due(stage.clock.now_ms())
        assert "kill_switch" in stage.room.state.pauses
        resumed: list[str] = []
        switch.on_resume.append(lambda: resumed.append("told"))
        await switch.resume(by="bob")
        assert stage.room.state.pauses == {}
        assert [fact.text for fact in stage.of(TradingResumed)] == ["resumed by bob"]
        assert resumed == ["told"]
        assert not (tmp_path / STOP).exists()

    play(tmp_path, script)


def test_a_file_is_obeyed_once_answered_and_its_removal_alone_lifts_nothing(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        file = SwitchFile(tmp_path)
        file.ask_stop(Wish(stop=True, id="7", by="ann"))
        for _ in range(3):
            await switch.look()
        answer = file.answer()
        assert answer == SwitchAnswer(id="7", text="the floor is paused, until somebody resumes")
        (tmp_path / STOP).unlink()
        await switch.look()
        assert "kill_switch" in stage.room.state.pauses
        assert stage.decide() == []
        file.ask_resume(Wish(stop=False, id="8", by="ann"))
        await switch.look()
        assert stage.room.state.pauses == {}
        assert file.wish() is None

    play(tmp_path, script)


def test_where_the_file_stands_at_the_start_not_one_order_leaves_before_anybody_has_looked(tmp_path):
    (tmp_path / STOP).touch()

    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        assert stage.decide() == []
        await switch.look()
        assert stage.decide() == []
        await switch.resume(by="ann")
        assert len(stage.decide()) == 1

    play(tmp_path, script)


def test_a_switch_that_cannot_be_read_counts_as_thrown_until_it_can(tmp_path, monkeypatch):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        (tmp_path / STOP).symlink_to(tmp_path / STOP)  # a loop: no file, and not nothing
        watching = asyncio.create_task(switch.watch())
        await asyncio.sleep(1)
        assert stage.decide() == []
        assert stage.room.state.pauses == {}
        (tmp_path / STOP).unlink()
        await asyncio.sleep(1)
        assert len(stage.decide()) == 1
        watching.cancel()

    play(tmp_path, script)


@pytest.mark.parametrize("over", [True, False])
def test_a_journal_that_has_its_last_word_gets_no_other(tmp_path, over):
    async def script(stage: VenueStage, _: KillSwitch) -> None:
        switch = KillSwitch(SwitchFile(tmp_path), stage.dispatcher, stage.clock, lambda: over)
        before = len(stage.facts)
        await switch.stop(cancel_all=True, by="ann")
        await switch.resume(by="ann")
        assert (len(stage.facts) == before) is over

    play(tmp_path, script)


def test_a_small_pause_leaves_no_file_and_is_lifted_by_the_same_resume(tmp_path):
    async def script(stage: VenueStage, switch: KillSwitch) -> None:
        await switch.pause(by="ann")
        assert stage.room.state.pauses == {"paused_by_hand": None}
        assert not (tmp_path / STOP).exists()
        await switch.resume(by="ann")
        assert stage.room.state.pauses == {}

    play(tmp_path, script)
