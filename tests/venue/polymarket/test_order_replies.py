"""The venue's story of one order, told in any order and more than once, becomes the same facts."""

import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, Liquidity, OrderAccepted, OrderClosed
from polybot.domain.market import Outcome, Side
from polybot.domain.order import CloseReason, TimeInForce
from polybot.domain.units import Millis, Money, Price, Shares
from polybot.venue.polymarket.order_replies import TrackedOrder, account_of
from polybot.venue.polymarket.wire_user import MakerEntry, OrderSeen, TradePhase, TradeSeen, plain_status
from tests.venue.builders import FEES, price, shares
from tests.venue.polymarket.orders import CONDITION, NOW, TOKENS, an_intent, sent

OURS = "0x" + "aa" * 32
OTHER = "0x" + "bb" * 32
UP, DOWN = TOKENS


def entry(order: str = OTHER, at: str = "0.51", size: str = "10", side: Side = Side.SELL, token=UP) -> MakerEntry:
    return MakerEntry(order=order, token=token, side=side, price=price(at), shares=shares(size))


def trade(
    *makers: MakerEntry,
    name: str = "t1",
    phase: TradePhase = TradePhase.MATCHED,
    taker: str = OURS,
    token=UP,
    side=Side.BUY,
) -> TradeSeen:
    size = Shares(sum(maker.shares for maker in makers))
    return TradeSeen(
        id=name,
        phase=phase,
        condition=CONDITION,
        taker_order=taker,
        token=token,
        side=side,
        price=price("0.51"),
        shares=size,
        makers=makers,
        matched_at=Millis(NOW + 500),
        updated_at=Millis(NOW + 3_500),
    )


def order(status: str = "LIVE", matched: str = "0", size: str = "10") -> OrderSeen:
    return OrderSeen(
        hash=OURS,
        condition=CONDITION,
        token=UP,
        side=Side.BUY,
        price=price("0.51"),
        shares=shares(size),
        matched=shares(matched),
        status=status,
        at=Millis(NOW + 700),
    )


def tracked(tif: TimeInForce = TimeInForce.GTC, size: str | None = None, **changes) -> TrackedOrder:
    return TrackedOrder(sent(an_intent(tif=tif, **changes), OURS, size))


def kinds(replies) -> list[str]:
    return [type(reply).__name__ for reply in replies]


def only_fill(replies) -> FillMatched:
    (fill,) = [reply for reply in replies if isinstance(reply, FillMatched)]
    return fill


def test_a_placement_accepts_the_order_once():
    ours = tracked()
    assert kinds(ours.see_order(order())) == ["OrderAccepted"]
    assert ours.see_order(order()) == []


def test_a_trade_before_the_placement_accepts_it_too():
    assert kinds(tracked().see_trade(trade(entry()))) == ["OrderAccepted", "FillMatched"]


def test_a_taker_pays_the_makers_price_and_the_fee_of_the_whole_trade():
    fill = only_fill(tracked().see_trade(trade(entry(at="0.49", size="4"), entry(OTHER + "1", at="0.49", size="6"))))
    assert (fill.price, fill.shares, fill.liquidity) == (price("0.49"), shares("10"), Liquidity.TAKER)
    assert fill.fee == FEES.taker_fee(price("0.49"), shares("10"))


def test_a_taker_that_met_two_prices_has_two_fills():
    replies = tracked().see_trade(trade(entry(at="0.49", size="4"), entry(at="0.51", size="6")))
    fills = [reply for reply in replies if isinstance(reply, FillMatched)]
    assert [(fill.price, fill.shares) for fill in fills] == [(490_000, 4_000_000), (510_000, 6_000_000)]
    assert len({fill.fill for fill in fills}) == 2


def test_two_buyers_of_opposite_outcomes_meet_at_prices_that_make_one():
    fill = only_fill(tracked().see_trade(trade(entry(at="0.52", side=Side.BUY, token=DOWN))))
    assert fill.price == price("0.48")


def test_a_trade_without_makers_is_taken_at_its_own_word():
    bare = msgspec.structs.replace(trade(), shares=shares("10"))
    assert only_fill(tracked().see_trade(bare)).price == price("0.51")


def test_a_maker_is_filled_by_its_own_entry_and_not_by_the_takers_words():
    """The taker sold Down at 0.49 by name; ours bought Up at 0.51 less: price, token and side are ours."""
    theirs = trade(entry(OURS, at="0.47", size="3", side=Side.BUY), entry(), taker=OTHER, token=DOWN, side=Side.BUY)
    fill = only_fill(tracked().see_trade(theirs))
    assert (fill.price, fill.shares, fill.side, fill.outcome) == (price("0.47"), shares("3"), Side.BUY, Outcome.UP)
    assert (fill.liquidity, fill.fee) == (Liquidity.MAKER, Money(0))
    assert fill.rebate_basis == FEES.rebate_basis(price("0.47"), shares("3"))


