"""The floor's status as Prometheus reads it: one collector, asked afresh at every scrape, in a registry of its own.

Amounts leave as floats because that is all the format has; nothing here is read back. Labels are bounded: agents,
series, outcomes, stores and breakers, never a market or an order, of which there is a new one every few minutes.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from polybot.circuit import CircuitSnapshot, CircuitState
from polybot.domain.events import AgentState
from polybot.domain.ids import SeriesId
from polybot.domain.units import UNIT
from polybot.floor.status import FloorStatus, LoopHealth, MarketStatus, StatusSource, StoreState
from polybot.web.account_metrics import account_metrics
from polybot.web.families import counter, gauge
from polybot.web.feed_metrics import feed_metrics


def metrics_registry(source: StatusSource) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FloorCollector(source))
    return registry


class FloorCollector(Collector):
    """Looks at the floor once per scrape, so that all figures of a scrape belong to one moment."""

    def __init__(self, source: StatusSource) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        status = self._source.status()
        yield from _floor(status)
        yield from _agents(status)
        yield from _books(status)
        yield from _stores(status)
        yield from circuits(status.circuits)
        if status.feed is not None:
            yield from feed_metrics(status.feed)
        if status.loop is not None:
            yield from _loop(status.loop)
        if status.account is not None:
            yield from account_metrics(status.account)


def _floor(status: FloorStatus) -> Iterator[Metric]:
    info = GaugeMetricFamily("polybot_run", "What is running; always 1.", labels=["run", "mode", "source", "version"])
    info.add_metric([status.run, status.mode, status.source, status.version], 1)
    yield info
    yield GaugeMetricFamily("polybot_fit", "1 while the floor is fit to trade.", value=float(status.fit))
    yield GaugeMetricFamily("polybot_equity_dollars", "Cash and open positions at their value.", status.equity / UNIT)
    yield GaugeMetricFamily("polybot_cash_dollars", "Cash not in positions.", status.cash / UNIT)
    yield GaugeMetricFamily(
        "polybot_pnl_dollars", "Profit and loss since the start, fees taken off.", status.pnl / UNIT
    )
    yield GaugeMetricFamily("polybot_exposure_dollars", "Cost of all open positions.", status.exposure / UNIT)
    told = "Of it, fills that are matched and not confirmed yet."
    yield GaugeMetricFamily("polybot_provisional_dollars", told, status.provisional / UNIT)
    if status.exposure_max is not None:
        yield GaugeMetricFamily("polybot_exposure_limit_dollars", "Most that may be open.", status.exposure_max / UNIT)
    yield GaugeMetricFamily("polybot_fees_paid_dollars", "Venue fees paid since the start.", status.fees / UNIT)
    yield CounterMetricFamily("polybot_trades", "Trades made.", status.trades)
    yield CounterMetricFamily("polybot_events_processed", "Market events applied.", status.position)
    yield CounterMetricFamily("polybot_windows_settled", "Market windows settled.", status.windows_settled)
    yield GaugeMetricFamily("polybot_wall_time_seconds", "When this status was made.", status.wall_time / 1000)
    if status.market_time is not None:
        yield GaugeMetricFamily(
            "polybot_market_time_seconds", "Time of the last market event.", status.market_time / 1000
        )
    # Two breakers of one kind in one scope are one label set, and Prometheus refuses a set that comes twice.
    paused = sorted({(pause.scope, pause.breaker) for pause in status.paused})
    yield gauge(
        "polybot_paused", "1 for every open breaker.", ["scope", "breaker"], [(labels, 1.0) for labels in paused]
    )
    yield GaugeMetricFamily("polybot_paused_count", "Open breakers.", value=len(status.paused))


def _agents(status: FloorStatus) -> Iterator[Metric]:
    agents = [((agent.id,), agent) for agent in status.agents]
    yield gauge(
        "polybot_agent_state",
        "1 for the state the agent is in, 0 for the others.",
        ["agent", "role", "state"],
        [((a.id, a.role, state.value), float(a.state is state)) for a in status.agents for state in AgentState],
    )
    yield gauge(
        "polybot_agent_beat_age_seconds",
        "Seconds since the agent last made progress.",
        ["agent"],
        [(key, agent.last_beat_age_s) for key, agent in agents],
    )
    yield counter("polybot_agent_restarts", "Restarts.", ["agent"], [(k, a.restarts) for k, a in agents])
    yield counter("polybot_agent_trades", "Trades made.", ["agent"], [(k, a.trades) for k, a in agents])
    yield counter("polybot_agent_wins", "Trades won.", ["agent"], [(k, a.wins) for k, a in agents])
    yield gauge("polybot_agent_win_ratio", "Wins over settled trades.", ["agent"], [(k, a.win_rate) for k, a in agents])
    yield gauge("polybot_agent_pnl_dollars", "Profit and loss.", ["agent"], [(k, a.pnl / UNIT) for k, a in agents])
    yield gauge("polybot_agent_fees_dollars", "Fees paid.", ["agent"], [(k, a.fees / UNIT) for k, a in agents])
    yield gauge("polybot_agent_equity_dollars", "Equity.", ["agent"], [(k, a.equity / UNIT) for k, a in agents])
    yield gauge("polybot_agent_exposure_dollars", "Open cost.", ["agent"], [(k, a.exposure / UNIT) for k, a in agents])


def _books(status: FloorStatus) -> Iterator[Metric]:
    rows = [
        ((market.series, name), quote)
        for market in current_markets(status.markets)
        for name, quote in (("up", market.up), ("down", market.down))
    ]
    yield gauge(
        "polybot_book_age_seconds",
        "Market time since the venue last spoke about the book of the series' current window.",
        ["series", "outcome"],
        [(key, None if quote.book_age_ms is None else quote.book_age_ms / 1000) for key, quote in rows],
    )
    yield gauge(
        "polybot_book_state",
        "1 for the state the current window's book is in.",
        ["series", "outcome", "state"],
        [((*key, quote.book_state.value), 1.0) for key, quote in rows],
    )


def _stores(status: FloorStatus) -> Iterator[Metric]:
    stores = (("database", status.database), ("redis", status.redis), ("journal", status.journal))
    yield gauge(
        "polybot_store_state",
        "1 for the state the store is in, 0 for the others.",
        ["store", "state"],
        [((name, state.value), float(store.state is state)) for name, store in stores for state in StoreState],
    )
    yield gauge(
        "polybot_store_lag_rows",
        "Facts journaled that the store does not have yet.",
        ["store"],
        [((name,), store.lag_rows) for name, store in stores],
    )


def circuits(seen: Sequence[CircuitSnapshot]) -> Iterator[Metric]:
    yield gauge(
        "polybot_circuit_state",
        "1 for the state the breaker on an outside dependency is in, 0 for the others.",
        ["circuit", "state"],
        [((c.name, state.value), float(c.state is state)) for c in seen for state in CircuitState],
    )
    yield counter(
        "polybot_circuit_trips",
        "Times it opened after having been closed.",
        ["circuit"],
        [((circuit.name,), circuit.trips) for circuit in seen],
    )
    yield gauge(
        "polybot_circuit_failure_ratio",
        "Failed calls over all calls of its window.",
        ["circuit"],
        [((circuit.name,), circuit.error_rate) for circuit in seen],
    )


def _loop(loop: LoopHealth) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "polybot_loop_longest_stall_seconds", "Longest that the event loop stood still.", loop.longest_stall_s
    )
    yield CounterMetricFamily("polybot_loop_stalls", "Stalls of over a quarter of a second.", loop.stalls)
    yield CounterMetricFamily("polybot_loop_stalled_seconds", "Those stalls summed.", loop.stalled_s)
    yield CounterMetricFamily("polybot_loop_standstills", "Times the process did not run at all.", loop.standstills)


def current_markets(markets: Iterable[MarketStatus]) -> list[MarketStatus]:
    """One market per series: the running window, or the last one listed while none runs."""
    current: dict[SeriesId, MarketStatus] = {}
    for market in sorted(markets, key=lambda market: market.window_end):
        known = current.get(market.series)
        if known is None or known.seconds_left <= 0:
            current[market.series] = market
    return list(current.values())
