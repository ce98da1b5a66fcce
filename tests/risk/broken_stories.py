"""An honest story, and every way to break it in one place: what test_audit.py holds the auditor to."""

from collections.abc import Callable
from typing import Any

import msgspec

from polybot.domain.book import BookState
from polybot.domain.events import (
    AnyFact,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    Liquidity,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    RunStarted,
    TradeSettled,
    TradingPaused,
)
from polybot.domain.fees import NO_FEES
from polybot.domain.ids import FillId, MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, TimeInForce
from polybot.domain.units import Millis
from polybot.risk.audit_rules import Rule
from tests.facts import MOMENTUM, REVERSION, SPIKE, START, WINDOW_MS, Story, a_market, money, price, shares

Facts = list[AnyFact]


def honest_story() -> Story:
    """Two windows: a whole taker order, a resting one filled in two parts of which one fails, and one rejected."""
    story = Story()
    for agent in (MOMENTUM, REVERSION, SPIKE):
        story.agent(agent, "300")
    market = story.opened(a_market(0))
    story.bought(MOMENTUM, market)
    resting = story.intent(REVERSION, market, limit="0.45", ask="0.54", tif=TimeInForce.GTC, post_only=True)
    story.accepted(resting)
    kept = story.matched(resting, "8", "0.45", liquidity=Liquidity.MAKER)
    undone = story.matched(resting, "7", "0.45", liquidity=Liquidity.MAKER)
    story.confirmed_fill(kept)
    story.closed(resting, CloseReason.CANCELLED)
    story.failed_fill(undone)
    refused = story.intent(SPIKE, market, outcome=Outcome.DOWN)
    story.tell(OrderRejected, agent=SPIKE, order=refused.id, text="not enough balance / allowance")
    story.exposures[refused.id] = 0
    story.settled(market, "1")
    second = story.opened(a_market(1))
    story.bought(MOMENTUM, second, outcome=Outcome.DOWN, tif=TimeInForce.FOK)
    story.settled(second, "1")
    story.ended()
    return story


# -- ways to break a story --------------------------------------------------------------------------------------------

Mutation = Callable[[Facts], Facts]


def where(facts: Facts, kind: type, number: int = 0) -> int:
    return [place for place, fact in enumerate(facts) if type(fact) is kind][number]


def changed(kind: type, number: int = 0, **fields: Any) -> Mutation:
    """The same story with some fields of its n-th fact of this kind changed."""

    def mutate(facts: Facts) -> Facts:
        place = where(facts, kind, number)
        return [*facts[:place], msgspec.structs.replace(facts[place], **fields), *facts[place + 1 :]]

    return mutate


def intent(number: int = 0, proof: dict[str, Any] | None = None, **fields: Any) -> Mutation:
    """The same story with the n-th order changed, or its proof."""

    def mutate(facts: Facts) -> Facts:
        fact = facts[where(facts, IntentRecorded, number)]
        assert isinstance(fact, IntentRecorded)
        seen = msgspec.structs.replace(fact.intent.proof, **(proof or {}))
        told = msgspec.structs.replace(fact.intent, proof=seen, **fields)
        return changed(IntentRecorded, number, intent=told)(facts)

    return mutate


def repeated(kind: type, number: int = 0, **fields: Any) -> Mutation:
    """The same story with its n-th fact of this kind told twice, the second time with some fields changed."""

    def mutate(facts: Facts) -> Facts:
        place = where(facts, kind, number)
        return [*facts[: place + 1], msgspec.structs.replace(facts[place], **fields), *facts[place + 1 :]]

    return mutate


def missing(kind: type, number: int = 0) -> Mutation:
    def mutate(facts: Facts) -> Facts:
        place = where(facts, kind, number)
        return [*facts[:place], *facts[place + 1 :]]

    return mutate


def exchanged(kind: type, number: int, other: type, other_number: int) -> Mutation:
    """The same story with two of its facts in each other's place."""

    def mutate(facts: Facts) -> Facts:
        one, two = where(facts, kind, number), where(facts, other, other_number)
        swapped = list(facts)
        swapped[one], swapped[two] = facts[two], facts[one]
        return swapped

    return mutate


