"""Prometheus families made from rows: one sample for each set of labels, none where there is no figure."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Labelled = Iterable[tuple[tuple[str, ...], float | None]]


def gauge(name: str, text: str, labels: list[str], samples: Labelled) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, sample in samples:
        if sample is not None:
            family.add_metric(values, sample)
    return family


def counter(name: str, text: str, labels: list[str], samples: Labelled) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, sample in samples:
        if sample is not None:
            family.add_metric(values, sample)
    return family
