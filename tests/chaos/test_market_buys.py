"""The hunt's two tellers hold a market BUY to its money at the real venue, and on paper to its shares as well."""

import msgspec
import pytest

from polybot.chaos.invariants import OrderSeen
from polybot.chaos.real_books import retell
from polybot.domain.events import AnyFact, Journaled, RunStarted
from polybot.domain.market import Side
from polybot.domain.order import CloseReason, TimeInForce
from tests.facts import MOMENTUM, Story, a_market, shares
from tests.venue.builders import an_intent, price

FOK, FAK, GTC, GTD = TimeInForce.FOK, TimeInForce.FAK, TimeInForce.GTC, TimeInForce.GTD


def fills_found(size: str, at_price: str, tif: TimeInForce, mode: str) -> list[str]:
    """What the retelling says of fills of an order of 20 shares at 0.55."""
    story = Story()
    story.agent(MOMENTUM, "900")
    market = story.opened(a_market())
    order = story.intent(MOMENTUM, market, tif=tif)
    story.accepted(order)
    story.confirmed_fill(story.matched(order, size, at_price))
    story.closed(order, CloseReason.FILLED)
    story.settled(market, "1")
    facts: list[AnyFact] = [
        msgspec.structs.replace(fact, mode=mode) if isinstance(fact, RunStarted) else fact for fact in story.ended()
    ]
    entries = [Journaled(seq=seq, position=seq, fact=fact) for seq, fact in enumerate(facts, 1)]
    return [found for found in retell(entries, {}).findings if "has fills" in found]


@pytest.mark.parametrize("tif", [FOK, FAK])
def test_more_shares_for_the_money_are_right_at_the_real_venue_and_wrong_on_paper(tif: TimeInForce) -> None:
    assert fills_found("22", "0.48", tif, "live") == []
    (found,) = fills_found("22", "0.48", tif, "paper")
    assert "of 20000000 shares has fills of 22000000" in found


def test_more_shares_of_a_resting_order_are_wrong_everywhere() -> None:
    for mode in ("live", "paper"):
        (found,) = fills_found("22", "0.48", GTC, mode)
        assert "of 20000000 shares has fills of 22000000" in found


@pytest.mark.parametrize("mode", ["live", "paper"])
@pytest.mark.parametrize("tif", [FOK, FAK, GTC])
def test_more_money_than_was_reserved_is_wrong_everywhere(tif: TimeInForce, mode: str) -> None:
    assert any("which may cost" in found for found in fills_found("23", "0.48", tif, mode))


@pytest.mark.parametrize("tif", [FOK, FAK])
def test_the_simulated_venue_has_room_for_its_shares_and_the_real_one_for_its_money_as_well(
    tif: TimeInForce,
) -> None:
    intent = an_intent(1, limit=price("0.50"), size=shares("10"), tif=tif)
    order = OrderSeen(intent=intent, filled=shares("6"), spent=1_000_000)
    left = intent.cost_max - order.spent
    assert order.has_room(shares("4"), left, live=False)
    assert not order.has_room(shares("4") + 1, left, live=False)
    assert order.has_room(shares("40"), left, live=True)
    for live in (False, True):
        assert order.has_room(shares("4"), left + 1, live=live)  # a fee that was raised meanwhile
        assert not order.has_room(shares("40"), left + 1, live=live)


def test_resting_orders_and_sells_have_room_for_their_shares_wherever_they_are() -> None:
    for tif, side in ((GTC, Side.BUY), (GTD, Side.BUY), (FAK, Side.SELL)):
        order = OrderSeen(intent=an_intent(1, limit=price("0.50"), size=shares("10"), tif=tif, side=side))
        assert order.has_room(shares("10"), 0, live=True)
        assert not order.has_room(shares("10") + 1, 0, live=True)
