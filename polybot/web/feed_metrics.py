"""The market data's figures for Prometheus: the feed of a floor on live data, or of a process that is only a feed."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from polybot.floor.status import BookCheckStatus, FeedHealth, PriceSocketStatus, SourceStatus
from polybot.web.families import counter, gauge

ODDITIES = ("duplicates", "late", "stale", "future", "contradicted")
PRICE_ODDITIES = ("unreadable", "lost", "repeated", "future")
CHECKS = BookCheckStatus.__struct_fields__


def feed_metrics(feed: FeedHealth) -> Iterator[Metric]:
    flows = float(feed.connected and feed.outage_since is None)
    yield GaugeMetricFamily("polybot_feed_up", "1 while market data flows.", flows)
    yield from _span("polybot_feed_silent_seconds", "Since the venue last said anything.", feed.silent_ms)
    yield from _span("polybot_feed_late_seconds", "How late what it last said was.", feed.late_ms)
    yield GaugeMetricFamily("polybot_feed_followed_markets", "Windows that are followed.", feed.followed)
    yield CounterMetricFamily("polybot_feed_reconnects", "Times the connection was made anew.", feed.reconnects)
    yield CounterMetricFamily("polybot_feed_refreshes", "Times a book was asked for anew.", feed.refreshes)
    yield counter(
        "polybot_feed_oddities",
        "Events that came twice, late, stale, from the future, or against the book.",
        ["kind"],
        [((kind,), getattr(feed, kind)) for kind in ODDITIES],
    )
    yield gauge(
        "polybot_reference_price_age_seconds",
        "Age of the last reference price by its own date.",
        ["asset", "source"],
        [((price.asset, price.source), price.age_ms / 1000) for price in feed.prices],
    )
    if feed.sources is not None:
        yield from _sources(feed.sources)


def _sources(seen: SourceStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily("polybot_market_sockets", "Market sockets there should be.", seen.sockets)
    yield GaugeMetricFamily("polybot_market_sockets_up", "Market sockets that stand.", seen.sockets_up)
    yield CounterMetricFamily(
        "polybot_market_socket_reconnects", "Times one was made anew beside another.", seen.socket_reconnects
    )
    yield CounterMetricFamily("polybot_market_socket_unreadable", "Frames nobody understood.", seen.unreadable)
    yield CounterMetricFamily(
        "polybot_market_socket_merged", "Events that a second socket repeated, as it should.", seen.merged
    )
    yield CounterMetricFamily("polybot_early_results", "Results told before their window's end.", seen.early_results)
    yield from _price_sockets(seen.price_sockets)
    if seen.check is not None:
        yield counter(
            "polybot_book_checks",
            "Books compared with those served over REST.",
            ["result"],
            [((result,), getattr(seen.check, result)) for result in CHECKS],
        )


def _price_sockets(sockets: tuple[PriceSocketStatus, ...]) -> Iterator[Metric]:
    up = [((socket.name,), float(socket.connected)) for socket in sockets]
    yield gauge("polybot_price_socket_up", "1 while the price socket is connected.", ["socket"], up)
    made_anew = [((socket.name,), socket.reconnects) for socket in sockets]
    yield counter("polybot_price_socket_reconnects", "Times it was made anew.", ["socket"], made_anew)
    yield counter(
        "polybot_price_socket_oddities",
        "Frames unreadable or lost, prices repeated or from the future.",
        ["socket", "kind"],
        [((socket.name, kind), getattr(socket, kind)) for socket in sockets for kind in PRICE_ODDITIES],
    )


def _span(name: str, text: str, milliseconds: int | None) -> Iterator[Metric]:
    if milliseconds is not None:
        yield GaugeMetricFamily(name, text, milliseconds / 1000)
