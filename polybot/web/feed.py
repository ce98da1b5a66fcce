"""What a process with POLYBOT_ROLE=feed answers: whether market data comes in, and whether floors can hear it."""

from collections.abc import Callable, Collection, Iterator

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from polybot.circuit import CircuitSnapshot
from polybot.domain.units import Millis
from polybot.floor.status import FeedHealth, LineStatus
from polybot.web.aside import Said, create_aside_app
from polybot.web.feed_metrics import feed_metrics
from polybot.web.json_form import to_plain
from polybot.web.metrics import circuits

NOT_HERE = "this is a feed: it trades nothing and has no run; ask a floor that it feeds"


class FeedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The process at one moment. `reasons`: why floors get nothing from it; one that waits for another is well."""

    version: str
    source: str
    started_at: Millis
    wall_time: Millis
    reasons: tuple[str, ...]
    feed: FeedHealth
    line: LineStatus
    circuits: tuple[CircuitSnapshot, ...]


Look = Callable[[], FeedStatus]


def create_feed_app(look: Look, *, extra_hosts: Collection[str] = ()) -> web.Application:
    """/health is 503 while floors get nothing from it, and 200 while it waits for another feed's end."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FeedCollector(look))

    def said() -> Said:
        status = look()
        fit = not status.reasons
        how = "; ".join(status.reasons) or status.line.trouble or "market data comes in, and floors can hear it"
        return Said(
            health={"state": "feed", "fit": fit, **to_plain(status)},
            page=f"PolyBot {status.version}: a feed from {status.source}. {how}\n",
            elsewhere={"error": NOT_HERE, "state": "feed"},
            is_well=fit,
        )

    return create_aside_app(said, registry, extra_hosts=extra_hosts)


class FeedCollector(Collector):
    """Looks once per scrape."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        status = self._look()
        line = status.line
        yield GaugeMetricFamily("polybot_fit", "1 while floors can hear it.", float(not status.reasons))
        yield GaugeMetricFamily("polybot_wall_time_seconds", "When this status was made.", status.wall_time / 1000)
        yield GaugeMetricFamily("polybot_feed_line_up", "1 while it speaks to floors.", float(line.speaking))
        yield GaugeMetricFamily("polybot_feed_line_waits", "1 while another feed speaks.", float(line.waits))
        yield CounterMetricFamily("polybot_feed_line_events_said", "Events told to floors.", line.said)
        yield CounterMetricFamily("polybot_feed_line_events_lost", "Events the line did not take.", line.lost)
        yield CounterMetricFamily("polybot_feed_line_books_asked", "Books that floors asked for.", line.asked)
        yield from feed_metrics(status.feed)
        yield from circuits(status.circuits)
