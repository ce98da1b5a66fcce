"""Where the venue is and who we are there: hosts, and the secrets, which never show in a log or a traceback."""

from typing import Any

import msgspec


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """Base of values whose fields must not be printed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<redacted>)"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich would print of it, in a traceback for instance."""
        return [("redacted", ...)]


class Credentials(Secret, frozen=True, kw_only=True):
    """An API key of the order book (polymarket.md 6.9): the sockets ask for it as it is, REST for signatures by it."""

    key: str
    secret: str
    passphrase: str


class Keys(Secret, frozen=True, kw_only=True):
    """`wallet` None: the signer's deposit wallet. The relayer's key is for gasless settlement."""

    private_key: str
    wallet: str | None = None
    credentials: Credentials | None = None
    relayer_key: str = ""
    relayer_address: str = ""


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """Every address an account uses, each without a slash at its end (polymarket.md 1.5); `name` is for logs."""

    name: str = "polymarket"
    clob: str = "https://clob.polymarket.com"
    user_socket: str = "wss://ws-subscriptions-clob.polymarket.com/ws/user"
    gamma: str = "https://gamma-api.polymarket.com"
    data: str = "https://data-api.polymarket.com"
    relayer: str = "https://relayer-v2.polymarket.com"
    rpc: str = "https://polygon.drpc.org"
    geoblock: str = "https://polymarket.com/api/geoblock"
    relayer_poll_ms: int = 2_000
    listed_s: float = 60.0
    """Positions that are gone on chain may be listed for so long after: the data service is some seconds late."""
