"""Prometheus families made from rows: one sample for each set of labels, none where there is no figure."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Labelled = Iterable[tuple[tuple[str, ...], float | None]]


def gauge(name: str, text: str, labels: list[str], samples: Labelled) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def counter(name: str, text: str, labels: list[str], samples: Labelled) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Labelled) -> Metric:
    for values, sample in samples:
        if sample is not None:
            family.add_metric(values, sample)
    return family