def paused(facts: Facts) -> Facts:
    place = where(facts, IntentRecorded)
    pause = TradingPaused(
        at=facts[place].at, agent=None, breaker="daily_loss", value=0.11, limit=0.1, text="10 % lost today", until=None
    )
    return [*facts[:place], pause, *facts[place:]]


def fill_or_kill_filled_in_part(facts: Facts) -> Facts:
    facts = changed(FillMatched, 3, shares=shares("12"), fee=a_market().fees.taker_fee(price("0.54"), shares("12")))(
        facts
    )
    return changed(OrderClosed, 2, reason=CloseReason.KILLED)(facts)


FIRST_END = START + WINDOW_MS
BREAKS: list[tuple[Rule, Mutation]] = [
    (Rule.SIDE, intent(side=Side.SELL)),
    (Rule.TICK_GRID, intent(limit=price("0.555"))),
    (Rule.PRICE_RANGE, intent(limit=price("1"))),
    (Rule.SIZE_MINIMUM, intent(shares=shares("4.99"))),
    (Rule.SIZE_LOT, intent(shares=shares("20.001"))),
    (Rule.NOTIONAL_MINIMUM, intent(limit=price("0.04"), proof={"best_ask": price("0.03")})),
    (Rule.TRADING_WINDOW, intent(decided_at=START - 1)),
    (Rule.TRADING_WINDOW, intent(decided_at=FIRST_END - 5_000)),
    (Rule.EXPIRY, intent(expires_at=FIRST_END)),
    (Rule.EXPIRY, intent(1, time_in_force=TimeInForce.GTD)),
    (Rule.EXPIRY, intent(1, time_in_force=TimeInForce.GTD, expires_at=START)),
    (Rule.BOOK_VERIFIED, intent(proof={"book_state": BookState.CONTRADICTED})),
    (Rule.BOOK_VERIFIED, intent(proof={"book_state": BookState.UNVERIFIABLE})),
    (Rule.BOOK_AGE, intent(proof={"book_age_ms": 5_001})),
    (Rule.BOOK_AGE, intent(proof={"book_age_ms": -1})),
    (Rule.DEPTH, intent(proof={"depth": shares("0")})),
    (Rule.DEPTH, intent(1, proof={"depth": shares("3")})),
    (Rule.MARKETABLE, intent(proof={"best_ask": price("0.56")})),
    (Rule.MARKETABLE, intent(proof={"best_ask": None})),
    (Rule.POST_ONLY, intent(1, proof={"best_ask": price("0.45")})),
    (Rule.POST_ONLY, intent(1, time_in_force=TimeInForce.FAK)),
    (Rule.FEE_FINGERPRINT, intent(proof={"fee_fingerprint": NO_FEES.fingerprint})),
    (Rule.RULE_SET, intent(proof={"rule_set": "chainlink-last-price"})),
    (Rule.FAIR_VALUE, intent(fair_value=price("0.54"))),
    (Rule.FAIR_VALUE, intent(fair_value=price("1"))),
    (Rule.COST_MAX, intent(cost_max=money("11"))),
    (Rule.PAUSED, paused),
    (Rule.CAPITAL_BASE, intent(proof={"capital_base": money("900.01")})),
    (Rule.CAPITAL_BASE, intent(proof={"capital_base": money("0")})),
    (Rule.CAPITAL_BASE, missing(RunStarted)),
    (Rule.CAPITAL_BASE, changed(RunStarted, capital=money("800"))),
    (Rule.ORDER_CAPITAL, intent(cost_max=money("18.01"))),
    (Rule.AGENT_CAPITAL, intent(cost_max=money("90.01"))),
    (Rule.FLOOR_CAPITAL, intent(cost_max=money("360.01"))),
    (Rule.CASH, intent(cost_max=money("300.01"))),
    (Rule.AGENT_EXPOSURE, intent(proof={"agent_exposure": money("-0.000001")})),
    (Rule.FLOOR_EXPOSURE, intent(1, proof={"floor_exposure": money("0")})),
    (Rule.UNKNOWN_ORDER, missing(IntentRecorded)),
    (Rule.UNKNOWN_MARKET, missing(MarketOpened)),
    (Rule.WRONG_AGENT, changed(OrderAccepted, agent=SPIKE)),
    (Rule.WRONG_AGENT, changed(IntentRecorded, agent=SPIKE)),
    (Rule.WRONG_AGENT, changed(TradeSettled, agent=SPIKE)),
    (Rule.ORDER_TWICE, repeated(IntentRecorded)),
    (Rule.ORDER_LIFE, repeated(OrderAccepted)),
    (Rule.ORDER_LIFE, repeated(OrderClosed)),
    (Rule.CLOSE_REASON, changed(OrderClosed, reason=CloseReason.KILLED)),
    (Rule.CLOSE_REASON, changed(OrderClosed, 1, reason=CloseReason.FILLED)),
    (Rule.ALL_OR_NOTHING, fill_or_kill_filled_in_part),
    (Rule.COST_PAID, changed(FillMatched, fee=money("0.6"))),
    (Rule.FILL_TERMS, changed(FillMatched, outcome=Outcome.DOWN)),
    (Rule.FILL_TERMS, changed(FillMatched, market=MarketId("btc-updown-15m-0"))),
    (Rule.FILL_TERMS, changed(FillMatched, side=Side.SELL)),
    (Rule.FILL_PRICE, changed(FillMatched, price=price("0.56"))),
    (Rule.FILL_PRICE, changed(FillMatched, price=price("0"))),
    (Rule.FILL_SIZE, changed(FillMatched, shares=shares("20.01"))),
    (Rule.FILL_SIZE, changed(FillMatched, 2, shares=shares("12.01"))),
    (Rule.FILL_SIZE, changed(FillMatched, shares=shares("0"))),
    (Rule.FILL_AVAILABLE, changed(FillMatched, available=shares("19.99"))),
    (Rule.FILL_FEE, changed(FillMatched, fee=money("0.34775"))),
    (Rule.FILL_FEE, changed(FillMatched, 1, fee=money("0.00001"))),
    (Rule.FILL_LIQUIDITY, changed(FillMatched, liquidity=Liquidity.MAKER)),
    (Rule.FILL_LIQUIDITY, changed(FillMatched, 1, liquidity=Liquidity.TAKER)),
    (Rule.FILL_BEFORE_ACCEPTANCE, missing(OrderAccepted)),
    (Rule.FILL_AFTER_CLOSE, exchanged(FillMatched, 2, OrderClosed, 1)),
    (Rule.FILL_AFTER_WINDOW, changed(FillMatched, at=Millis(FIRST_END + 1))),
    (Rule.FILL_TWICE, repeated(FillMatched)),
    (Rule.FILL_FINALITY, repeated(FillConfirmed)),
    (Rule.FILL_FINALITY, changed(FillFailed, fill=FillId("mean-reversion-000001.1"))),
    (Rule.FILL_FINALITY, missing(FillMatched)),
    (Rule.SETTLED_EARLY, exchanged(MarketSettled, 0, TradeSettled, 0)),
    (Rule.SETTLED_EARLY, exchanged(FillFailed, 0, TradeSettled, 1)),
    (Rule.SETTLED_TWICE, repeated(TradeSettled)),
    (Rule.SETTLED_TERMS, changed(TradeSettled, outcome=Outcome.DOWN)),
    (Rule.SETTLED_SHARES, changed(TradeSettled, shares=shares("19"))),
    (Rule.SETTLED_COST, changed(TradeSettled, cost=money("10.799999"))),
    (Rule.SETTLED_FEES, changed(TradeSettled, fees=money("0"))),
    (Rule.SETTLED_PAYOUT, changed(TradeSettled, payout=money("20.000001"))),
    (Rule.SETTLED_PAYOUT, changed(TradeSettled, 2, payout=money("20"))),
    (Rule.SETTLED_PAYOUT, changed(MarketSettled, payout_up=price("0.5"))),
    (Rule.SETTLED_PNL, changed(TradeSettled, pnl=money("9.2"))),
    (Rule.NEVER_SETTLED, missing(TradeSettled)),
    (Rule.NEVER_SETTLED, missing(OrderClosed)),
    (Rule.MARKET_SETTLEMENT, repeated(MarketSettled)),
    (Rule.MARKET_SETTLEMENT, changed(MarketSettled, payout_up=price("1.01"))),
    (Rule.MARKET_SETTLEMENT, missing(MarketOpened)),
]
