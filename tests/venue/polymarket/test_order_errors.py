"""Every row of the venue's error table (polymarket.md 6.5) has its treatment."""

import pytest

from polybot.venue.polymarket.order_errors import ERRORS, Treatment, error_row

ACCEPTED, REFUSED, LOOK_UP = Treatment.ACCEPTED, Treatment.REFUSED, Treatment.LOOK_UP
PAUSE, STOP = Treatment.PAUSE, Treatment.STOP
FOK = "order couldn't be fully filled. FOK orders are fully filled or killed."
FAK = "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."

SERVED = [
    (400, "Invalid order payload", STOP),
    (400, "the order owner has to be the owner of the API KEY", STOP),
    (400, "the order signer address has to be the address of the API KEY", STOP),
    (400, "'0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5' address banned", STOP),
    (400, "'0x6e0c80c90ea6c15917308F820Eac91Ce2724B5b5' address in closed only mode", STOP),
    (400, "maker address not allowed, please use the deposit wallet flow", STOP),
    (400, "invalid order version, please use the latest clob-client", STOP),
    (400, "order_version_mismatch", STOP),
    (400, "invalid signature", STOP),
    (400, "order 0xab is invalid. Price (0.515) breaks minimum tick size rule: 0.01", REFUSED),
    (400, "order 0xab is invalid. Size (4) lower than the minimum: 5", REFUSED),
    (400, "invalid amount for a marketable BUY order ($0.5), min size: $1", REFUSED),
    (400, "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals", REFUSED),
    (400, "order 0xab is invalid. Duplicated.", LOOK_UP),
    (400, "not enough balance / allowance", REFUSED),
    (400, "invalid expiration", REFUSED),
    (400, "invalid post-only order: order crosses book", REFUSED),
    (400, "order match delayed due to market conditions", LOOK_UP),
    (400, "the market is not yet ready to process new orders", REFUSED),
    (400, FOK, ACCEPTED),
    (400, FAK, ACCEPTED),
    (401, "Unauthorized/Invalid api key", STOP),
    (401, "Invalid L1 Request headers", STOP),
    (403, "Request to /order was blocked by Cloudflare with status 403", STOP),
    (403, "Trading restricted in your region, please refer to available regions", STOP),
    (404, "No orderbook exists for the requested token id", REFUSED),
    (404, "market not found", REFUSED),
    (425, "Too Early", PAUSE),
    (429, "Too Many Requests", PAUSE),
    (500, "order timed out", REFUSED),
    (500, "there are no matching orders", LOOK_UP),
    (500, "the trade contains rounding issues", LOOK_UP),
    (500, "the price of the taker's order has a discrepancy greater than allowed with the worst maker order", LOOK_UP),
    (500, "could not run the execution", LOOK_UP),
    (503, "Trading is currently disabled. Check polymarket.com for updates", PAUSE),
    (503, "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.", PAUSE),
    (503, "post-only mode: only post-only orders and cancels are allowed", PAUSE),
    (503, "Service Unavailable", LOOK_UP),
    (503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination", LOOK_UP),
]


@pytest.mark.parametrize(("status", "text", "treatment"), SERVED, ids=lambda value: str(value)[:40])
def test_every_answer_of_the_venue_has_its_treatment(status, text, treatment):
    assert error_row(status, text).treatment is treatment


def test_every_row_of_the_table_is_met_by_one_of_them():
    met = {error_row(status, text) for status, text, _ in SERVED}
    assert met == set(ERRORS)


@pytest.mark.parametrize(("status", "text", "treatment"), [row for row in SERVED if row[0] == 400])
def test_the_same_words_mean_the_same_within_an_answer_of_status_200(status, text, treatment):
    assert error_row(200, text).treatment is treatment


@pytest.mark.parametrize(
    ("status", "text"), [(400, "something new"), (200, ""), (500, "oops"), (502, "Bad Gateway"), (404, "not here")]
)
def test_what_nobody_understands_is_looked_up_and_never_sent_again(status, text):
    assert error_row(status, text).treatment is LOOK_UP
