"""What the chart puts into its ConfigMap is what the agent reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, MATRIX, Values, configuration, only, pod_of, render
from ipvsagent.config.load import parse_configuration
from ipvsagent.config.types import FIELDS, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.model.address import Family, Network


def _settings(values: Values) -> Settings:
    loaded = parse_configuration(configuration(render(values)))
    assert loaded.warnings == ()
    return loaded.settings


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_the_agent_takes_the_rendered_configuration(values: Values) -> None:
    """Neither errors nor warnings."""
    assert isinstance(_settings(values), Settings)


def test_the_defaults_of_the_chart_are_those_of_the_agent() -> None:
    """But for the OOM score: a lower one than kubelet gives would need one more capability."""
    assert _settings({}) == replace(Settings(), oom_score_adjust=-997)


@pytest.mark.parametrize(("value", "mode"), [("auto", "auto"), ("off", "off"), (False, "off"), (True, "on")])
def test_on_and_off_may_be_written_as_yaml_takes_them(value: object, mode: str) -> None:
    """`estimation: on` in a file of values is true."""
    assert _settings({"config": {"ipvs": {"estimation": value}}}).estimation == mode


def test_every_field_of_the_agent_is_a_value_of_the_chart() -> None:
    """So that the schema checks it and the README explains it."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["config"]
    assert set(_paths(values)) == {field.path for field in FIELDS}


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from _paths(below, f"{path}.{name}" if path else name)
    else:
        yield path


def test_values_arrive() -> None:
    """Of each kind one: texts, lists, durations, numbers beyond a million."""
    settings = _settings(MATRIX["everything"])
    assert settings.local_detection.mode is LocalDetectionMode.INTERFACE_NAME_PREFIX
    assert settings.local_detection.interface_name_prefix == "veth"
    assert settings.scheduler == "sh"
    assert settings.effective_flags == 0x18
    assert settings.exclude_networks == (Network.parse("198.51.100.0/24"),)
    assert settings.conntrack.min == 2_000_000
    assert settings.kubeconfig == "/etc/kubernetes/kubeconfig"


def test_dual_stack_has_a_pod_network_of_each_family() -> None:
    """CFG-38."""
    settings = _settings(MATRIX["dual stack"])
    assert settings.cluster_network(Family.IPV4) == Network.parse("10.244.0.0/16")
    assert settings.cluster_network(Family.IPV6) == Network.parse("fd00:10:244::/56")
    assert str(settings.metrics_listen) == "[::1]:10249"


def test_a_cluster_cidr_may_be_a_list() -> None:
    """CFG-38, as kube-proxy cannot have it."""
    settings = _settings({"config": {"clusterCIDR": ["10.244.0.0/16", "fd00:10:244::/56"]}})
    assert settings.local_detection.cluster_networks == (
        Network.parse("10.244.0.0/16"),
        Network.parse("fd00:10:244::/56"),
    )


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({}, "127.0.0.1:10249"),
        ({"podMonitor": {"enabled": True}}, "0.0.0.0:10249"),
        ({"serviceMonitor": {"enabled": True}}, "0.0.0.0:10249"),
        ({"serviceMonitor": {"enabled": True}, "config": {"bindAddress": "::"}}, "[::]:10249"),
        ({"podMonitor": {"enabled": True}, "config": {"metricsBindAddress": "192.0.2.1:9"}}, "192.0.2.1:9"),
    ],
    ids=["default", "pod monitor", "service monitor", "IPv6", "given"],
)
def test_metrics_are_open_to_others_only_where_they_are_scraped(values: Values, address: str) -> None:
    """CFG-05: this host alone by default."""
    assert str(_settings(values).metrics_listen) == address


@pytest.mark.parametrize("name", MATRIX)
def test_another_scheduler_changes_the_configuration_alone(name: str) -> None:
    """No pod restarts: the agent follows the file. Of the settings, the scheduler alone changes."""
    values = {k: v for k, v in MATRIX[name].items() if k != "restartOnConfigChange"}
    before = render(values)
    config = values.get("config", {})
    after = render({**values, "config": {**config, "ipvs": {**config.get("ipvs", {}), "scheduler": "wlc"}}})
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [(m["kind"], list(m["data"])) for m in changed] == [("ConfigMap", ["configuration.yaml"])]
    old_settings, new_settings = (asdict(parse_configuration(configuration(m)).settings) for m in (before, after))
    assert {k for k in old_settings if old_settings[k] != new_settings[k]} == {"scheduler"}
    assert new_settings["scheduler"] == "wlc"


def test_pods_restart_with_a_changed_configuration_if_that_is_configured() -> None:
    """For the fields that count at start only."""
    annotations = [
        only(render({"restartOnConfigChange": True, "config": {"oomScoreAdj": score}}), "DaemonSet")["spec"][
            "template"
        ]["metadata"]["annotations"]
        for score in (-997, -500)
    ]
    assert annotations[0] != annotations[1]


def test_the_fields_that_count_at_start_only_are_named() -> None:
    """Where `restartOnConfigChange` is explained; all others are followed."""
    wanted = {field.path for field in FIELDS if field.restart}
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    comment = values.rpartition("\nrestartOnConfigChange:")[0].rpartition("\n\n")[2].replace("\n# ", " ")
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Changing the configuration\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\w+\.\w+|\w*[a-z][A-Z]\w*", comment.partition("only for")[2])) == wanted
    assert set(re.findall(r"`([\w.]+)`", section)) - {"config"} == wanted


def test_the_configuration_is_mounted_as_a_folder() -> None:
    """A file mounted by itself would never change."""
    daemon_set = only(render({}), "DaemonSet")
    (agent,) = pod_of(daemon_set)["containers"]
    (mount,) = [m for m in agent["volumeMounts"] if m["name"] == "configuration"]
    assert "subPath" not in mount
    assert f"--config={mount['mountPath']}/configuration.yaml" in agent["command"]
