"""What the migration page does to kube-proxy's DaemonSet, and which nodes run what at each step."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import kubernetes_validate
import yaml

from chart.rendering import CHART, only, pod_of, render
from docs.pages import DOCS, blocks

PAGE = DOCS / "guides/migration.md"
LABEL = "ipvsagent.io/service-proxy"
KUBE_PROXY: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "kube-proxy"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "kube-proxy"}},
            "spec": {
                "hostNetwork": True,
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "containers": [{"name": "kube-proxy", "image": "registry.example/kube-proxy:v1.36.2"}],
            },
        },
    },
}


def _patches() -> Iterator[tuple[str, Any]]:
    """Kind and body of each patch of the page, in its order."""
    for block in blocks(PAGE):
        for command in block.commands:
            words = shlex.split(command.text)
            if words[0] == "kubectl" and "patch" in words:
                (kind,) = [word.removeprefix("--type=") for word in words if word.startswith("--type=")]
                (body,) = [json.loads(word) for previous, word in pairwise(words) if previous == "-p"]
                yield kind, body


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        found[name] = _merged(found.get(name), value)
    return found


def _without(target: Any, operations: list[dict[str, str]]) -> Any:
    """RFC 6902, the operation `remove` alone."""
    found = copy.deepcopy(target)
    for operation in operations:
        assert operation.keys() == {"op", "path"}
        assert operation["op"] == "remove"
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = found
        for part in way:
            place = place[part]
        del place[last]
    return found


def _runs_on(daemon_set: Any, labels: dict[str, str]) -> bool:
    """Whether the scheduler puts a pod of it on a node with these labels, as far as these manifests ask."""
    pod = pod_of(daemon_set)
    if not pod.get("nodeSelector", {}).items() <= labels.items():
        return False
    affinity = pod.get("affinity", {}).get("nodeAffinity", {})
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", []):
        for expression in term["matchExpressions"]:
            assert expression["operator"] == "NotIn"
            if labels.get(expression["key"]) in expression["values"]:
                return False
    return True


def test_no_node_ever_runs_both_and_none_is_without_after_a_step() -> None:
    """There and back: kube-proxy's patches and the chart's values, on a node with the label and on one without."""
    plain = {"kubernetes.io/os": "linux"}
    labelled = {**plain, LABEL: "ipvsagent"}
    agent = {on: only(render({"migration": {"enabled": on}}), "DaemonSet") for on in (True, False)}
    (kind, kept_away), (second_kind, nowhere), (third_kind, back) = _patches()
    assert (kind, second_kind, third_kind) == ("merge", "merge", "json")

    during = _merged(KUBE_PROXY, kept_away)
    assert (_runs_on(during, plain), _runs_on(agent[True], plain)) == (True, False)
    assert (_runs_on(during, labelled), _runs_on(agent[True], labelled)) == (False, True)

    over = _merged(during, nowhere)
    for node in (plain, labelled):
        assert (_runs_on(over, node), _runs_on(agent[False], node)) == (False, True)

    returned = _without(over, back)
    assert returned == during
    for daemon_set in (during, over, returned):
        kubernetes_validate.validate(daemon_set, "1.37", strict=True)
        assert pod_of(daemon_set)["containers"] == pod_of(KUBE_PROXY)["containers"]


def test_the_label_is_the_one_of_the_chart() -> None:
    """Unless the values set another one."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["migration"]
    assert (values["label"], values["value"]) == (LABEL, "ipvsagent")
    text = PAGE.read_text(encoding="utf-8")
    assert f"kubectl label node NODE {LABEL}=ipvsagent\n" in text
    assert f"kubectl label node NODE {LABEL}-\n" in text
