"""What a process with POLYBOT_ROLE=feed answers: whether market data comes in, and whether floors can hear it."""

from collections.abc import Callable, Collection, Iterator

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from polybot.circuit import CircuitSnapshot
from polybot.domain.units import Millis
from polybot.floor.status import FeedHealth
from polybot.web.feed_metrics import feed_metrics
from polybot.web.guard import add_headers, json_answer, refuse_strange_hosts, trouble_as_json
from polybot.web.json_form import to_plain
from polybot.web.metrics import circuits

NOT_HERE = "this is a feed: it trades nothing and has no run; ask a floor that it feeds"


class LineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The line to the floors; events `said` and `lost`, books `asked` for. `waits`: another feed speaks for now."""

    speaking: bool
    waits: bool
    said: int
    lost: int
    asked: int
    trouble: str | None


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

    async def health(_request: web.Request) -> web.Response:
        status = look()
        fit = not status.reasons
        return json_answer({"state": "feed", "fit": fit, **to_plain(status)}, 200 if fit else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(_request: web.Request) -> web.Response:
        status = look()
        said = "; ".join(status.reasons) or status.line.trouble or "market data comes in, and floors can hear it"
        return web.Response(text=f"PolyBot {status.version}: a feed from {status.source}. {said}\n")

    async def elsewhere(_request: web.Request) -> web.Response:
        return json_answer({"error": NOT_HERE, "state": "feed"}, 503)

    app = web.Application(middlewares=[trouble_as_json, refuse_strange_hosts(extra_hosts)])
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", page)
    app.router.add_get("/api/{what}", elsewhere)
    return app


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
