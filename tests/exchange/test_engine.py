"""What the engine does with orders, depth and time, told as short stories."""

import pytest

from polybot.domain.errors import LedgerError
from polybot.domain.events import LevelChange
from polybot.domain.market import Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Price, Shares
from polybot.exchange.core.model import STREET, Accepted, OrderStatus, Refused, Rules, TradeStatus
from polybot.exchange.core.news import LevelsShown, OrderChanged, TradeChanged
from tests.exchange.trading import ALICE, BOB, START, Trading, a_listing, answers_in

BUY, SELL, UP, DOWN = Side.BUY, Side.SELL, Outcome.UP, Outcome.DOWN
FOK, FAK, GTD = TimeInForce.FOK, TimeInForce.FAK, TimeInForce.GTD
NO_BALANCE = "not enough balance / allowance"


@pytest.fixture
def trading() -> Trading:
    trading = Trading()
    trading.depth(bids=[("0.49", "100"), ("0.50", "100")], asks=[("0.52", "100"), ("0.55", "100")])
    return trading


def cash(trading: Trading, account: str = ALICE) -> float:
    return trading.engine.account(account).cash / UNIT  # type: ignore[arg-type]


# -- taking -----------------------------------------------------------------------------------------------------------


def test_a_limit_order_takes_better_prices_first_and_gets_the_improvement(trading: Trading) -> None:
    taken = trading.taken(ALICE, BUY, "0.60", "150")
    assert taken.status == "matched"
    assert (taken.making, taken.taking) == ((52 + 27.5) * UNIT, 150 * UNIT)
    trading.settle()
    fee = 100 * 0.07 * 0.52 * 0.48 + 50 * 0.07 * 0.55 * 0.45
    assert cash(trading) == pytest.approx(1000 - 79.5 - fee, abs=2e-5)
    assert trading.held(ALICE) == 150 * UNIT


def test_the_fee_is_the_markets_formula_to_the_fifth_decimal() -> None:
    trading = Trading()
    trading.depth(asks=[("0.36", "108")])
    trading.taken(ALICE, BUY, "0.36", "108")
    trading.settle()
    assert trading.engine.bank.fees == 1_741_820  # seen on chain (polymarket.md 5.5)


def test_what_was_taken_from_the_crowd_stays_taken_until_its_level_has_gone(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "60")
    assert trading.book()[1] == {"0.52": "40", "0.55": "100"}
    trading.depth(bids=[("0.50", "100")], asks=[("0.52", "80")])
    assert trading.book()[1] == {"0.52": "20"}
    trading.depth(bids=[("0.50", "100")], asks=[("0.55", "80")])
    trading.depth(bids=[("0.50", "100")], asks=[("0.52", "80")])
    assert trading.book()[1] == {"0.52": "80"}


def test_down_is_the_mirror_image_of_up(trading: Trading) -> None:
    assert trading.book(DOWN) == ({"0.45": "100", "0.48": "100"}, {"0.5": "100", "0.51": "100"})
    taken = trading.taken(ALICE, BUY, "0.50", "10", outcome=DOWN)
    assert taken.making == 5 * UNIT
    assert trading.book()[0] == {"0.49": "100", "0.5": "90"}


def test_a_market_buy_spends_its_money_and_a_better_price_buys_more(trading: Trading) -> None:
    taken = trading.taken(ALICE, BUY, "0.65", "40", order_type=FAK)
    assert (taken.making, taken.taking) == (26 * UNIT, 50 * UNIT)
    assert taken.order.status is OrderStatus.MATCHED
    assert taken.order.size == taken.order.matched


def test_a_market_buy_can_be_made_to_buy_its_shares_and_no_more() -> None:
    trading = Trading(rules=Rules(market_buy_spends=False))
    trading.depth(asks=[("0.52", "100")])
    taken = trading.taken(ALICE, BUY, "0.65", "40", order_type=FAK)
    assert (taken.making, taken.taking) == (20.8 * UNIT, 40 * UNIT)


