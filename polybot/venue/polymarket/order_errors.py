"""What the venue's words to an order mean: one table from status and text to one of five treatments. Pure.

Source: polymarket.md 6.5 (D:resources/error-codes). What stands in no row is looked up: an order is never sent again
because of an answer that nobody here understands (D8).
"""

import enum

import msgspec


class Treatment(enum.StrEnum):
    ACCEPTED = "accepted"
    """The venue took the order, and it is over: what was killed at once is a normal end."""
    REFUSED = "refused"
    """This order was not taken; the next one may be."""
    LOOK_UP = "look_up"
    """Taken or not: unknown. Wait, and retry the look-up, never the order."""
    PAUSE = "pause"
    """Not taken, and the next ones would not be for a while."""
    STOP = "stop"
    """Not taken, and no order will be until a person has mended something."""


class ErrorRow(msgspec.Struct, frozen=True):
    """`text` is a part of the venue's message, in lower case, "" for any; `meaning` is for people."""

    status: int
    text: str
    treatment: Treatment
    meaning: str


ANY = 0
"""A status: the text alone tells. The same words come with HTTP 400 and within an answer of HTTP 200."""

_ACCEPTED, _REFUSED, _LOOK_UP = Treatment.ACCEPTED, Treatment.REFUSED, Treatment.LOOK_UP
_PAUSE, _STOP = Treatment.PAUSE, Treatment.STOP

ERRORS = (
    ErrorRow(ANY, "invalid order payload", _STOP, "our orders are malformed: a bug, or a changed venue"),
    ErrorRow(ANY, "order owner has to be the owner of the api key", _STOP, "the API key is another wallet's"),
    ErrorRow(ANY, "order signer address has to be the address of the api key", _STOP, "wrong wallet or signature type"),
    ErrorRow(ANY, "address banned", _STOP, "the venue has banned this wallet"),
    ErrorRow(ANY, "address in closed only mode", _STOP, "the venue lets this wallet only close positions"),
    ErrorRow(ANY, "please use the deposit wallet flow", _STOP, "a new account needs a deposit wallet (type 3)"),
    ErrorRow(ANY, "invalid order version", _STOP, "the venue wants orders of another protocol version"),
    ErrorRow(ANY, "order_version_mismatch", _STOP, "the venue wants orders of another protocol version"),
    ErrorRow(ANY, "invalid signature", _STOP, "the venue does not accept this wallet's signature"),
    ErrorRow(ANY, "breaks minimum tick size rule", _REFUSED, "the market's tick has changed"),
    ErrorRow(ANY, "lower than the minimum", _REFUSED, "the size is below the market's minimum"),
    ErrorRow(ANY, "invalid amount for a marketable buy order", _REFUSED, "a marketable BUY needs one pUSD or more"),
    ErrorRow(ANY, "max accuracy", _REFUSED, "the amounts have more decimals than a market order may have"),
    ErrorRow(ANY, "duplicated", _LOOK_UP, "the venue has this very order already"),
    ErrorRow(ANY, "not enough balance / allowance", _REFUSED, "balance, reserve of open orders, or a stale cache"),
    ErrorRow(ANY, "invalid expiration", _REFUSED, "the order would expire too soon"),
    ErrorRow(ANY, "order crosses book", _REFUSED, "a post-only order would have taken"),
    ErrorRow(ANY, "order match delayed", _LOOK_UP, "held for now; it may be matched later"),
    ErrorRow(ANY, "not yet ready to process new orders", _REFUSED, "the market is too new"),
    ErrorRow(ANY, "fok orders are fully filled or killed", _ACCEPTED, "killed: there was not enough to fill it whole"),
    ErrorRow(ANY, "no orders found to match with fak order", _ACCEPTED, "killed: there was nothing to match"),
    ErrorRow(ANY, "post-only mode", _PAUSE, "post-only orders alone, for two minutes after a restart"),
    ErrorRow(ANY, "trading is currently disabled", _PAUSE, "nothing is taken, cancels included"),
    ErrorRow(ANY, "trading is currently cancel-only", _PAUSE, "cancels alone are taken"),
    ErrorRow(ANY, "trading restricted in your region", _STOP, "geoblock: no orders from this address"),
    ErrorRow(401, "", _STOP, "API key, signature or clock are wrong"),
    ErrorRow(403, "", _STOP, "refused at the venue's edge: geoblock"),
    ErrorRow(404, "no orderbook exists", _REFUSED, "the market has ended, or is too new"),
    ErrorRow(404, "market not found", _REFUSED, "the market has ended, or is too new"),
    ErrorRow(425, "", _PAUSE, "the matching engine restarts"),
    ErrorRow(429, "", _PAUSE, "too many requests"),
    ErrorRow(500, "order timed out", _REFUSED, "it did not reach the book"),
    ErrorRow(500, "there are no matching orders", _LOOK_UP, "the match may have been made"),
    ErrorRow(500, "the trade contains rounding issues", _LOOK_UP, "the match may have been made"),
    ErrorRow(500, "discrepancy greater than allowed", _LOOK_UP, "the match may have been made"),
    ErrorRow(500, "could not run the execution", _LOOK_UP, "the match may have been made"),
    ErrorRow(503, "", _LOOK_UP, "a gateway's word, not the engine's, which may have had the order"),
)
ENTRY = 200
"""The status of an answer that says no itself, to an order or to one of a batch: it has none of its own there."""
NONE_TAKEN = frozenset((401, 403, 425, 429))
"""Said at the door, before any order of a batch was looked at."""
UNKNOWN = ErrorRow(ANY, "", Treatment.LOOK_UP, "not in the table: whether the order was taken is unknown")


def error_row(status: int, text: str) -> ErrorRow:
    """The first row that fits. Status 200 is an answer that says `success: false`: its words alone tell."""
    words = text.lower()
    fitting = (row for row in ERRORS if _has_status(row, status) and row.text in words)
    return next(fitting, UNKNOWN)


def none_was_taken(status: int, text: str) -> bool:
    """Whether an answer to a whole batch says that no order of it was taken.

    Every other one leaves all of them unknown: words about one order do not say which, nor what became of the others.
    """
    return status in NONE_TAKEN or (status == 503 and "trading is currently" in text.lower())


def _has_status(row: ErrorRow, status: int) -> bool:
    return row.status in (ANY, status) or (status == ENTRY and row.text != "")
