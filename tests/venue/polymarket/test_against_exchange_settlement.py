"""Winners are redeemed and sets merged through the loopback exchange's relayer, until it is confirmed."""

import asyncio

import msgspec
import pytest
from polymarket import errors as sdk

from polybot.clock import SystemClock
from polybot.domain.ids import ConditionId
from polybot.domain.units import UNIT, Money, Price
from polybot.venue.polymarket import redeem
from polybot.venue.polymarket.account_settlement import ClaimKind, Settled
from polybot.venue.polymarket.account_values import PositionSeen
from polybot.venue.polymarket.redeem import Redeemer
from tests.venue.polymarket.order_rehearsal import CASH, DEPOSIT, PROXY, SAFE, Rehearsal, rehearsal

KINDS = {"proxy": PROXY, "safe": SAFE, "deposit": DEPOSIT}
"""An EOA pays its own gas by a chain that the exchange does not have."""


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
async def test_sets_are_merged_and_winners_redeemed_for_every_gasless_wallet_and_version(kind, version):
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
    class Dripping:
        async def positions(self, status: str) -> list[PositionSeen]:
            await asyncio.sleep(60)
            return []

    monkeypatch.setattr(redeem, "READING_S_MAX", 0.01)
    redeemer = Redeemer(Dripping(), SystemClock(), lambda settled: None)  # type: ignore[arg-type]
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
