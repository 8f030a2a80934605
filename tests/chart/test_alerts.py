"""Each alert fires when what it is for happens, and none does on a node that is well: Prometheus' own tool tells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from chart.rendering import MATRIX, only, render

MINUTES = 60
# Series by metric and labels, in promtool's notation: first value, growth a minute, number of minutes.
_STILL, _ONE = f"0x{MINUTES}", f"1x{MINUTES}"
QUEUED = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds"
DONE = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
LATENCY = "kubeproxy_network_programming_duration_seconds_bucket"
WELL = {
    "up": _ONE,
    "process_start_time_seconds": _STILL,
    "ipvsagent_complete": _ONE,
    "ipvsagent_synchronised": _ONE,
    "ipvsagent_failing_items": _STILL,
    'kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}': _STILL,
    "ipvsagent_api_data_age_seconds": f"20x{MINUTES}",
    f'{LATENCY}{{le="1"}}': f"0+60x{MINUTES}",
    f'{LATENCY}{{le="60"}}': f"0+60x{MINUTES}",
    f'{LATENCY}{{le="+Inf"}}': f"0+60x{MINUTES}",
    f'{QUEUED}{{ip_family="IPv4"}}': f"10+60x{MINUTES}",
    f'{DONE}{{ip_family="IPv4"}}': f"10+60x{MINUTES}",
    'ipvsagent_drift_found_total{kind="rules"}': f"3x{MINUTES}",
    'ipvsagent_drift_repaired_total{kind="rules"}': f"3x{MINUTES}",
    "ipvsagent_conflicts": _STILL,
    'ipvsagent_invalid_objects{kind="Service"}': _STILL,
    "ipvsagent_refused_addresses": _STILL,
    'ipvsagent_ipset_entries{set="KUBE-CLUSTER-IP"}': f"60000x{MINUTES}",
    'ipvsagent_ipset_max_entries{set="KUBE-CLUSTER-IP"}': f"65536x{MINUTES}",
}
HAPPENS = {
    "IpvsagentRestarting": {"process_start_time_seconds": f"0+60x{MINUTES}"},
    "IpvsagentIncomplete": {"ipvsagent_complete": _STILL},
    "IpvsagentNotSynchronised": {"ipvsagent_synchronised": _STILL},
    "IpvsagentFailingItems": {"ipvsagent_failing_items": _ONE},
    "IpvsagentIptablesFailures": {
        'kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}': f"0+1x{MINUTES}"
    },
    "IpvsagentApiDataOld": {"ipvsagent_api_data_age_seconds": f"0+60x{MINUTES}"},
    "IpvsagentSlow": {f'{LATENCY}{{le="1"}}': _STILL},
    "IpvsagentStuck": {
        f'{QUEUED}{{ip_family="IPv4"}}': f"20x{MINUTES}",
        f'{DONE}{{ip_family="IPv4"}}': f"10x{MINUTES}",
    },
    "IpvsagentDriftReturns": {
        'ipvsagent_drift_found_total{kind="rules"}': f"0+1x{MINUTES}",
        'ipvsagent_drift_repaired_total{kind="rules"}': f"0+1x{MINUTES}",
    },
    "IpvsagentDriftRemains": {'ipvsagent_drift_repaired_total{kind="rules"}': f"2x{MINUTES}"},
    "IpvsagentConflicts": {"ipvsagent_conflicts": _ONE},
    "IpvsagentInvalidObjects": {'ipvsagent_invalid_objects{kind="Service"}': _ONE},
    "IpvsagentRefusedAddresses": {"ipvsagent_refused_addresses": _ONE},
    "IpvsagentIpsetFull": {'ipvsagent_ipset_entries{set="KUBE-CLUSTER-IP"}': f"65000x{MINUTES}"},
}
"""What is different from a node that is well, by the one alert that it leads to."""


def _labelled(series: str, instance: str) -> str:
    """The series of one node's agent."""
    name, _, labels = series.rstrip("}").partition("{")
    return f'{name}{{job="ipvsagent",instance="{instance}"{"," if labels else ""}{labels}}}'


def _firing(series: dict[str, str], folder: Path, expected: set[str]) -> None:
    """Have promtool compare what fires after an hour.

    Args:
        series: complete ones.
        expected: names of alerts.
    """
    rules = only(render(MATRIX["monitoring"]), "PrometheusRule")["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'sort(group by (alertname) (ALERTS{alertstate="firing"}))',
                "eval_time": f"{MINUTES}m",
                "exp_samples": samples,
            }
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _node(changes: dict[str, str]) -> dict[str, str]:
    assert changes.keys() <= WELL.keys()
    return {_labelled(name, "10.0.0.1:10249"): values for name, values in {**WELL, **changes}.items()}


def test_nothing_fires_where_all_is_well(tmp_path: Path) -> None:
    """For an hour, with changes all the time."""
    _firing(_node({}), tmp_path, set())


@pytest.mark.parametrize("alert", HAPPENS)
def test_an_alert_fires_for_what_it_is_for_and_no_other_does(alert: str, tmp_path: Path) -> None:
    """One thing at a time goes wrong."""
    _firing(_node(HAPPENS[alert]), tmp_path, {alert})


def test_an_agent_that_does_not_answer_raises_an_alert(tmp_path: Path) -> None:
    """One of two; the other one goes on."""
    down = {_labelled("up", "10.0.0.2:10249"): _STILL}
    _firing({**_node({}), **down}, tmp_path, {"IpvsagentDown"})


def test_a_cluster_without_agents_raises_an_alert(tmp_path: Path) -> None:
    """Without any series there is nothing to compare."""
    _firing({"up": _ONE}, tmp_path, {"IpvsagentAbsent"})


def test_every_alert_is_tried() -> None:
    """A new one needs a case."""
    rules = only(render(MATRIX["monitoring"]), "PrometheusRule")["spec"]
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert names == HAPPENS.keys() | {"IpvsagentDown", "IpvsagentAbsent"}