def test_a_fok_order_is_filled_whole_or_not_at_all(trading: Trading) -> None:
    killed = trading.refused(ALICE, BUY, "0.52", "200", order_type=FOK)
    assert killed == "order couldn't be fully filled. FOK orders are fully filled or killed."
    assert trading.book()[1]["0.52"] == "100"
    assert trading.taken(ALICE, BUY, "0.52", "100", order_type=FOK).taking == 100 * UNIT


def test_a_fak_order_takes_what_there_is_and_nothing_of_it_rests(trading: Trading) -> None:
    assert trading.taken(ALICE, BUY, "0.52", "200", order_type=FAK).taking == 100 * UNIT
    assert trading.engine.open_orders() == []
    missed = trading.refused(ALICE, BUY, "0.52", "200", order_type=FAK)
    assert missed.startswith("no orders found to match with FAK order.")


def test_what_a_limit_order_does_not_get_rests(trading: Trading) -> None:
    taken = trading.taken(ALICE, BUY, "0.52", "150")
    assert (taken.status, taken.taking) == ("matched", 100 * UNIT)
    assert trading.book()[0]["0.52"] == "50"
    assert trading.engine.account(ALICE).reserved == 26 * UNIT


# -- resting ----------------------------------------------------------------------------------------------------------


def test_clients_trade_with_each_other_by_price_and_then_by_time() -> None:
    trading = Trading()
    trading.engine.split(BOB, trading.market, Money(100 * UNIT), START)
    first, second = (trading.taken(BOB, SELL, "0.60", "10").order.id for _ in range(2))
    better = trading.taken(BOB, SELL, "0.55", "10").order.id
    taken = trading.taken(ALICE, BUY, "0.60", "25")
    trades = [trading.engine.trade(trade) for trade in taken.trades]
    filled = [(fill.order_id, fill.shares // UNIT) for trade in trades if trade for fill in trade.makers]
    assert filled == [(better, 10), (first, 10), (second, 5)]


def test_two_buyers_of_opposite_outcomes_make_new_sets() -> None:
    trading = Trading()
    trading.taken(BOB, BUY, "0.45", "20", outcome=DOWN)
    assert trading.book()[1] == {"0.55": "20"}
    taken = trading.taken(ALICE, BUY, "0.55", "20")
    assert taken.making == 11 * UNIT
    trading.settle()
    assert trading.engine.bank.locked[trading.market] == 20 * UNIT
    assert (trading.held(ALICE, UP), trading.held(BOB, DOWN)) == (20 * UNIT, 20 * UNIT)
    assert cash(trading, BOB) == 991


def test_two_sellers_of_opposite_outcomes_take_sets_apart() -> None:
    trading = Trading()
    trading.engine.split(ALICE, trading.market, Money(20 * UNIT), START)
    trading.engine.split(BOB, trading.market, Money(20 * UNIT), START)
    trading.taken(BOB, SELL, "0.45", "20", outcome=DOWN)
    trading.taken(ALICE, SELL, "0.55", "20")
    trading.settle()
    assert trading.engine.bank.locked[trading.market] == 20 * UNIT
    assert cash(trading, BOB) == 989


def test_an_order_waits_behind_the_crowd_that_was_there_before_it(trading: Trading) -> None:
    order = trading.taken(ALICE, BUY, "0.50", "10").order.id
    trading.engine.print_trade(trading.market, UP, SELL, Price(500_000), Shares(100 * UNIT), START)
    assert _matched(trading, order) == 0
    trading.engine.print_trade(trading.market, UP, SELL, Price(500_000), Shares(4 * UNIT), START)
    assert _matched(trading, order) == 4 * UNIT
    trading.engine.print_trade(trading.market, UP, SELL, Price(490_000), Shares(50 * UNIT), START)
    assert _matched(trading, order) == 10 * UNIT


def test_a_trade_of_the_other_outcome_reaches_the_same_queue(trading: Trading) -> None:
    order = trading.taken(ALICE, BUY, "0.51", "10").order.id
    trading.engine.print_trade(trading.market, DOWN, BUY, Price(490_000), Shares(6 * UNIT), START)
    assert _matched(trading, order) == 6 * UNIT


def test_depth_that_moves_onto_an_order_fills_it_as_a_maker_without_fee(trading: Trading) -> None:
    order = trading.taken(ALICE, BUY, "0.51", "30").order.id
    trading.depth(bids=[("0.48", "10")], asks=[("0.50", "20"), ("0.51", "5")])
    assert _matched(trading, order) == 25 * UNIT
    assert trading.book() == ({"0.48": "10", "0.51": "5"}, {})
    trading.settle()
    assert cash(trading) == 1000 - 25 * 0.51
    assert trading.engine.bank.fees == 0


def test_a_changed_level_is_announced_once_with_the_size_that_is_left(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "60")
    trading.engine.take_news()
    change = LevelChange(UP, SELL, Price(520_000), Shares(90 * UNIT))
    trading.engine.change_depth(trading.market, [change], START)
    (shown,) = [news for news in trading.engine.take_news() if isinstance(news, LevelsShown)]
    assert [(level.price, level.size) for level in shown.changes] == [(520_000, 30 * UNIT)]
    assert (shown.best_bid, shown.best_ask) == (500_000, 520_000)


# -- the taker delay --------------------------------------------------------------------------------------------------


def delayed() -> Trading:
    trading = Trading(a_listing(taker_delay_ms=250))
    trading.depth(bids=[("0.50", "100")], asks=[("0.52", "100")])
    return trading


def test_a_marketable_order_is_held_and_then_matched_with_the_book_as_it_is_by_then() -> None:
    trading = delayed()
    assert trading.place(ALICE, BUY, "0.54", "10") is None
    trading.depth(bids=[("0.50", "100")], asks=[("0.54", "100")])
    assert answers_in(trading.wait(249)) == []
    (answer,) = answers_in(trading.wait(1))
    assert isinstance(answer, Accepted)
    assert answer.making == 5.4 * UNIT


def test_a_held_order_rests_where_the_depth_has_gone_and_dies_if_it_may_not_rest() -> None:
    trading = delayed()
    trading.place(ALICE, BUY, "0.52", "10")
    trading.place(BOB, BUY, "0.52", "10", order_type=FAK)
    trading.depth(bids=[("0.50", "100")])
    rested, killed = answers_in(trading.wait(250))
    assert isinstance(rested, Accepted)
    assert rested.status == "live"
    assert isinstance(killed, Refused)


def test_a_held_order_cannot_be_cancelled() -> None:
    trading = delayed()
    order = trading.order(ALICE, BUY, "0.52", "10")
    trading.engine.place(order, START)
    done, refused = trading.engine.cancel(order.owner, [order.id], START)
    assert done == []
    assert "cannot be canceled" in refused[order.id]


def test_a_post_only_order_is_not_held_but_refused() -> None:
    trading = delayed()
    assert trading.refused(ALICE, BUY, "0.52", "10", post_only=True) == "invalid post-only order: order crosses book"
    assert trading.taken(ALICE, BUY, "0.51", "10", post_only=True).status == "live"


# -- what is refused --------------------------------------------------------------------------------------------------


def test_prices_off_the_grid_sizes_below_the_minimum_and_doubles_are_refused(trading: Trading) -> None:
    assert "Price (0.515) breaks minimum tick size rule: 0.01" in trading.refused(ALICE, BUY, "0.515", "10")
    assert "Size (4.00) lower than the minimum: 5" in trading.refused(ALICE, BUY, "0.40", "4")
    order = trading.order(ALICE, BUY, "0.40", "10")
    assert isinstance(trading.engine.place(order, START), Accepted)
    assert trading.engine.place(order, START) == Refused(text=f"order {order.id} is invalid. Duplicated.")


def test_a_finer_tick_takes_the_price_that_was_refused(trading: Trading) -> None:
    trading.engine.change_tick(trading.market, Price(1_000), START)
    assert trading.taken(ALICE, BUY, "0.485", "10").status == "live"


def test_a_marketable_buy_below_one_dollar_is_refused(trading: Trading) -> None:
    trading.depth(asks=[("0.10", "100")])
    text = trading.refused(ALICE, BUY, "0.10", "9.99")
    assert text == "invalid amount for a marketable BUY order ($0.999), min size: $1"


def test_a_market_order_with_too_many_decimals_is_refused(trading: Trading) -> None:
    text = trading.refused(ALICE, BUY, "0.52", "3.33", order_type=FAK)
    assert text.startswith("invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals")


def test_open_orders_reserve_what_they_may_take(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.40", "2000")
    assert trading.refused(ALICE, BUY, "0.40", "501") == NO_BALANCE
    assert trading.refused(ALICE, SELL, "0.60", "10") == NO_BALANCE
    trading.taken(ALICE, BUY, "0.40", "500")


def test_a_taker_must_have_the_fee_as_well(trading: Trading) -> None:
    trading.depth(asks=[("0.50", "3000")])
    assert trading.refused(ALICE, BUY, "0.50", "2000") == NO_BALANCE
    assert trading.taken(ALICE, BUY, "0.50", "1900").taking == 1900 * UNIT


def test_bought_shares_can_be_sold_once_they_are_mined(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "10")
    assert trading.refused(ALICE, SELL, "0.60", "10") == NO_BALANCE
    trading.wait(2_000)
    assert trading.taken(ALICE, SELL, "0.60", "10").status == "live"


def test_a_closed_or_unknown_market_has_no_order_book(trading: Trading) -> None:
    trading.wait(900_000)
    answer = trading.place(ALICE, BUY, "0.40", "10")
    assert answer == Refused(text="No orderbook exists for the requested token id", status=404)


def test_a_fresh_market_is_not_ready_for_orders_at_once() -> None:
    trading = Trading(a_listing(ready_at=START + 1_000))
    assert trading.refused(ALICE, BUY, "0.40", "10") == "the market is not yet ready to process new orders"
    trading.wait(1_000)
    assert trading.taken(ALICE, BUY, "0.40", "10").status == "live"


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_gtd_order_needs_three_minutes_and_dies_one_before_its_time(trading: Trading) -> None:
    now_s = START // 1000
    assert trading.refused(ALICE, BUY, "0.40", "10", order_type=GTD, expiration=now_s + 170) == "invalid expiration"
    assert trading.refused(ALICE, BUY, "0.40", "10", expiration=now_s + 600) == "invalid expiration"
    order = trading.taken(ALICE, BUY, "0.40", "10", order_type=GTD, expiration=now_s + 180).order
    trading.wait(119_999)
    assert len(trading.engine.open_orders()) == 1
    (ended,) = [news for news in trading.wait(1) if isinstance(news, OrderChanged)]
    assert (ended.order.id, ended.order.status) == (order.id, OrderStatus.CANCELED_EXPIRED_ORDER)
    assert trading.engine.account(ALICE).reserved == 0


def test_cancelling_gives_the_reserve_back_and_says_why_it_cannot(trading: Trading) -> None:
    resting, filled = trading.taken(ALICE, BUY, "0.40", "10").order, trading.taken(ALICE, BUY, "0.52", "10").order
    done, refused = trading.engine.cancel(resting.owner, [resting.id, filled.id, resting.id], START)
    assert done == [resting.id]
    assert refused == {filled.id: "order already matched"}
    assert trading.engine.account(ALICE).reserved == 0
    again = trading.engine.cancel(resting.owner, [resting.id], START)[1]
    assert again == {resting.id: "order can't be found - already canceled or matched"}


def test_nobody_cancels_anothers_order(trading: Trading) -> None:
    order = trading.taken(ALICE, BUY, "0.40", "10").order
    assert trading.engine.cancel(trading.order(BOB, BUY, "0.40", "10").owner, [order.id], START)[0] == []


def test_resolution_ends_the_orders_and_pays_what_is_redeemed(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "100")
    resting = trading.taken(ALICE, BUY, "0.40", "10").order.id
    trading.settle()
    before = cash(trading)
    with pytest.raises(LedgerError, match="not resolved"):
        trading.engine.redeem(ALICE, trading.market, trading.now)
    trading.engine.resolve(trading.market, Price(UNIT), trading.now)
    ended = trading.engine.order(resting)
    assert ended is not None
    assert ended.status is OrderStatus.CANCELED_MARKET_RESOLVED
    assert trading.engine.redeem(ALICE, trading.market, trading.now) == 100 * UNIT
    assert cash(trading) == before + 100
    assert trading.engine.redeem(ALICE, trading.market, trading.now) == 0
    assert trading.engine.bank.locked[trading.market] == 0
    assert trading.engine.account(STREET).cash == -48 * UNIT  # it sold a hundred winners at 0.52


# -- ghosts -----------------------------------------------------------------------------------------------------------


def statuses(trading: Trading, ms: int = 60_000) -> list[TradeStatus]:
    return [news.trade.status for news in trading.wait(ms) if isinstance(news, TradeChanged)]


def test_a_trade_is_matched_then_mined_then_confirmed(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "10")
    assert statuses(trading, 1_999) == [TradeStatus.MATCHED]
    assert cash(trading) == 1000
    assert statuses(trading, 1) == [TradeStatus.MINED]
    assert statuses(trading, 3_000) == [TradeStatus.CONFIRMED]


def test_a_ghost_fill_leaves_everything_as_it_was(trading: Trading) -> None:
    trading.engine.rules = Rules(ghost_rate=1.0)
    trading.taken(ALICE, BUY, "0.52", "10")
    assert trading.engine.account(ALICE).free_cash < 1000 * UNIT
    assert statuses(trading) == [TradeStatus.MATCHED, TradeStatus.RETRYING, TradeStatus.FAILED]
    account = trading.engine.account(ALICE)
    assert (account.cash, account.free_cash, trading.held(ALICE)) == (1000 * UNIT, 1000 * UNIT, 0)


def test_a_retried_trade_may_be_mined_all_the_same(trading: Trading) -> None:
    trading.engine.rules = Rules(retry_rate=1.0)
    trading.taken(ALICE, BUY, "0.52", "10")
    assert statuses(trading)[1:] == [TradeStatus.RETRYING, TradeStatus.MINED, TradeStatus.CONFIRMED]


@pytest.mark.parametrize(("bid", "ends"), [("0.60", TradeStatus.FAILED), ("0.30", TradeStatus.CONFIRMED)])
def test_biased_ghosts_take_the_winners(trading: Trading, bid: str, ends: TradeStatus) -> None:
    trading.engine.rules = Rules(ghost_rate=0.5, ghosts_favour_losers=True)
    trading.taken(ALICE, BUY, "0.52", "10")
    trading.depth(bids=[(bid, "10")], asks=[("0.70", "10")])
    assert statuses(trading)[-1] is ends


def test_the_same_seed_gives_the_same_ghosts() -> None:
    def fates(seed: int) -> list[TradeStatus]:
        trading = Trading(rules=Rules(ghost_rate=0.35), seed=seed)
        trading.depth(asks=[("0.52", "10000")])
        for _ in range(20):
            trading.taken(ALICE, BUY, "0.52", "5")
        trading.settle()
        return [trade.status for trade in trading.engine.trades()]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


# -- sets and housekeeping --------------------------------------------------------------------------------------------


def test_sets_are_made_and_merged_from_what_is_free(trading: Trading) -> None:
    trading.engine.split(ALICE, trading.market, Money(100 * UNIT), START)
    trading.taken(ALICE, SELL, "0.60", "40")
    with pytest.raises(LedgerError):
        trading.engine.merge(ALICE, trading.market, Money(61 * UNIT), START)
    trading.engine.merge(ALICE, trading.market, Money(60 * UNIT), START)
    assert cash(trading) == 960


def test_a_retired_market_leaves_nothing_but_the_money_behind(trading: Trading) -> None:
    trading.taken(ALICE, BUY, "0.52", "10")
    trading.settle()
    trading.engine.resolve(trading.market, Price(0), trading.now)
    trading.engine.retire_market(trading.market)
    assert not [*trading.engine.orders(), *trading.engine.trades()]
    assert trading.engine.board_of_token(trading.listing.tokens[0]) is None
    assert trading.engine.bank.held() == trading.engine.bank.deposited
    trading.wait(Millis(86_400_000))


def _matched(trading: Trading, order_id: str) -> int:
    order = trading.engine.order(order_id)  # type: ignore[arg-type]
    assert order is not None
    return order.matched
