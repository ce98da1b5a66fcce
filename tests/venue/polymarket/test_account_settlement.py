"""What of the shares on chain is worth turning into pUSD."""

import msgspec
import pytest

from polybot.domain.ids import ConditionId, TokenId
from polybot.domain.units import UNIT, Money, Shares
from polybot.venue.polymarket.account_settlement import (
    Claim,
    ClaimKind,
    SettlementPlan,
    batches,
    plan_settlement,
    version_of,
)
from polybot.venue.polymarket.account_values import PositionSeen
from tests.venue.polymarket.orders import TOKENS, V2_TOKENS


def held(number: int, outcome: int, shares: float, value: float, *, resolved: bool = True) -> PositionSeen:
    return PositionSeen(
        token=TokenId(f"{TOKENS[outcome]}{number}"),
        condition=ConditionId(f"0x{number}"),
        shares=Shares(int(shares * UNIT)),
        outcome=outcome,
        redeemable=resolved,
        mergeable=not resolved,
        value=Money(int(value * UNIT)),
    )


def only(plan: SettlementPlan) -> Claim:
    (claim,) = plan.claims
    return claim


def test_a_winner_is_redeemed_for_what_it_is_worth():
    claim = only(plan_settlement([held(1, 0, 10, 10)]))
    assert (claim.kind, claim.worth, claim.shares) == (ClaimKind.REDEEM, 10 * UNIT, (10 * UNIT, 0))


def test_a_loser_is_left_and_counted():
    plan = plan_settlement([held(1, 1, 10, 0)])
    assert (plan.claims, plan.lost) == ((), 10 * UNIT)


def test_a_winner_of_an_event_of_many_outcomes_is_its_owners_to_redeem():
    theirs = msgspec.structs.replace(held(1, 0, 10, 10), neg_risk=True)
    assert plan_settlement([theirs]).claims == ()


def test_dust_is_told_and_left():
    plan = plan_settlement([held(1, 0, 0.004, 0.004), held(2, 0, 0.005, 0.005)])
    assert (plan.claims, plan.dust) == ((), 9_000)


def test_complete_sets_of_an_open_market_are_merged_and_the_rest_is_kept():
    claim = only(plan_settlement([held(1, 0, 10, 5, resolved=False), held(1, 1, 7.5, 4, resolved=False)]))
    assert (claim.kind, claim.shares, claim.worth) == (ClaimKind.MERGE, (7_500_000, 7_500_000), 7_500_000)


def test_one_side_of_an_open_market_is_held():
    assert plan_settlement([held(1, 0, 10, 5, resolved=False)]).claims == ()


def test_a_position_listed_twice_counts_once():
    winner = held(1, 0, 10, 10)
    assert only(plan_settlement([winner, winner])).worth == 10 * UNIT


def test_the_dearest_come_first_in_batches_the_relayer_takes():
    plan = plan_settlement([held(number, 0, number, number) for number in range(1, 41)])
    made = batches(plan.claims)
    assert [len(batch) for batch in made] == [15, 15, 10]
    assert made[0][0].worth == 40 * UNIT


@pytest.mark.parametrize(("tokens", "version"), [(TOKENS, "v1"), (V2_TOKENS, "v2")])
def test_a_token_tells_its_protocol(tokens, version):
    assert {version_of(token) for token in tokens} == {version}
