"""Figures of the comparison page, from the same results as the benchmark page."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from bench.report import Figures, median

PAGE = Path("docs/concepts/comparison.md")
_PLACE = re.compile(r"(<!-- generated: figures -->\n).*?(<!-- end -->)", re.DOTALL)
# VS-15: two `get VS` and one `list RS` for each virtual server in each pass.
_REQUESTS_OF_KUBE_PROXY = 3


def with_figures(text: str, results: Figures) -> str:
    """Return the page with the table for these results."""
    return _PLACE.sub(lambda found: found[1] + _table(results) + found[2], text)


def _table(results: Figures) -> str:
    largest = max(one["services"] for one in results["steady"])
    (steady,) = [one for one in results["steady"] if one["services"] == largest]
    (native,) = [one for one in results["native"]["nodes"] if one["services"] == largest]
    runs = [one for one in results["first_sync"] if one["services"] == largest]
    by_rule = _REQUESTS_OF_KUBE_PROXY * runs[0]["virtual_servers"]
    rows = [
        (
            "messages to IPVS for one endpoint more",
            f"{by_rule:,} requests, as in every pass",
            str(_usual(steady["change"]["messages"])),
        ),
        (
            "messages to the kernel that a restart writes where all is right",
            "none to IPVS (VS-05); all rules again (IPT-02)",
            str(steady["adoption"]["modifying_messages"]),
        ),
        (
            "iptables rules that Services add",
            "one for each restricted load balancer (IPT-80)",
            str(max(r["rules_after"] - r["rules_before"] for r in runs)),
        ),
        (
            "one endpoint more, from the event to the acknowledgement",
            "not measured",
            f"{steady['change']['median_seconds'] * 1000:.2f} ms",
        ),
        (
            "first synchronisation; the kernel's share of it",
            "not measured",
            f"{median(runs, largest, 'total_seconds'):.1f} s; {median(runs, largest, 'floor_seconds'):.1f} s",
        ),
        ("a restart, until all is compared", "not measured", f"{steady['adoption']['seconds']:.1f} s"),
        ("resident memory", "not measured", f"{native['programmed_mebibytes']:.0f} MiB"),
        ("share of one CPU while nothing happens", "not measured", f"{native['idle_cpu_percent']:.2f} %"),
    ]
    head = f"| {largest:,} Services with 10 endpoints each | kube-proxy, by its rules | ipvsagent, measured |\n"
    return f"{head}|---|---|---:|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _usual(messages: list[Figures]) -> int:
    """Return the number of messages that most of the changes needed."""
    return int(statistics.mode(m["sent"] for m in messages for _ in range(m["changes"])))
