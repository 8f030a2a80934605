"""Write ``docs/metrics.md`` from the code.

python -m lab.metric_names            # prints it
python -m lab.metric_names --write
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ipvsagent.serve.metrics import definitions as names
from ipvsagent.serve.metrics.definitions import Definition

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"

_HEAD = """\
# Metrics

`python -m lab.metric_names --write` makes this page; a test compares it with the code.

Prometheus' text format, version 0.0.4, at `/metrics`. An answer stands for two seconds.

- Counters of Services add up what all virtual servers of a port counted, node ports included. They survive the removal
  and return of a virtual server and end with the Service. The kernel brings its counts up to date every two seconds;
  what passes between that and the removal of a virtual server is not counted.
- Where the kernel's rate estimation is off (`ipvs.estimation`), `ipvsagent_ipvs_estimation` is 0 and the kernel adds up
  the counts of virtual servers only when a scrape asks for it: for three seconds, every 30 seconds at most. The
  counters of Services and real servers lose nothing, but lag behind by a scrape. The counters of the whole node and all
  numbers of connections are of the moment. Counters that would stand still, because the agent may not write the setting
  or has not yet, are left out, so that nothing looks idle that is not.
- A Service's port has seven samples. With `realServerMetrics: true` each real server has seven more, and the kernel is
  asked once for each virtual server: for nodes with hundreds of Services, not with thousands. Beyond 10,000 real
  servers there are none for the rest, and `ipvsagent_real_server_metrics_left_out` counts their virtual servers.
- One pass writes both address families, so samples that differ in `ip_family` alone have the same value.
- `kubeproxy_sync_proxy_rules_no_local_endpoints_total` is a gauge in spite of its name, as kube-proxy has it; it counts
  under the policy of the way in concerned, whether or not `strictLocalPolicy` is set.
- `kubernetes_build_info` has the agent's own version, which is none of Kubernetes' releases; labels that mean nothing
  to it are empty. `kubernetes_feature_enabled` has the gates that mean something to the agent.
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
    return _HEAD + "".join(part for title, group in _GROUPS for part in _table(title, group))


def _table(title: str, group: tuple[Definition, ...]) -> Iterator[str]:
    yield f"\n## {title}\n\n| Name | Type | Labels | Meaning | Rule |\n|---|---|---|---|---|\n"
    for definition in group:
        labels = ", ".join(f"`{label}`" for label in definition.labels)
        words = (f"`{definition.name}`", definition.kind, labels, definition.documentation, definition.rule)
        yield f"| {' | '.join(words)} |\n"


def main() -> None:
    """Print or write the page."""
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
