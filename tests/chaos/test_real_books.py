"""The retelling of a journal passes a sound story and finds each thing that may not be in one."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from polybot.app import Backtest
from polybot.chaos.real_books import retell
from polybot.chaos.real_compare import windows_of
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BooksAudited,
    FillConfirmed,
    FillMatched,
    IntentRecorded,
    Journaled,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    TradeAudited,
    TradeSettled,
    WindowRecorded,
)
from polybot.domain.ids import AgentId
from polybot.domain.market import Outcome
from polybot.domain.order import CloseReason
from polybot.domain.units import UNIT, Millis, Money, Price, Shares
from polybot.settings import load_settings

TOLD_ONCE = (
    *(IntentRecorded, OrderAccepted, OrderClosed, FillMatched, FillConfirmed),
    *(TradeSettled, TradeAudited, WindowRecorded, MarketSettled),
)
F = TypeVar("F", bound=AnyFact)
Change = Callable[[list[AnyFact]], None]


@pytest.fixture(scope="module")
def story() -> list[AnyFact]:
    settings = load_settings()
    return Backtest(settings, [settings.tape], []).run(lambda *_: None)


def findings(facts: list[AnyFact]) -> list[str]:
    entries = [Journaled(seq=seq, position=seq, fact=fact) for seq, fact in enumerate(facts, 1)]
    return retell(entries, windows_of(load_settings())).findings


def first(facts: list[AnyFact], kind: type[F]) -> tuple[int, F]:
    return next((place, fact) for place, fact in enumerate(facts) if isinstance(fact, kind))


def test_a_sound_story_has_no_findings_and_adds_up(story):
    entries = [Journaled(seq=seq, position=seq, fact=fact) for seq, fact in enumerate(story, 1)]
    books = retell(entries, windows_of(load_settings()))
    assert books.findings == []
    assert sum(books.cash.values()) == books.capital + books.pnl
    assert (books.orders, books.trades, books.records) == (24, 20, 36)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (IntentRecorded, "the intent of order"),
        (OrderAccepted, "the answer to order"),
        (OrderClosed, "the close of order"),
        (FillMatched, "fill"),
        (FillConfirmed, "the end of fill"),
        (TradeSettled, "the settlement of"),
        (TradeAudited, "the audit of order"),
        (WindowRecorded, "record of window"),
        (MarketSettled, "the settlement of market"),
    ],
)
def test_whatever_may_be_told_only_once_is_found_when_told_twice(story, kind, words):
    place, _ = first(story, kind)
    (found, *_) = findings([*story[: place + 1], story[place], *story[place + 1 :]])
    assert words in found
    assert f"row {place + 2}:" in found
    assert "told twice" in found


@pytest.mark.parametrize("kind", TOLD_ONCE)
def test_a_fact_that_is_missing_is_found(story, kind):
    place, _ = first(story, kind)
    assert findings(story[:place] + story[place + 1 :])


def more_profit(facts: list[AnyFact]) -> None:
    place, trade = first(facts, TradeSettled)
    facts[place] = msgspec.structs.replace(trade, pnl=Money(trade.pnl + 1))


def dearer_trade(facts: list[AnyFact]) -> None:
    place, trade = first(facts, TradeSettled)
    facts[place] = msgspec.structs.replace(trade, cost=Money(trade.cost + 1), pnl=Money(trade.pnl - 1))


def other_side_paid(facts: list[AnyFact]) -> None:
    place, settled = first(facts, MarketSettled)
    facts[place] = msgspec.structs.replace(settled, payout_up=Price(UNIT - settled.payout_up))


def desk_has_more(facts: list[AnyFact]) -> None:
    place, said = [(place, fact) for place, fact in enumerate(facts) if isinstance(fact, BooksAudited)][-1]
    facts[place] = msgspec.structs.replace(said, desk_cash=Money(said.desk_cash + 1))


def fill_beyond_the_order(facts: list[AnyFact]) -> None:
    place, fill = first(facts, FillMatched)
    facts[place] = msgspec.structs.replace(fill, shares=Shares(fill.shares * 100))


def answered_after_never_sent(facts: list[AnyFact]) -> None:
    place, order = first(facts, OrderAccepted)
    never = OrderClosed(at=order.at, agent=order.agent, order=order.order, reason=CloseReason.NEVER_SENT)
    facts.insert(place, never)


def crash(facts: list[AnyFact]) -> None:
    crashed = AgentChanged(at=Millis(1), agent=AgentId("momentum"), role="trader", state=AgentState.CRASHED)
    facts.insert(20, crashed)


def other_outcome(facts: list[AnyFact]) -> None:
    place, trade = first(facts, TradeSettled)
    facts[place] = msgspec.structs.replace(trade, outcome=Outcome(1 - trade.outcome))


@pytest.mark.parametrize(
    "change",
    [
        *(more_profit, dearer_trade, other_side_paid, desk_has_more, fill_beyond_the_order),
        *(answered_after_never_sent, crash, other_outcome),
    ],
)
def test_a_story_that_is_not_so_is_found_out(story, change: Change):
    facts = list(story)
    change(facts)
    assert findings(facts)


def test_a_run_without_any_order_has_tried_nothing():
    assert "there was not one order: nothing has been tried" in findings([])
