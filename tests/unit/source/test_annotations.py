"""Annotations that cannot be used, and what is kept of the others."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from ipvsagent.model.objects import EndpointSlice, Kind, Scheduling, Service
from ipvsagent.source import api_types
from ipvsagent.source.decode import Usable, decode_json, decode_value

SCHEDULER, FLAGS = "ipvsagent.io/scheduler", "ipvsagent.io/scheduler-flags"


def service(annotations: Any, *, from_yaml: bool = False) -> tuple[Service, list[str]]:
    """A Service with annotations, and its problems without the words before the field."""
    tree = {
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"clusterIP": "10.96.0.10"},
    }
    result = decode_value(Kind.SERVICE, tree) if from_yaml else decode_json(Kind.SERVICE, msgspec.json.encode(tree))
    assert isinstance(result, Usable)
    assert isinstance(result.object, Service)
    return result.object, [str(p).removeprefix("Service shop/web: metadata.annotations") for p in result.problems]


def weight(value: Any) -> tuple[int, list[str]]:
    """The weight that an annotation gives, and its problems."""
    labels = {"kubernetes.io/service-name": "web"}
    annotations = {"ipvsagent.io/weight": value}
    metadata = {"name": "one", "namespace": "shop", "labels": labels, "annotations": annotations}
    result = decode_value(Kind.ENDPOINT_SLICE, {"metadata": metadata, "addressType": "IPv4"})
    assert isinstance(result, Usable)
    assert isinstance(result.object, EndpointSlice)
    return result.object.weight, [str(p).removeprefix("EndpointSlice shop/one: ") for p in result.problems]


def test_a_service_without_wishes_carries_none() -> None:
    """Ten thousand Services cost nothing for what few of them have."""
    for given in (None, {}, {"kubectl.kubernetes.io/last-applied-configuration": "{}"}, {SCHEDULER: ""}):
        made, problems = service(given)
        assert made.scheduling is None
        assert problems == []


@pytest.mark.parametrize(
    ("annotations", "scheduling", "problem"),
    [
        (
            {SCHEDULER: "lcc", FLAGS: "flag-1"},
            None,
            "[ipvsagent.io/scheduler] `lcc` is not a scheduler; did you mean `lc`; the cluster's scheduler is used",
        ),
        (
            {SCHEDULER: "x" * 100_000},
            None,
            f"[ipvsagent.io/scheduler] `{'x' * 40}…` is not a scheduler; the cluster's scheduler is used",
        ),
        (
            {SCHEDULER: "sh", FLAGS: "sh-prot,sh-fallback"},
            Scheduling("sh", 0x8, "sh", f"metadata.annotations[{SCHEDULER}]", f"metadata.annotations[{FLAGS}]"),
            "[ipvsagent.io/scheduler-flags] `sh-prot` is none of flag-1, flag-2, flag-3, sh-fallback, sh-port, "
            "mh-fallback, mh-port; it is ignored",
        ),
        (
            {SCHEDULER: "mh", FLAGS: "port"},
            Scheduling("mh", None, "", f"metadata.annotations[{SCHEDULER}]", f"metadata.annotations[{FLAGS}]"),
            "[ipvsagent.io/scheduler-flags] `port` is none of flag-1, flag-2, flag-3, sh-fallback, sh-port, "
            "mh-fallback, mh-port; it is ignored",
        ),
        (
            {FLAGS: "sh-port,mh-port"},
            Scheduling("", 0x10, "sh", "", f"metadata.annotations[{FLAGS}]"),
            "[ipvsagent.io/scheduler-flags] `mh-port` is not a flag of `sh`; it is ignored",
        ),
        (
            {"kube-router.io/service.schedflags": "sh-port"},
            None,
            "[kube-router.io/service.schedflags] `sh-port` is none of flag-1, flag-2, flag-3, mh-fallback, mh-port; "
            "it is ignored",
        ),
        (
            {"ipvsagent.io/local": "yes"},
            None,
            "[ipvsagent.io/local] `yes` is none of true, false; externalTrafficPolicy Local is used",
        ),
        (
            {"kube-router.io/service.local": "yes"},
            None,
            "[kube-router.io/service.local] `yes` is none of true, false; it is ignored",
        ),
        (
            {"ipvsagent.io/skip-load-balancer-ips": "1"},
            None,
            "[ipvsagent.io/skip-load-balancer-ips] `1` is none of true, false; load balancer IPs are not served",
        ),
        ({SCHEDULER: 5}, None, "[ipvsagent.io/scheduler] is not a string (quote the value); it is ignored"),
    ],
)
def test_what_cannot_be_used_is_named_and_costs_only_itself(
    annotations: dict[str, object], scheduling: Scheduling | None, problem: str
) -> None:
    """DEV-15, KR-01, KR-02, KR-30: the Service is served; the problem names the annotation."""
    made, problems = service(annotations)
    assert made.scheduling == scheduling
    assert problems == [problem]


def test_an_unquoted_truth_value_is_not_text() -> None:
    """An API server would refuse `true` without quotes; a file is read as far as it can be."""
    made, problems = service({"ipvsagent.io/local": True, "kube-router.io/service.local": "true"}, from_yaml=True)
    assert made.external_policy == "Local"
    words = "is not a string (quote the value); externalTrafficPolicy Local is used"
    assert problems == [f"[ipvsagent.io/local] {words}"]


@pytest.mark.parametrize(("text", "wanted"), [("0", 0), ("1", 1), (" 3 ", 3), ("65535", 65535), ("007", 7)])
def test_weights_of_0_to_65535_count(text: str, wanted: int) -> None:
    """DEV-15."""
    assert weight(text) == (wanted, [])


@pytest.mark.parametrize("text", ["65536", "-1", "1.5", "", "heavy", "٣", "9" * 30, None])
def test_other_weights_are_1_with_a_problem(text: str | None) -> None:
    """DEV-15: a slice with a bad weight is served like all others."""
    shown = text or ""
    problem = f"metadata.annotations[ipvsagent.io/weight] `{shown}` is not a number in 0-65535; the weight is 1"
    assert weight(text) == (1, [problem])


def test_an_unquoted_weight_is_not_text() -> None:
    """As for every annotation."""
    what = "metadata.annotations[ipvsagent.io/weight] is not a string (quote the value); it is ignored"
    assert weight(3) == (1, [what])


def test_annotations_that_do_not_count_are_never_held() -> None:
    """The last applied configuration of a Service is larger than all that is used of it."""
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 1_000_000, SCHEDULER: "sh"}
    data = msgspec.json.encode({"metadata": {"name": "web", "annotations": annotations}})
    decoder = msgspec.json.Decoder(api_types.Service)
    tracemalloc.start()
    try:
        found = decoder.decode(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.metadata.annotations is not None
    assert found.metadata.annotations.scheduler == "sh"
    assert most < 100_000
