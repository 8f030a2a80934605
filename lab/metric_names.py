"""The page ``docs/metrics.md``, which `make reference` writes from the definitions of all metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from ipvsagent.serve.metrics import definitions as names
from ipvsagent.serve.metrics.definitions import Definition

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
KUBE_PROXY = Path(__file__).parents[1] / "tests" / "data" / "kube-proxy-metrics.yaml"

_HEAD = """\
# Metrics

`make reference` generates this page.

`/metrics` uses Prometheus' text format, version 0.0.4. Answers are cached for two seconds.

- Counters of a Service are the sums over all virtual servers of a port, including node ports. They survive the
  removal and return of a virtual server, and end when the Service is deleted. The kernel updates its counters every
  two seconds; traffic between the last update and the removal of a virtual server is not counted.
- While the kernel's rate estimation is off (`ipvs.estimation`), `ipvsagent_ipvs_estimation` is 0, and the kernel
  updates the counters of virtual servers only when a scrape requests it: for three seconds, at most every 30 seconds.
  The counters of Services and real servers stay complete, but are one scrape late. The counters of the whole node and
  all numbers of connections are current. If the agent cannot write the setting, or has not written it yet, it leaves
  out the counters that would not change, so that nothing looks idle that is not.
- Each port of a Service has seven samples. With `realServerMetrics: true` each real server has seven more, and the
  kernel is asked once for each virtual server. Use this on nodes with hundreds of Services, not thousands. At most
  10,000 real servers have these metrics; `ipvsagent_real_server_metrics_left_out` counts the virtual servers of the
  others.
- One pass writes both address families, so samples that differ only in `ip_family` have the same value.
- `kubeproxy_sync_proxy_rules_no_local_endpoints_total` is a gauge in spite of its name, as in kube-proxy. It counts a
  Service under the policy that finds no local endpoint, whether or not `strictLocalPolicy` is set.
- `kubernetes_build_info` has the version of the agent, which is not a Kubernetes release. Labels without a meaning
  for the agent are empty. `kubernetes_feature_enabled` has the feature gates that the agent uses.
- `/metrics/slis` has `kubernetes_healthcheck` and `kubernetes_healthchecks_total`.
"""

_GROUPS = (
    ("Names of kube-proxy", names.KUBE_PROXY),
    ("Requests to the API server", names.API_REQUESTS),
    ("Names of all components of Kubernetes", names.KUBERNETES),
    ("The agent", names.OWN),
    ("The node's traffic", names.NODE_TRAFFIC),
    ("Traffic of Services", (*names.SERVICE_TRAFFIC, *names.SERVICE_CONNECTIONS)),
    (
        "Traffic of real servers, with `realServerMetrics: true`",
        (*names.REAL_SERVER_TRAFFIC, *names.REAL_SERVER_CONNECTIONS),
    ),
    ("The process", names.PROCESS),
)


def page() -> str:
    """The page's text."""
    return _HEAD + "".join(part for title, group in _GROUPS for part in _table(title, group)) + _left_out()


def _left_out() -> str:
    """The metrics of kube-proxy that the agent does not serve, with the reasons."""
    groups = yaml.safe_load(KUBE_PROXY.read_text(encoding="utf-8"))["left_out"]
    head = "\n## Metrics of kube-proxy that the agent does not have\n\n| Name | Reason |\n|---|---|\n"
    rows = (f"| {', '.join(f'`{name}`' for name in g['names'])} | {g['reason']} |\n" for g in groups)
    return head + "".join(rows)


def _table(title: str, group: tuple[Definition, ...]) -> Iterator[str]:
    yield f"\n## {title}\n\n| Name | Type | Labels | Meaning | Rule |\n|---|---|---|---|---|\n"
    for definition in group:
        labels = ", ".join(f"`{label}`" for label in definition.labels)
        words = (f"`{definition.name}`", definition.kind, labels, definition.documentation, definition.rule)
        yield f"| {' | '.join(words)} |\n"
