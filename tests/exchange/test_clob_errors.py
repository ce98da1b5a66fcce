"""Every error text of polymarket.md 6.5, asked for over the wire and answered with its status."""

import time
from typing import Any

import pytest

from polybot.domain.units import Price
from polybot.exchange.core.model import Address, Listing
from polybot.exchange.exchange import Exchange
from polybot.exchange.wallets import wallet_of
from tests.exchange.asking import Desk, body_of
from tests.exchange.trading import KEY_OF_ALICE, SIGNER, a_listing, ending_in, official_client

FOK_KILLED = "order couldn't be fully filled. FOK orders are fully filled or killed."
FAK_KILLED = "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."


@pytest.fixture
def up(listing: Listing) -> str:
    return listing.tokens[0]


def text(reply: tuple[int, Any]) -> tuple[int, str]:
    return reply[0], reply[1]["error"]


# -- 400: the order itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.pop("owner"),
        lambda body: body["order"].update(side="HOLD"),
        lambda body: body["order"].update(makerAmount="-1"),
        lambda body: body["order"].update(tokenId="seven", makerAmount="x"),
        lambda body: body["order"].update(salt=2**60),
        lambda body: body.update(orderType="SOON"),
    ],
)
async def test_a_body_that_is_no_order_is_an_invalid_payload(desk: Desk, up: str, spoil: Any) -> None:
    body = await desk.order(up)
    spoil(body)
    assert text(await desk.post(body)) in [
        (400, "Invalid order payload"),
        (404, "No orderbook exists for the requested token id"),
    ]


async def test_the_owner_must_be_the_key(desk: Desk, up: str) -> None:
    body = await desk.order(up)
    body["owner"] = "somebody-else"
    assert text(await desk.post(body)) == (400, "the order owner has to be the owner of the API KEY")


async def test_the_signer_must_be_the_keys_address(desk: Desk, up: str) -> None:
    body = await desk.order(up)
    body["order"]["signer"] = "0x" + "77" * 20
    assert text(await desk.post(body)) == (400, "the order signer address has to be the address of the API KEY")


async def test_a_wallet_of_somebody_else_is_refused(desk: Desk, up: str) -> None:
    body = await desk.order(up)
    body["order"].update(maker=wallet_of(Address("0x" + "77" * 20), 2), signatureType=2)
    assert text(await desk.post(body)) == (400, "the order signer address has to be the address of the API KEY")


@pytest.mark.parametrize("field", ["makerAmount", "salt", "timestamp", "builder", "signature"])
async def test_what_is_changed_after_signing_is_no_longer_signed(desk: Desk, up: str, field: str) -> None:
    body = await desk.order(up)
    changed = {"makerAmount": "3900000", "salt": 1, "timestamp": "1", "builder": "0x" + "01" * 32, "signature": "0x00"}
    body["order"][field] = changed[field]
    assert text(await desk.post(body)) == (400, "invalid signature")


async def test_banned_and_closed_only_addresses(desk: Desk, up: str) -> None:
    await desk.switch("ban", address=SIGNER, mode="closed-only")
    assert text(await desk.post(await desk.order(up))) == (400, f"'{SIGNER}' address in closed only mode")
    assert (await desk.ask("GET", "/auth/ban-status/closed-only"))[1] == {"closed_only": True}
    await desk.switch("ban", address=SIGNER, mode="banned")
    assert text(await desk.post(await desk.order(up)))[1].endswith("address banned")
    await desk.switch("ban", address=SIGNER, mode="none")
    assert (await desk.post(await desk.order(up)))[0] == 200


async def test_new_accounts_must_use_the_deposit_wallet(desk: Desk, up: str) -> None:
    await desk.switch("toggles", deposit_wallets_only=True)
    refused = text(await desk.post(await desk.order(up)))
    assert refused == (400, "maker address not allowed, please use the deposit wallet flow")
    key = wallet_of(Address(SIGNER.lower()), 3)
    client = await official_client(_server_of(desk), wallet=key, key=KEY_OF_ALICE)
    signed = await client.create_limit_order(asset_id=up, price="0.40", size="10", side="BUY")
    assert (await desk.post(body_of(signed, desk.key.key)))[0] == 200
    await client.close()


async def test_an_order_of_the_first_version_is_refused(desk: Desk, up: str) -> None:
    body = await desk.order(up)
    body["order"].update(taker="0x" + "00" * 20, nonce="0", feeRateBps="0")
    assert text(await desk.post(body)) == (400, "invalid order version, please use the latest clob-client")


async def test_an_order_signed_for_the_other_domain_version_is_refused(desk: Desk, exchange: Exchange, up: str) -> None:
    """The market was v1 when the client looked, and is v2 to the exchange."""
    body = await desk.order(up)
    board = exchange.engine.board_of_token(up)  # type: ignore[arg-type]
    assert board is not None
    board.listing = a_listing(start=ending_in(600), version="v2", tokens=board.listing.tokens)
    assert text(await desk.post(body)) == (400, "order_version_mismatch")