def test_a_trade_of_others_is_none_of_ours():
    assert tracked().see_trade(trade(entry(), taker=OTHER)) == []


def test_our_taker_and_our_maker_in_one_trade_are_two_fills_of_two_names():
    both = trade(entry(OTHER, size="10"), taker=OURS)
    taker = only_fill(tracked().see_trade(both))
    maker = only_fill(TrackedOrder(sent(an_intent(2, side=Side.SELL), OTHER)).see_trade(both))
    assert taker.fill != maker.fill


def test_a_match_is_provisional_until_it_is_confirmed():
    ours = tracked()
    assert kinds(ours.see_trade(trade(entry())))[-1] == "FillMatched"
    assert ours.see_trade(trade(entry(), phase=TradePhase.MINED)) == []
    assert ours.see_trade(trade(entry(), phase=TradePhase.RETRYING)) == []
    assert kinds(ours.see_trade(trade(entry(), phase=TradePhase.CONFIRMED))) == ["FillConfirmed"]
    assert ours.see_trade(trade(entry(), phase=TradePhase.CONFIRMED)) == []


def test_a_ghost_fill_fails_and_says_which():
    ours = tracked()
    ours.see_trade(trade(entry()))
    (failed,) = ours.see_trade(trade(entry(), phase=TradePhase.FAILED))
    assert isinstance(failed, FillFailed)
    assert "t1" in failed.text


def test_a_trade_first_heard_of_when_it_is_final_is_told_whole():
    assert kinds(tracked().see_trade(trade(entry(), phase=TradePhase.CONFIRMED))) == [
        "OrderAccepted",
        "FillMatched",
        "FillConfirmed",
    ]


def test_an_order_that_is_filled_closes_when_its_trades_are_told():
    ours = tracked()
    assert kinds(ours.see_order(order("MATCHED", matched="10"))) == ["OrderAccepted"]
    closed = ours.see_trade(trade(entry()))[-1]
    assert isinstance(closed, OrderClosed)
    assert closed.reason is CloseReason.FILLED


def test_a_cancelled_rest_closes_after_its_fills():
    ours = tracked()
    assert kinds(ours.see_order(order("CANCELED", matched="4"))) == ["OrderAccepted"]
    closed = ours.see_trade(trade(entry(size="4")))[-1]
    assert isinstance(closed, OrderClosed)
    assert closed.reason is CloseReason.CANCELLED


def test_a_resting_order_that_is_matched_in_part_stays_open():
    ours = tracked()
    ours.see_trade(trade(entry(size="4")))
    assert ours.see_order(order("MATCHED", matched="4")) == []


def test_a_market_order_sent_a_little_smaller_than_meant_is_killed_and_not_filled():
    ours = tracked(TimeInForce.FAK, size="9.99")
    replies = ours.see_trade(trade(entry(size="9.99"))) + ours.see_order(order("MATCHED", matched="9.99", size="9.99"))
    closed = replies[-1]
    assert isinstance(closed, OrderClosed)
    assert closed.reason is CloseReason.KILLED


def test_every_end_has_its_reason():
    def reason(status: str, tif: TimeInForce = TimeInForce.GTC) -> CloseReason:
        (*_, closed) = tracked(tif).see_order(order(status))
        assert isinstance(closed, OrderClosed)
        return closed.reason

    killed = "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed."
    assert reason("CANCELED_MARKET_RESOLVED") is CloseReason.MARKET_ENDED
    assert reason("CANCELED_EXPIRED_ORDER") is CloseReason.EXPIRED
    assert reason("CANCELED_NOT_ENOUGH_BALANCE") is CloseReason.CANCELLED
    assert reason("CANCELED_WORDS_NOBODY_KNOWS") is CloseReason.CANCELLED
    assert reason("WORDS_NOBODY_KNOWS", TimeInForce.FAK) is CloseReason.KILLED
    assert reason(killed, TimeInForce.FOK) is CloseReason.KILLED
    assert reason("UNMATCHED", TimeInForce.FAK) is CloseReason.KILLED


def test_nothing_is_dated_before_it_was_decided():
    early = msgspec.structs.replace(trade(entry()), matched_at=Millis(NOW - 900))
    assert {reply.at for reply in tracked().see_trade(early)} == {NOW}


def test_a_match_is_dated_when_it_was_made_and_its_end_when_that_was_known():
    accepted, matched, confirmed = tracked().see_trade(trade(entry(), phase=TradePhase.CONFIRMED))
    assert (accepted.at, matched.at, confirmed.at) == (NOW + 500, NOW + 500, NOW + 3_500)


