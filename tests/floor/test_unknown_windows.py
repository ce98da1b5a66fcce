"""Windows whose terms nobody here understands: listened to where that is possible, told of loudly, never traded."""

import asyncio

import msgspec

from polybot.domain.events import Severity
from polybot.domain.market import UNKNOWN_TERMS
from polybot.risk.known_terms import knows_rules
from tests.facts import a_market
from tests.floor.feeds import Stage, listing


def test_a_window_of_an_unknown_protocol_is_listed_and_not_subscribed_as_its_tokens_are_not_known() -> None:
    async def script(stage: Stage) -> None:
        strange = msgspec.structs.replace(a_market(1), version="v3")
        stage.feed.listings = [listing(a_market()), listing(strange)]
        await asyncio.sleep(2)
        assert strange.id in stage.floor.room.markets.by_id
        assert stage.feed.followed == [[a_market().id]]

    Stage().play(script)


def test_a_window_whose_fees_nobody_understands_is_watched_and_told_in_plain_words() -> None:
    async def script(stage: Stage) -> None:
        terms = f"{UNKNOWN_TERMS}fee type 'crypto_fees_v9' is unknown"
        strange = msgspec.structs.replace(a_market(1), rule_set=terms)
        stage.feed.listings = [listing(a_market()), listing(strange)]
        await asyncio.sleep(2)
        assert stage.feed.followed[-1] == [a_market(0).id, strange.id]
        assert not knows_rules(stage.floor.room.markets.by_id[strange.id].market)
        text = f"{strange.id} is not traded: unknown terms: fee type 'crypto_fees_v9' is unknown"
        assert stage.floor.notes == [(Severity.ERROR, text)]

    Stage().play(script)