async def test_the_tick_the_size_and_the_double(desk: Desk, exchange: Exchange, listing: Listing, up: str) -> None:
    body = await desk.order(up)
    status, accepted = await desk.post(body)
    assert (status, accepted["success"]) == (200, True)
    order_id = accepted["orderID"]
    assert text(await desk.post(body)) == (400, f"order {order_id} is invalid. Duplicated.")
    small = await desk.order(up, size="4.99")
    assert text(await desk.post(small))[1].endswith("is invalid. Size (4.99) lower than the minimum: 5")
    exchange.engine.change_tick(listing.market.id, Price(1_000), exchange.now())
    fine = await desk.order(listing.tokens[1], price="0.405")
    exchange.engine.change_tick(listing.market.id, Price(10_000), exchange.now())
    assert text(await desk.post(fine))[1].endswith("Price (0.405) breaks minimum tick size rule: 0.01")


async def test_balance_and_allowance(desk: Desk, up: str) -> None:
    assert text(await desk.post(await desk.order(up, size="2501"))) == (400, "not enough balance / allowance")
    await desk.switch("approve", address=SIGNER, approved=False)
    refused = text(await desk.post(await desk.order(up)))
    assert refused == (400, "not enough balance / allowance: the allowance is not enough")
    allowed = (await desk.ask("GET", "/balance-allowance", query="?asset_type=COLLATERAL&signature_type=0"))[1]
    assert set(allowed["allowances"].values()) == {"0"}


async def test_expiration_post_only_and_the_kills(desk: Desk, up: str) -> None:
    soon = await desk.order(up, expiration=int(time.time()) + 200)
    soon["order"]["expiration"] = str(int(time.time()) + 60)  # not signed, so it can be changed
    assert text(await desk.post(soon)) == (400, "invalid expiration")
    crossing = await desk.order(up, price="0.52", post_only=True)
    assert text(await desk.post(crossing)) == (400, "invalid post-only order: order crosses book")
    fok = await desk.market_order(up, side="BUY", amount="100", max_price="0.52", order_type="FOK")
    assert text(await desk.post(fok)) == (400, FOK_KILLED)
    fak = await desk.market_order(up, side="BUY", amount="10", max_price="0.45", order_type="FAK")
    assert text(await desk.post(fak)) == (400, FAK_KILLED)


async def test_a_market_that_is_not_ready(desk: Desk, exchange: Exchange) -> None:
    fresh = a_listing(3, start=ending_in(600), ready_at=exchange.now() + 60_000)
    exchange.engine.list_market(fresh, exchange.now())
    refused = text(await desk.post(await desk.order(fresh.tokens[0])))
    assert refused == (400, "the market is not yet ready to process new orders")


async def test_a_refusal_can_be_switched_to_the_documented_answer_with_200(desk: Desk, up: str) -> None:
    await desk.switch("toggles", answers_refusals_with_200=True)
    status, body = await desk.post(await desk.order(up, size="2501"))
    assert (status, body["success"], body["errorMsg"]) == (200, False, "not enough balance / allowance")


# -- 401, 403, 404 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instead",
    [
        {"api_key": "unknown"},
        {"passphrase": "wrong"},
        {"signature": "d3Jvbmc="},
        {"address": "0x" + "77" * 20},
        {"timestamp": str(int(time.time()) - 3_600)},
        {"timestamp": str(int(time.time()) + 3_600)},
    ],
    ids=["key", "passphrase", "signature", "address", "late", "early"],
)
async def test_a_wrong_key_or_clock_is_unauthorized(desk: Desk, instead: dict[str, str]) -> None:
    assert text(await desk.ask("GET", "/data/orders", **instead)) == (401, "Unauthorized/Invalid api key")


