"""The agent serves the metrics of kube-proxy's IPVS mode, or the list says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from ipvsagent.serve.metrics.definitions import EVERY
from unit.serve.metrics.scene import Scene

DATA = Path(__file__).parents[3] / "data" / "kube-proxy-metrics.yaml"
KUBE_PROXY: dict[str, Any] = yaml.safe_load(DATA.read_text(encoding="utf-8"))


def _served(scene: Scene) -> dict[str, Metric]:
    families = text_string_to_metric_families(scene.text())
    return {family.name + "_total" * (family.type == "counter"): family for family in families}


@pytest.mark.parametrize("series", KUBE_PROXY["series"], ids=lambda series: series["name"])
def test_a_series_of_kube_proxy_has_the_same_type_labels_and_buckets(busy: Scene, series: dict[str, Any]) -> None:
    """MET-01 to MET-21."""
    family = _served(busy)[series["name"]]
    assert family.type == series["type"]
    assert {frozenset(s.labels.keys() - {"le"}) for s in family.samples} == {frozenset(series["labels"])}
    bounds = {float(s.labels["le"]) for s in family.samples if "le" in s.labels}
    assert bounds - {float("inf")} == set(series.get("buckets", ()))


def test_each_other_name_of_kubernetes_is_served_or_left_out_with_a_reason() -> None:
    """MET-21: no name is in both lists, and the agent adds none to kube-proxy's names."""
    compared = {series["name"] for series in KUBE_PROXY["series"]}
    left_out = {name for group in KUBE_PROXY["left_out"] for name in group["names"]}
    served = {d.name for d in EVERY if not d.name.startswith("ipvsagent_")}
    assert compared == served
    assert not left_out & served
    assert all(group["reason"].endswith(".") for group in KUBE_PROXY["left_out"])
