"""Where a loopback exchange stands in for the venue: every documented host is a path of one port (docs/exchange.md)."""

from polybot.venue.polymarket.keys import Hosts
from polybot.venue.polymarket.market_data import DataHosts


def account_hosts_of(base: str) -> Hosts:
    """`base` is the exchange's address, `http://127.0.0.1:8085`. It settles at once, and lists nothing any longer."""
    http, ws = _both(base)
    return Hosts(
        name="loopback",
        clob=f"{http}/clob",
        user_socket=f"{ws}/ws/user",
        gamma=f"{http}/gamma",
        data=f"{http}/data",
        relayer=f"{http}/relayer",
        rpc=f"{http}/rpc",
        geoblock=f"{http}/site/api/geoblock",
        relayer_poll_ms=100,
        listed_s=2.0,
    )


def data_hosts_of(base: str) -> DataHosts:
    http, ws = _both(base)
    return DataHosts(
        gamma=f"{http}/gamma",
        clob=f"{http}/clob",
        market=f"{ws}/ws/market",
        rtds=f"{ws}/rtds",
        polybolt=f"{ws}/polybolt/ws",
    )


def _both(base: str) -> tuple[str, str]:
    http = base.rstrip("/")
    return http, http.replace("http", "ws", 1)
