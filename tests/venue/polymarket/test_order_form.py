"""What is signed is made from the intent alone, says no more than the intent, and fits the venue's steps."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome, Side
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Shares
from polybot.venue.polymarket.order_form import amounts, form_of, salt_of
from tests.venue.builders import FEES, price
from tests.venue.polymarket.orders import NOW, TOKENS, WALLET, an_intent, market, v2_market

RESTING = st.sampled_from([TimeInForce.GTC, TimeInForce.GTD])
TAKING = st.sampled_from([TimeInForce.FOK, TimeInForce.FAK])
CENTS = st.integers(1, 99).map(lambda cents: f"0.{cents:02d}")
LOTS = st.integers(500, 100_000).map(lambda lots: f"{lots // 100}.{lots % 100:02d}")


def test_a_resting_order_gives_exactly_price_times_size():
    assert amounts(an_intent(limit="0.51", size="33.33")) == (16_998_300, 33_330_000)


def test_a_sale_gives_shares_and_wants_money():
    assert amounts(an_intent(limit="0.51", size="33.33", side=Side.SELL)) == (33_330_000, 16_998_300)


def test_a_market_buy_gives_whole_cents_and_wants_no_more_than_four_decimals():
    intent = an_intent(limit="0.51", size="33.33", tif=TimeInForce.FAK, cost_max=Money(16_998_300))
    assert amounts(intent) == (16_990_000, 33_313_700)


def test_a_market_buy_is_paid_for_at_the_best_offer_seen_so_that_improvement_buys_no_more_than_was_meant():
    money, wanted = amounts(an_intent(limit="0.55", size="100", tif=TimeInForce.FAK, best_ask="0.50"))
    assert money == 50_000_000  # 100 shares at 0.50
    assert wanted == 90_909_000  # at least so many at 0.55


@given(CENTS, LOTS, TAKING, CENTS)
def test_a_market_buy_costs_no_more_than_was_reserved_at_any_price_fee_included(limit, size, tif, met):
    intent = an_intent(limit=limit, size=size, tif=tif)
    at = min(price(met), intent.limit)
    try:
        money, _ = amounts(intent)
    except BadInput:
        return
    bought = Shares(money * UNIT // at)
    assert money + FEES.taker_fee(at, bought) <= intent.cost_max


def test_where_there_is_no_fee_all_of_it_is_spent():
    intent = an_intent(limit="0.50", size="100", tif=TimeInForce.FAK, cost_max=Money(50_000_000))
    assert amounts(intent) == (50_000_000, 100_000_000)


def test_and_hardly_less_than_was_meant():
    intent = an_intent(limit="0.50", size="100", tif=TimeInForce.FAK)
    assert amounts(intent)[0] == 48_360_000  # of 50: the fee may take up to 7 % instead of 3.5


@given(CENTS, LOTS, TAKING, st.none() | CENTS)
def test_a_market_buy_never_pays_more_than_its_limit_and_always_reaches_an_offer_at_it(limit, size, tif, seen):
    intent = an_intent(limit=limit, size=size, tif=tif, best_ask=seen)
    try:
        money, wanted = amounts(intent)
    except BadInput:
        at_best = min(intent.limit, intent.proof.best_ask or intent.limit)
        assert at_best * intent.shares < UNIT * UNIT, "only what the venue would not take either is too small: under $1"
        return
    assert money % 10_000 == 0
    assert wanted % 100 == 0
    assert money * UNIT <= intent.limit * intent.shares
    assert money * UNIT >= wanted * intent.limit, "the implied price reaches the limit"
    assert money * UNIT < wanted * (intent.limit + 100), "and not the next finer tick"
    assert wanted <= intent.shares


@given(CENTS, LOTS, RESTING, st.sampled_from(list(Side)))
def test_a_resting_order_is_exact_to_the_millionth(limit, size, tif, side):
    intent = an_intent(limit=limit, size=size, tif=tif, side=side)
    given_up, wanted = amounts(intent)
    money, quantity = (given_up, wanted) if side is Side.BUY else (wanted, given_up)
    assert quantity == intent.shares
    assert money * UNIT == intent.limit * intent.shares


def test_the_form_is_the_same_whenever_it_is_made():
    intent = an_intent()
    journaled: OrderIntent = msgspec.json.decode(msgspec.json.encode(intent), type=OrderIntent)
    assert form_of(journaled, market(), WALLET) == form_of(intent, market(), WALLET)


def test_no_later_tick_changes_what_was_signed():
    assert form_of(an_intent(), market(), WALLET) == form_of(an_intent(), market(tick=1_000), WALLET)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "tester-000002"},
        {"decided_at": Millis(NOW + 1)},
        {"limit": 520_000},
        {"shares": 11_000_000},
        {"outcome": Outcome.DOWN},
        {"market": "btc-updown-15m-1790586900"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_two_orders_never_share_a_salt(change):
    intent = an_intent()
    assert salt_of(msgspec.structs.replace(intent, **change), WALLET) != salt_of(intent, WALLET)


def test_two_wallets_never_share_a_salt():
    other = msgspec.structs.replace(WALLET, address="0x" + "22" * 20)
    assert salt_of(an_intent(), other) != salt_of(an_intent(), WALLET)


@given(st.integers(1, 10**6))
def test_a_salt_is_a_number_that_every_reader_of_json_can_hold(number):
    assert 0 <= salt_of(an_intent(number), WALLET) < 2**53


def test_a_good_till_date_order_states_a_time_sixty_seconds_after_its_end():
    form = form_of(an_intent(tif=TimeInForce.GTD, expires_at=Millis(NOW + 300_001)), market(), WALLET)
    assert form.expiration == NOW // 1000 + 301 + 60


def test_other_orders_state_none():
    assert form_of(an_intent(expires_at=Millis(NOW)), market(), WALLET).expiration == 0


def test_each_outcome_has_its_token():
    assert [form_of(an_intent(outcome=outcome), market(), WALLET).token for outcome in Outcome] == list(TOKENS)


def test_a_deposit_wallet_signs_for_itself_and_every_other_by_its_key():
    for kind in range(4):
        wallet = msgspec.structs.replace(WALLET, address="0xwallet", signature_type=kind)
        assert wallet.order_signer == ("0xwallet" if kind == 3 else WALLET.signer)


def test_the_protocol_follows_the_version_of_the_market():
    assert form_of(an_intent(), market(), WALLET).protocol == "2"
    assert form_of(an_intent(), v2_market(), WALLET).protocol == "3"


@pytest.mark.parametrize(
    ("intent", "terms", "why"),
    [
        (an_intent(), market(version="v9"), "protocol 'v9'"),
        (an_intent(), msgspec.structs.replace(market(), tokens=None), "no token ids"),
        (an_intent(tif=TimeInForce.FAK, post_only=True), market(), "post-only"),
        (an_intent(tif=TimeInForce.GTD), market(), "good till a date"),
        (an_intent(size="10.001"), market(), "no size and price"),
        (an_intent(limit="0.51001"), market(), "no size and price"),
        (an_intent(limit="0.01", size="0.50", tif=TimeInForce.FAK), market(), "too few"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_venue_cannot_express_is_refused_before_it_is_signed(intent, terms, why):
    with pytest.raises(BadInput, match=why):
        form_of(intent, terms, WALLET)