def test_an_order_the_venue_does_not_know_has_no_account():
    assert account_of(sent(an_intent(), OURS), None, []) is None


def test_an_order_known_by_its_trades_alone_has_one():
    account = account_of(sent(an_intent(), OURS), None, [trade(entry(), phase=TradePhase.CONFIRMED)])
    assert kinds(account) == ["OrderAccepted", "FillMatched", "FillConfirmed"]


def test_a_killed_order_has_an_account_of_two_words():
    account = account_of(sent(an_intent(tif=TimeInForce.FAK), OURS), order("UNMATCHED"), [])
    assert kinds(account) == ["OrderAccepted", "OrderClosed"]


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5), st.integers(0, 2**32), st.data())
def test_in_whatever_order_and_how_often_it_is_told_it_comes_to_the_same(parts, seed, data):
    """Trades in all their phases and the order's own news, shuffled and doubled: same fills, same end."""
    news: list[TradeSeen | OrderSeen] = [order()]
    for number, (size, fails) in enumerate(parts):
        final = TradePhase.FAILED if fails else TradePhase.CONFIRMED
        phases = (TradePhase.MATCHED, TradePhase.MINED, final)
        news.extend(trade(entry(size=str(size)), name=f"t{number}", phase=phase) for phase in phases)
    total = sum(size for size, _ in parts)
    news.append(order("CANCELED", matched=str(total), size="100"))
    told = news + [event for event in news if data.draw(st.booleans())]
    random.Random(seed).shuffle(told)
    ours = tracked(size="100")
    replies = []
    for event in told:
        replies += ours.see_order(event) if isinstance(event, OrderSeen) else ours.see_trade(event)
    assert kinds(replies)[0] == "OrderAccepted"
    assert sum(isinstance(reply, OrderAccepted | OrderClosed) for reply in replies) == 2
    matched = {reply.fill: reply.shares for reply in replies if isinstance(reply, FillMatched)}
    assert sum(matched.values()) == total * 1_000_000
    failed = {reply.fill for reply in replies if isinstance(reply, FillFailed)}
    confirmed = {reply.fill for reply in replies if isinstance(reply, FillConfirmed)}
    assert failed | confirmed == matched.keys()
    assert len(failed) == sum(fails for _, fails in parts)
    assert ours.is_over


def test_fees_are_charged_on_the_takers_price_in_whole_steps():
    fill = only_fill(tracked().see_trade(trade(entry(at="0.99", size="0.05"))))
    assert fill.fee == Money(30)  # 0.00003465
    assert Price(fill.price) == 990_000


@pytest.mark.parametrize("status", ["live", "DELAYED", "PARTIALLY_MATCHED", "", "LIVE_AGAIN"])
def test_an_order_has_ended_only_where_its_status_says_so(status):
    seen = order(plain_status(status))

    assert seen.is_open
    assert kinds(tracked().see_order(seen)) == ["OrderAccepted"]


def test_an_order_in_a_state_nobody_knows_is_over_once_its_market_is_long_over():
    matched, odd = [trade(entry(OURS, size="4", side=Side.BUY), taker=OTHER)], order("SLEEPING", matched="4")

    assert "OrderClosed" not in kinds(account_of(tracked().sent, odd, matched))
    assert kinds(account_of(tracked().sent, odd, matched, gone_at=NOW))[-1] == "OrderClosed"
    assert "OrderClosed" not in kinds(account_of(tracked().sent, order("LIVE"), matched, gone_at=NOW))


@pytest.mark.parametrize("status", ["canceled", "ORDER_STATUS_CANCELED_MARKET_RESOLVED", "INVALID", "Expired"])
def test_an_end_is_understood_however_it_is_written(status):
    assert kinds(tracked().see_order(order(plain_status(status)))) == ["OrderAccepted", "OrderClosed"]


def test_a_trade_that_is_told_again_with_other_makers_is_booked_once():
    """The stream named one of two makers, the listing both."""
    ours = tracked(TimeInForce.FAK)
    first = msgspec.structs.replace(trade(entry(size="4", at="0.50")), shares=shares("6"))
    again = trade(entry(size="4", at="0.50"), entry(size="2", at="0.51"), phase=TradePhase.CONFIRMED)

    told = ours.see_trade(first)
    assert only_fill(told).shares == shares("6")
    assert kinds(ours.see_trade(again)) == ["FillConfirmed"]
    account = account_of(ours.sent, None, [again], told=ours.parts)
    assert account is not None
    assert only_fill(account).fill == only_fill(told).fill


def test_a_part_of_no_shares_is_no_fill_whoever_made_it():
    taken, made = trade(entry(size="0")), trade(entry(OURS, size="0", side=Side.BUY), entry(), taker=OTHER)

    assert tracked().see_trade(taken) == []
    assert tracked().see_trade(made) == []
