"""Winners are redeemed and sets merged through the loopback exchange's relayer, until it is confirmed."""

import asyncio

import msgspec
import pytest
from polymarket import errors as sdk

from polybot.domain.ids import ConditionId, MarketId
from polybot.domain.units import UNIT, Money, Price, Shares
from polybot.venue.polymarket import redeem
from polybot.venue.polymarket.account_settlement import ClaimKind, Settled
from polybot.venue.polymarket.account_values import PositionSeen
from polybot.venue.polymarket.client_errors import VenueRejected
from polybot.venue.polymarket.redeem import Redeemer
from tests.exchange.trading import SIGNER, a_listing, ending_in
from tests.venue.polymarket.order_rehearsal import CASH, DEPOSIT, EOA, PROXY, SAFE, Rehearsal, rehearsal

KINDS = {"EOA": EOA, "proxy": PROXY, "safe": SAFE, "deposit": DEPOSIT}


def a_redeemer(at: Rehearsal, listed_s: float = redeem.LISTED_S) -> tuple[Redeemer, list[Settled]]:
    settled: list[Settled] = []
    return Redeemer(at.client, at.clock, settled.append, listed_s=listed_s), settled


def give_sets(at: Rehearsal, dollars: int) -> None:
    at.exchange.engine.split(at.account.address, at.listing.market.id, Money(dollars * UNIT), at.exchange.now())
    at.exchange.publish()


def resolve(at: Rehearsal, payout_up: int) -> None:
    at.exchange.engine.resolve(at.listing.market.id, Price(payout_up), at.exchange.now())
    at.exchange.publish()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", KINDS)
async def test_sets_are_merged_and_winners_redeemed_for_every_wallet_and_version(kind, version):
    async with rehearsal(wallet=KINDS[kind], version=version, streams=False) as at:
        redeemer, settled = a_redeemer(at, listed_s=0.0)
        give_sets(at, 10)
        assert await redeemer.look() == 1
        assert (at.account.cash, at.holds) == (CASH, [0, 0])
        give_sets(at, 20)
        resolve(at, UNIT)
        assert await redeemer.look() == 1
        assert (at.account.cash, at.holds[0]) == (CASH, 0)
        assert [(one.claims[0].kind, one.worth) for one in settled] == [
            (ClaimKind.MERGE, 10 * UNIT),
            (ClaimKind.REDEEM, 20 * UNIT),
        ]
        assert all(one.transaction.startswith("0x") for one in settled)


def list_another(at: Rehearsal) -> MarketId:
    """A second market in which the wallet has ten sets."""
    listing = a_listing(7, start=ending_in(600))
    at.exchange.engine.list_market(listing, at.exchange.now())
    at.exchange.engine.split(at.account.address, listing.market.id, Money(10 * UNIT), at.exchange.now())
    return listing.market.id


@pytest.mark.parametrize(("kind", "transactions"), [("EOA", 2), ("deposit", 1)])
async def test_an_eoas_claims_are_transactions_of_their_own_and_a_relayed_wallets_are_one(kind, transactions):
    async with rehearsal(wallet=KINDS[kind], streams=False) as at:
        redeemer, settled = a_redeemer(at)
        list_another(at)
        give_sets(at, 20)
        assert await redeemer.look() == 2
        assert len({one.transaction for one in settled}) == transactions
        assert at.account.cash == CASH


async def test_one_of_an_eoas_claims_that_is_reverted_leaves_the_other_told_and_is_tried_again():
    """Its calls are not done all or none, as a relayed batch is: what was done has to be known."""
    async with rehearsal(wallet=EOA, streams=False) as at:
        redeemer, settled = a_redeemer(at)
        list_another(at)
        give_sets(at, 20)
        await at.throw("chain", failing=1)
        assert await redeemer.look() == 1
        assert [one.worth for one in settled] == [10 * UNIT], "the dearest is tried first"
        assert at.account.cash == CASH - 20 * UNIT
        redeemer._not_before.clear()
        redeemer._done.clear()
        assert await redeemer.look() == 1
        assert (at.account.cash, len(settled)) == (CASH, 2)


async def test_an_eoa_without_pol_is_told_what_it_lacks_is_not_asked_again_at_once_and_redeems_once_it_is_sent_some():
    async with rehearsal(wallet=EOA, streams=False) as at:
        redeemer, _ = a_redeemer(at)
        give_sets(at, 10)
        await at.throw("chain", address=SIGNER, pol="0.001")
        assert await at.client.pol() == 10**15
        call = at.client.merge_calls(at.listing.market.condition_id, "v1", Shares(UNIT))
        with pytest.raises(VenueRejected, match=f"{SIGNER} has too little POL to pay for its gas: send it some"):
            await at.client.transact(call, "by hand")
        began = at.exchange.engine.account(at.account.address).cash
        assert await redeemer.look() == 0
        (wait_s,) = redeemer._not_before.values()
        assert wait_s > at.clock.monotonic()
        redeemer._failures = dict.fromkeys(redeemer._failures, redeem._Failed(12, "no gas"))
        redeemer._not_before.clear()
        assert await redeemer.look() == 0
        (until,) = redeemer._not_before.values()
        assert 500 < until - at.clock.monotonic() <= redeem.AGAIN_S_MAX, "ever later, and six times an hour in the end"
        assert at.account.cash == began
        await at.throw("chain", address=SIGNER, pol="1")
        redeemer._not_before.clear()
        assert await redeemer.look() == 1
        assert await at.client.pol() < 10**18, "and it has paid for it"


