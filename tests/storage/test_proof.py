"""What the database refuses to call a trade: a stale book, terms nobody knows, or terms its market never had."""

from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from polybot.domain.events import AnyFact, MarketOpened
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.market import Market
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import Shares
from polybot.importing.terms import _FEES_2026_01, _FEES_STRUCTURE_V2, FEES_CRYPTO_V2
from polybot.risk.known_terms import RULE_SETS
from polybot.storage.journal import Journal
from polybot.storage.projector import ProjectionStoppedError
from tests.builders import shipped_floor
from tests.storage import facts
from tests.storage.projecting import Projecting, projector_of

OTHER_FEES = FeeSchedule(rate=72_000, rebate_rate=200_000)
SPOT = "chainlink-spot"


def intent_with(**proof: Any) -> OrderIntent:
    intent = facts.intent()
    return msgspec.structs.replace(intent, proof=msgspec.structs.replace(intent.proof, **proof))


def opened_with(**terms: Any) -> AnyFact:
    market: Market = msgspec.structs.replace(facts.market(), **terms)
    return MarketOpened(at=facts.at(2), market=market)


async def orders(pool: asyncpg.Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM orders")
    return count


@pytest.mark.parametrize(
    ("proof", "constraint"),
    [
        ({"book_age_ms": 5_001}, "orders_book_age_within_bound"),
        ({"book_age_ms": 70_000, "book_age_ms_max": 80_000}, "orders_book_age_bound_is_sane"),
        ({"book_age_ms": 0, "book_age_ms_max": 0}, "orders_book_age_bound_is_sane"),
        ({"rule_set": "chainlink-median-unheard-of"}, "orders_(rule_set_is_known|terms_were_the_markets)"),
        ({"rule_set": SPOT}, "orders_terms_were_the_markets"),
        ({"fee_fingerprint": OTHER_FEES.fingerprint}, "orders_terms_were_the_markets"),
        ({"fee_fingerprint": "0123456789ab"}, "orders_terms_were_the_markets"),
    ],
)
async def test_a_floor_that_lies_about_its_proof_is_refused(
    projecting: Projecting, pool: asyncpg.Pool, proof: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(ProjectionStoppedError, match=constraint):
        await projecting.tell([facts.opened(), facts.intended(intent_with(**proof))])
    assert await orders(pool) == 0


@pytest.mark.parametrize("tif", list(TimeInForce))
async def test_only_a_market_buy_is_filled_beyond_its_size(
    projecting: Projecting, pool: asyncpg.Pool, tif: TimeInForce
) -> None:
    """It gives pUSD: a better price than was seen brings more shares."""
    expires_at = facts.at(90) if tif is TimeInForce.GTD else None
    order = msgspec.structs.replace(facts.intent(), time_in_force=tif, expires_at=expires_at)
    more = Shares(order.shares + 1)
    told = [facts.opened(), facts.intended(order), facts.accepted(order), facts.matched(order, shares=more)]
    if tif.rests:
        with pytest.raises(ProjectionStoppedError, match="orders_filled_within_size"):
            await projecting.tell(told)
    else:
        await projecting.tell(told)
        assert await pool.fetchval("SELECT filled > shares FROM orders")


async def test_an_unknown_rule_is_refused_though_the_market_has_it(projecting: Projecting, pool: asyncpg.Pool) -> None:
    unheard = "chainlink-median-unheard-of"
    with pytest.raises(ProjectionStoppedError, match="orders_rule_set_is_known"):
        await projecting.tell([opened_with(rule_set=unheard), facts.intended(intent_with(rule_set=unheard))])
    assert await orders(pool) == 0


async def test_an_order_stands_on_the_terms_of_its_time_though_they_changed_in_the_same_batch(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    before, after = facts.intent(number=1), facts.intent(number=2)
    after = msgspec.structs.replace(
        after, proof=msgspec.structs.replace(after.proof, fee_fingerprint=OTHER_FEES.fingerprint)
    )
    changed = opened_with(fees=OTHER_FEES)
    await projecting.tell([facts.opened(), facts.intended(before), changed, facts.intended(after)])
    assert await orders(pool) == 2


async def test_a_row_written_past_the_projector_is_refused_all_the_same(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    await projecting.tell([facts.opened(), facts.intended(facts.intent())])
    for change in ("book_age_ms = 5001", "book_age_ms_max = 60001", "rule_set = 'guess'", "fee_fingerprint = 'guess'"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await pool.execute(f"UPDATE orders SET {change}")


async def test_the_database_knows_the_rules_this_version_knows(pool: asyncpg.Pool) -> None:
    assert {row["name"] for row in await pool.fetch("SELECT name FROM known_rule_sets")} == RULE_SETS


@pytest.mark.parametrize("fees", [NO_FEES, FEES_CRYPTO_V2, _FEES_STRUCTURE_V2, _FEES_2026_01])
async def test_the_database_names_a_fee_schedule_as_the_floor_does(pool: asyncpg.Pool, fees: FeeSchedule) -> None:
    named = await pool.fetchval("SELECT fee_fingerprint($1::text::jsonb)", msgspec.json.encode(fees).decode())
    assert named == fees.fingerprint


async def test_all_the_shipped_agents_did_on_the_shipped_tape_passes(
    pool: asyncpg.Pool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = shipped_floor().facts
    with Journal.open(tmp_path_factory.mktemp("journal") / "j") as journal:
        await journal.append(told, position=0)
        projector = projector_of(journal, pool)
        while await projector.project_batch():
            pass
    count: Callable[[str], Any] = pool.fetchval
    assert await count("SELECT count(*) FROM orders") > 10
    assert await count("SELECT max(book_age_ms) FROM orders") <= 5_000
