"""Metric families from plain numbers and `definitions`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ipvsagent.instrumentation.counters import SUCCESS, Histogram
from ipvsagent.model.address import Family
from ipvsagent.serve.metrics import definitions as names

Values = (
    Mapping[tuple[()], float]
    | Mapping[tuple[str], float]
    | Mapping[tuple[str, str], float]
    | Mapping[tuple[str, str, str], float]
    | Mapping[tuple[str, ...], float]
)
"""Numbers by label values; the key is () if there are no labels."""


def number(name: str, value: float) -> Metric:
    """A family of one sample without labels."""
    return numbers(name, {(): value})


def numbers(name: str, values: Values) -> Metric:
    """A family of counters or gauges, with the definition of its name."""
    definition = names.BY_NAME[name]
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(name, definition.documentation, labels=definition.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def histogram(name: str, numbers_of: Histogram, families: Iterable[str] = ()) -> Metric:
    """A histogram; the same numbers for each address family, or once if it has no labels."""
    definition = names.BY_NAME[name]
    family = HistogramMetricFamily(name, definition.documentation, labels=definition.labels)
    counts, total = buckets(numbers_of), numbers_of.sum
    for labels in [[f] for f in families] if definition.labels else [[]]:
        family.add_metric(labels, counts, total)
    return family


def buckets(numbers_of: Histogram) -> list[tuple[str, float]]:
    """Upper bounds with the number of observations up to each."""
    found: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*numbers_of.bounds, float("inf")), numbers_of.counts.copy(), strict=True):
        so_far += count
        found.append((_bound_text(bound), so_far))
    return found


def _bound_text(bound: float) -> str:
    """The bound as Go writes it: 0.25, 262144, 1.048576e+06."""
    if bound == float("inf"):
        return "+Inf"
    if bound < 1e6:
        return f"{bound:g}"
    mantissa, _, exponent = f"{bound:.9e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"


def by_family(counts: Mapping[Family, int]) -> dict[tuple[str, ...], int]:
    """Counts with the label of each family."""
    return {(family.label,): count for family, count in dict(counts).items()}


def words(operation: type) -> str:
    """``AddVirtualServer`` as ``add_virtual_server``; the only operation on a flow is to delete it."""
    word = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.__name__).lower()
    return f"delete_{word}" if word == "flow" else word


def result(kind: type) -> str:
    """``success``, or the error."""
    return SUCCESS if kind is type(None) else words(kind)