async def test_sets_are_left_alone_where_merging_is_off():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        give_sets(at, 10)
        assert await Redeemer(at.client, at.clock, lambda settled: None, merges=False).look() == 0
        assert at.holds == [10 * UNIT, 10 * UNIT]


async def test_nothing_to_settle_submits_nothing():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        redeemer, settled = a_redeemer(at)
        assert await redeemer.look() == 0
        assert settled == []


async def test_a_transaction_that_fails_is_tried_again_later_until_it_is_confirmed():
    async with rehearsal(wallet=DEPOSIT, streams=False) as at:
        redeemer, settled = a_redeemer(at)
        give_sets(at, 10)
        resolve(at, 0)
        await at.throw("relayer", failing=1)
        assert await redeemer.look() == 0
        assert at.account.cash == CASH - 10 * UNIT
        assert await redeemer.look() == 0, "not at once"
        redeemer._not_before.clear()
        assert await redeemer.look() == 1
        assert (at.account.cash, len(settled)) == (CASH, 1)


async def test_a_claim_that_goes_on_failing_is_named_for_people_until_it_is_confirmed():
    async with rehearsal(wallet=DEPOSIT, streams=False) as at:
        redeemer, _ = a_redeemer(at)
        give_sets(at, 10)
        resolve(at, 0)
        await at.throw("relayer", failing=redeem.FAILS_TOLD)
        for _round in range(redeem.FAILS_TOLD):
            assert not redeemer.failing()
            redeemer._not_before.clear()
            assert await redeemer.look() == 0
        assert [text.split(":")[0] for text in redeemer.failing().values()] == [
            f"10.00 pUSD of {at.listing.market.condition_id} could not be claimed {redeem.FAILS_TOLD} times"
        ]
        redeemer._not_before.clear()
        assert await redeemer.look() == 1
        assert not redeemer.failing()


async def test_a_floor_that_may_have_been_replaced_claims_nothing():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        give_sets(at, 10)
        resolve(at, UNIT)
        assert await Redeemer(at.client, at.clock, lambda _: None, may_act=lambda: False).look() == 0
        assert at.account.cash == CASH - 10 * UNIT


async def test_what_has_been_confirmed_is_not_submitted_again_while_it_is_still_listed():
    async with rehearsal(wallet=DEPOSIT, streams=False) as at:
        redeemer, settled = a_redeemer(at, listed_s=0.2)
        give_sets(at, 10)
        resolve(at, UNIT)
        late = await at.client.positions("REDEEMABLE")
        assert await redeemer.look() == 1

        async def still_listed(status: str | None = None):
            return late

        at.client.positions = still_listed  # type: ignore[method-assign]
        await asyncio.sleep(0.3)  # later than it should be
        assert await redeemer.look() == 0
        assert len(settled) == 1


async def test_a_claim_that_cannot_be_written_down_or_signed_for_is_tried_again_and_ends_nothing(monkeypatch):
    async with rehearsal(wallet=SAFE, streams=False) as at:
        redeemer, _ = a_redeemer(at)
        give_sets(at, 10)
        resolve(at, UNIT)
        found = await at.client.positions("REDEEMABLE")
        for condition in ("0xabc", found[0].condition):
            odd = [msgspec.structs.replace(one, condition=ConditionId(condition)) for one in found]

            async def listed(status: str | None = None, odd: list[PositionSeen] = odd) -> list[PositionSeen]:
                return odd

            async def refuses(**asked: object) -> None:
                raise sdk.UserInputError("a relayer's key is needed")

            monkeypatch.setattr(at.client, "positions", listed)
            monkeypatch.setattr(at.client._client, "execute_transaction", refuses)
            assert await redeemer.look() == 0


async def test_positions_that_never_end_are_given_up_and_asked_for_again(monkeypatch):
    async with rehearsal(wallet=SAFE, streams=False) as at:
        redeemer, _ = a_redeemer(at)

        async def dripping(status: str) -> list[PositionSeen]:
            await asyncio.sleep(60)
            return []

        monkeypatch.setattr(redeem, "READING_S_MAX", 0.01)
        monkeypatch.setattr(at.client, "positions", dripping)
        async with asyncio.timeout(10):
            assert await redeemer.look() == 0


async def test_a_relayer_that_is_down_is_asked_again():
    async with rehearsal(wallet=SAFE, streams=False) as at:
        redeemer, _ = a_redeemer(at)
        give_sets(at, 10)
        resolve(at, UNIT)
        await at.throw("relayer", down=True)
        assert await redeemer.look() == 0
        await at.throw("relayer", down=False)
        redeemer._not_before.clear()
        assert await redeemer.look() == 1


async def test_a_settled_market_is_looked_at_soon_and_not_only_after_half_a_minute(monkeypatch):
    monkeypatch.setattr(redeem, "SPACING_S", 0.01)
    async with rehearsal(wallet=SAFE, streams=False) as at:
        redeemer, settled = a_redeemer(at)
        running = asyncio.create_task(redeemer.run())
        give_sets(at, 20)
        while not settled:
            redeemer.want()
            await asyncio.sleep(0.02)
        running.cancel()
    assert [one.worth for one in settled] == [20 * UNIT]