async def test_a_signature_covers_method_path_and_body_but_not_the_query(desk: Desk, up: str) -> None:
    assert (await desk.ask("GET", "/data/orders", query="?market=0x00"))[0] == 200
    body = await desk.order(up)
    async with desk.session.post("/clob/order", json=body, headers={}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("field", ["POLY_SIGNATURE", "POLY_TIMESTAMP", "POLY_ADDRESS", "POLY_NONCE"])
async def test_a_key_is_only_made_for_who_signs_for_it(desk: Desk, field: str) -> None:
    headers = {"POLY_ADDRESS": SIGNER, "POLY_TIMESTAMP": str(int(time.time())), "POLY_NONCE": "0"}
    headers |= {"POLY_SIGNATURE": "0x" + "12" * 65, field: "1"}
    async with desk.session.post("/clob/auth/api-key", headers=headers) as answer:
        assert text((answer.status, await answer.json())) == (401, "Invalid L1 Request headers")


async def test_a_restricted_region_reads_and_does_not_trade(desk: Desk, up: str) -> None:
    await desk.switch("geoblock", blocked=True, country="US", region="NY")
    assert text(await desk.post(await desk.order(up)))[0] == 403
    assert (await desk.ask("GET", "/data/orders"))[0] == 200


async def test_a_resolved_or_unknown_token_has_no_book(
    desk: Desk, exchange: Exchange, listing: Listing, up: str
) -> None:
    body = await desk.order(up)
    exchange.engine.resolve(listing.market.id, Price(1_000_000), exchange.now())
    gone = (404, "No orderbook exists for the requested token id")
    assert text(await desk.post(body)) == gone
    for token in (up, "123"):
        async with desk.session.get("/clob/book", params={"token_id": token}) as answer:
            assert text((answer.status, await answer.json())) == gone
    async with desk.session.get("/clob/clob-markets/0x00") as answer:
        assert text((answer.status, await answer.json())) == (404, "market not found")


# -- 425, 429, 500, 503 -----------------------------------------------------------------------------------------------


async def test_a_restart_is_425_and_then_post_only(desk: Desk, up: str) -> None:
    await desk.switch("restart", down_ms=60_000)
    assert (await desk.post(await desk.order(up)))[0] == 425
    assert (await desk.ask("DELETE", "/cancel-all"))[0] == 425
    await desk.switch("restart", down_ms=0, post_only_ms=120_000)
    status, refused = await desk.post(await desk.order(up))
    assert (status, refused["code"]) == (503, "post_only_mode")
    assert refused["error"] == "post-only mode: only post-only orders and cancels are allowed"
    assert refused["retry_after_seconds"] == int(desk.headers["Retry-After"]) in (119, 120)
    assert (await desk.post(await desk.order(up, post_only=True)))[0] == 200
    assert len((await desk.ask("DELETE", "/cancel-all"))[1]["canceled"]) == 1


async def test_a_batch_in_post_only_mode_says_success_and_means_it_not(desk: Desk, up: str) -> None:
    await desk.switch("restart", down_ms=0, post_only_ms=120_000)
    bodies = [
        await desk.order(up),
        await desk.order(up, post_only=True),
        await desk.order(up, size="1", post_only=True),
    ]
    status, entries = await desk.ask("POST", "/orders", bodies)
    assert status == 200
    assert [(e["success"], bool(e["errorMsg"]), bool(e["orderID"])) for e in entries] == [
        (True, True, False),
        (True, False, True),
        (False, True, False),
    ]


async def test_disabled_and_cancel_only_trading(desk: Desk, up: str) -> None:
    await desk.post(await desk.order(up))
    await desk.switch("trading", mode="cancel-only")
    assert text(await desk.post(await desk.order(up)))[1].startswith("Trading is currently cancel-only")
    assert len((await desk.ask("DELETE", "/cancel-all"))[1]["canceled"]) == 1
    await desk.switch("trading", mode="disabled")
    assert text(await desk.ask("DELETE", "/cancel-all"))[1].startswith("Trading is currently disabled")


async def test_too_many_orders_are_429_with_the_limits_headers(desk: Desk, up: str) -> None:
    tier = {"name": "standard", "orders_s": 0.001, "orders_burst": 2}
    await desk.switch("limits", tier=tier)
    for remaining in ("1", "0"):
        assert (await desk.post(await desk.order(up)))[0] == 200
        assert desk.headers["Poly-RateLimit-Remaining"] == remaining
    assert text(await desk.post(await desk.order(up))) == (429, "Too Many Requests")
    assert int(desk.headers["Retry-After"]) > 100
    await desk.switch("limits", enforced=False)
    assert (await desk.post(await desk.order(up)))[0] == 200


async def test_an_endpoint_has_a_limit_of_its_own(desk: Desk, up: str) -> None:
    await desk.switch("limits", endpoints={"GET /data/orders": 2, "GET /book": 1})
    assert [(await desk.ask("GET", "/data/orders"))[0] for _ in range(3)] == [200, 200, 429]
    assert desk.headers["Retry-After"] == "10"
    books = [await desk.session.get("/clob/book", params={"token_id": up}) for _ in range(2)]
    assert [answer.status for answer in books] == [200, 429]


@pytest.mark.parametrize("words", ["order timed out", "could not run the execution"])
async def test_any_failure_can_be_switched_on_before_or_after_the_order_is_taken(
    desk: Desk, up: str, words: str
) -> None:
    is_taken = words != "order timed out"
    await desk.switch("fault", method="POST", path="/order", status=500, text=words, after=is_taken)
    assert text(await desk.post(await desk.order(up))) == (500, words)
    assert len((await desk.ask("GET", "/data/orders"))[1]["data"]) == int(is_taken)
    assert (await desk.post(await desk.order(up)))[0] == 200


def _server_of(desk: Desk) -> Any:
    """Where the desk's session points, as the official client wants to hear it."""
    url = str(desk.session._base_url).rstrip("/")
    return type("Where", (), {"url": url, "ws_url": url.replace("http", "ws")})
