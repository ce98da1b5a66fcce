"""The last events of a failing seed are for people: words, whole units, nothing empty."""

import msgspec

from polybot.chaos.fact_text import fact_text
from polybot.domain.events import FillMatched, IntentRecorded, Liquidity, TradingPaused
from polybot.domain.ids import FillId, OrderId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import Money
from tests.venue.builders import AGENT, MARKET, START, an_intent, price, shares


def test_an_intent_says_what_is_bought_and_on_which_book() -> None:
    intent = an_intent(1, limit=price("0.52"), size=shares("20"))
    proof = msgspec.structs.replace(intent.proof, best_bid=price("0.5"), book_age_ms=30)
    intent = msgspec.structs.replace(intent, proof=proof)
    assert fact_text(IntentRecorded(at=START, agent=intent.agent, intent=intent)) == (
        "tester: intent recorded, order tester-000001, buy 20.00 UP at 0.52 or better FAK, cost at most 10.75044, "
        "btc-updown-15m-1790586000, book verified, 30 ms old, 0.50 / none, decided at 1790586000000"
    )


def test_a_fill_is_told_in_whole_units() -> None:
    fill = FillMatched(
        at=START,
        agent=AGENT,
        fill=FillId("tester-000001.1"),
        order=OrderId("tester-000001"),
        market=MARKET,
        outcome=Outcome.DOWN,
        side=Side.BUY,
        price=price("0.5"),
        shares=shares("12.5"),
        fee=Money(1_234),
        liquidity=Liquidity.TAKER,
        available=shares("40"),
    )
    assert fact_text(fill).endswith(
        "outcome DOWN, side BUY, price 0.50, shares 12.50, fee 0.001234, liquidity TAKER, available 40.00, "
        "rebate basis 0.00"
    )


def test_what_is_empty_is_left_out_and_no_struct_is_shown_raw() -> None:
    pause = TradingPaused(at=START, agent=None, breaker="daily_loss", value=0.125, limit=0.1, text="lost", until=None)
    assert fact_text(pause) == "trading paused, breaker daily_loss, value 0.125, limit 0.1, text lost"
