"""What goes wrong between us and the venue: the official client's errors as ours, in words fit to be written down."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from polymarket import errors as sdk

from polybot.domain.errors import BadInput
from polybot.log import redact
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.wire_user import readable

BUSY_STATUS = frozenset((425, 429, 503))
NO_RELAYER = "Gasless transactions require"
"""How the client begins when it would have to make a wallet (release 0.14.0)."""
UNREADABLE = (ValueError, ArithmeticError, RecursionError)
"""What the official client lets through where it cannot read an answer: text that is no UTF-8, a cursor that cannot be
sent back, numbers beyond all bounds, thousands of brackets."""


class VenueRejected(Exception):
    """The venue said no: HTTP status (200: an answer that says so itself), its words, seconds it asks to wait."""

    def __init__(self, status: int, text: str, retry_after_s: float | None = None) -> None:
        self.status, self.text, self.retry_after_s = status, words(text), retry_after_s
        super().__init__(f"{status}: {self.text}")


class BatchRejected(VenueRejected):
    """The venue said no to a batch as a whole, not to one of its orders."""


class HeartbeatMismatch(Exception):
    """The order heartbeat goes on from another id than the one sent, which therefore counted for nothing."""

    def __init__(self, expected: str) -> None:
        super().__init__("the venue expects another heartbeat id")
        self.expected = expected


def words(text: str) -> str:
    """What the venue says, which goes into journal and database: fit to be written, and nothing in it but words."""
    return redact(readable(text))


@contextmanager
def writing() -> Iterator[None]:
    """What cannot be written down for the venue, or signed, is BadInput: nothing was sent."""
    try:
        yield
    except (sdk.UserInputError, sdk.SigningError) as error:
        raise BadInput(str(error)) from error


@asynccontextmanager
async def asking() -> AsyncIterator[None]:
    """The client's errors as ours: no answer, a refusal, or nothing sent because it could not even be written down."""
    try:
        with writing():
            yield
    except sdk.RateLimitError as error:
        raise VenueRejected(429, str(error), error.retry_after) from error
    except sdk.RequestRejectedError as error:
        raise VenueRejected(error.status, str(error), error.retry_after) from error
    except sdk.TransactionFailedError as error:
        raise VenueRejected(200, f"the transaction failed: {error}") from error
    except sdk.PolymarketError as error:
        raise VenueUnavailable(words(str(error))) from error
    except UNREADABLE as error:
        raise VenueUnavailable(f"the answer cannot be read: {words(str(error))}") from error


@asynccontextmanager
async def naming_the_relayer() -> AsyncIterator[None]:
    """The client speaks to programmers where a wallet has to be made and it may not: say what the owner can do."""
    try:
        yield
    except sdk.UserInputError as error:
        if not str(error).startswith(NO_RELAYER):
            raise
        raise BadInput(
            "the key has no deposit wallet yet, and only the relayer can make it: set POLYBOT_RELAYER_KEY_FILE and "
            "POLYBOT_RELAYER_ADDRESS (polymarket.com, settings, API keys), or POLYBOT_WALLET to a wallet that exists"
        ) from error


@asynccontextmanager
async def reading() -> AsyncIterator[None]:
    """A read that was refused, or cannot be understood, is an outage: nothing depends on the venue's reason."""
    try:
        async with asking():
            yield
    except VenueRejected as error:
        raise as_outage(error) from error
    except BadInput as error:
        raise VenueUnavailable(str(error)) from error


def as_outage(error: VenueRejected) -> VenueBusy | VenueUnavailable:
    return VenueBusy(str(error)) if error.status in BUSY_STATUS else VenueUnavailable(str(error))
