"""Make targets, a table, a page and plots from raw figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, NamedTuple

from bench.plot import line_plot

Figures = dict[str, Any]


class Bar(NamedTuple):
    """A figure with its upper limit.

    Args:
        value: None where the run was too small to tell.
    """

    name: str
    value: float | None
    most: float
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Return whether the limit is kept."""
        return "not measured" if self.value is None else "reached" if self.value <= self.most else "missed"


def median(runs: list[Figures], services: int, name: str) -> float | None:
    """Return the median of a figure over all runs of one size."""
    values = [float(r[name]) for r in runs if r["services"] == services]
    return statistics.median(values) if values else None


def bars(results: Figures) -> list[Bar]:
    """Return the targets with the figures of this run."""
    first, steady = results["first_sync"], results["steady"]
    sizes = sorted({r["services"] for r in first})
    found = []
    for size in [s for s in sizes if s >= 1000 and s != 5000]:
        text = f"first sync of {size:,} Services x 10 endpoints"
        found.append(
            Bar(f"{text}: kernel programming over the floor", median(first, size, "programming_over_floor"), 2.0)
        )
        found.append(Bar(f"{text}: all stages over the floor", median(first, size, "total_over_floor"), 4.0))
    if len(sizes) > 1:
        low, high = sizes[0], sizes[-1]
        over = f"{high:,} over {low:,} Services"
        api = _ratio(median(first, high, "api_server_seconds"), median(first, low, "api_server_seconds"))
        found.append(Bar(f"time until default/kubernetes is programmed: {over}", api, 1.2))
        change = {s["services"]: s["change"]["median_seconds"] for s in steady}
        found.append(Bar(f"one endpoint change: {over}", _ratio(change.get(high), change.get(low)), 1.2))
    for one in steady:
        surplus = max(abs(m["sent"] - m["needed"]) for n in ("change", "replacement") for m in one[n]["messages"])
        found.append(Bar(f"kernel messages beyond those a change needs, {one['services']:,} Services", surplus, 0))
    for one in steady:
        sent = one["adoption"]["modifying_messages"]
        found.append(Bar(f"modifying messages of a restart, {one['services']:,} Services", sent, 0))
    if first:
        more = max(r["rules_after"] - r["rules_before"] for r in first)
        found.append(Bar("iptables rules that Services add", more, 0))
    for one in results["native"]["nodes"][-1:]:
        found.append(Bar(f"resident memory, {one['services']:,} x 10", one["programmed_mebibytes"], 150, "MiB"))
        found.append(Bar(f"idle CPU, {one['services']:,} x 10", one.get("idle_cpu_percent"), 1, "%"))
    return found


def _ratio(high: float | None, low: float | None) -> float | None:
    return high / low if high is not None and low else None


def page(results: Figures) -> str:
    """Return the page for `docs/`, which is also printed."""
    machine = results["machine"]
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page; the raw figures are in `bench/results.json`. Absolute times depend on the",
        f"machine; compare ratios within one run. Guest: {machine['guest']}, kernel {machine['kernel']}, Python",
        f"{machine['python']}, {machine['cpus']} CPUs, emulation: {machine['emulation']}.",
        "Sections marked *native* were measured on the host, with a simulated kernel.",
        "",
        "The floor is the time that the kernel itself needs: a loop sends the same datagrams as a first sync to an",
        "equally prepared, empty node and does nothing else.",
        "",
        "| figure | value | bar | |",
        "|---|---:|---:|---|",
    ]
    for bar in bars(results):
        value = "" if bar.value is None else f"{bar.value:.4g} {bar.unit}".rstrip()
        lines.append(f"| {bar.name} | {value} | {bar.most:g} {bar.unit} | {bar.verdict} |".replace("  ", " "))
    lines += ["", *_first_sync(results), "", *_changes(results), "", *_churn(results), "", *_native(results), ""]
    lines += [f"![{n}](benchmarks/{n}.svg)" for n in plots(results)]
    return "\n".join(lines) + "\n"


def _first_sync(results: Figures) -> list[str]:
    runs = results["first_sync"]
    lines = [
        "## First sync (seconds, median of the runs; smallest and largest total)",
        "",
        "| Services | runs | messages | floor | decode | index | plan | read | compare, encode | kernel | total |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sorted({r["services"] for r in runs}):
        mine = [r for r in runs if r["services"] == size]
        stage = {k: statistics.median(r["stage_seconds"].get(k, 0.0) for r in mine) for k in mine[0]["stage_seconds"]}
        totals = sorted(r["total_seconds"] for r in mine)
        cells = [
            f"{size:,}",
            str(len(mine)),
            f"{mine[0]['messages']:,}",
            f"{statistics.median(r['floor_seconds'] for r in mine):.3f}",
            f"{stage['decode']:.3f}",
            f"{stage.get('index', 0.0) + stage.get('order', 0.0) + stage.get('other', 0.0):.3f}",
            f"{stage['plan']:.3f}",
            f"{stage['read the kernel']:.3f}",
            f"{stage['compare and encode']:.3f}",
            f"{stage['kernel']:.3f}",
            f"{statistics.median(totals):.3f} ({totals[0]:.3f} to {totals[-1]:.3f})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Until `default/kubernetes` is programmed (median, ms): from the moment both lists are complete, and since",
        "decoding began:",
        "",
    ]
    for size in sorted({r["services"] for r in runs}):
        begun, decoding = (median(runs, size, f"api_server_{n}seconds") or 0 for n in ("", "since_decoding_"))
        lines.append(f"- {size:,} Services: {begun * 1000:.1f}, {decoding * 1000:.1f}")
    return lines


def _changes(results: Figures) -> list[str]:
    lines = [
        "## One change, and a restart (median; 10th to 99th percentile)",
        "",
        "| Services | one endpoint more, ms | messages | one replaced, ms | messages | adoption, s | messages |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results["steady"]:
        cells = [f"{one['services']:,}"]
        for name in ("change", "replacement"):
            f = one[name]
            spread = ", ".join(f"{f[k] * 1000:.2f}" for k in ("p10_seconds", "p99_seconds"))
            cells += [
                f"{f['median_seconds'] * 1000:.2f} ({spread})",
                ", ".join(f"{m['changes']} x {m['sent']}" for m in f["messages"]),
            ]
        cells += [f"{one['adoption']['seconds']:.3f}", str(one["adoption"]["modifying_messages"])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _churn(results: Figures) -> list[str]:
    lines = [
        "## Churn: endpoint changes a second, event to acknowledgement",
        "",
        "| Services | asked and offered a second | p50, ms | p99, ms | largest pass, events | more memory, MiB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['services']:,} | {one['offered_a_second']:.0f} | {one['median_seconds'] * 1000:.1f} "
        f"| {one['p99_seconds'] * 1000:.1f} | {one['largest_pass_events']} | {one['resident_growth_mebibytes']:.1f} |"
        for one in results["churn"]
    ]
    return lines


def _native(results: Figures) -> list[str]:
    native = results["native"]
    lines = [
        "## Native: memory and start",
        "",
        "| Services | endpoints | imported, MiB | indexed, MiB | programmed, MiB |",
    ]
    lines.append("|---:|---:|---:|---:|---:|")
    for one in native["nodes"]:
        sizes = " | ".join(f"{one[f'{k}_mebibytes']:.1f}" for k in ("imported", "indexed", "programmed"))
        lines.append(f"| {one['services']:,} | {one['endpoints']:,} | {sizes} |")
    imports = ", ".join(f"`{name}` {seconds * 1000:.0f} ms" for name, seconds in native["import_seconds"].items())
    return [*lines, "", f"Imports, median of five: {imports}."]


def plots(results: Figures) -> dict[str, str]:
    """Return the SVG texts by name."""
    first, steady = results["first_sync"], results["steady"]
    sizes = sorted({r["services"] for r in first})
    made = {}
    if first:
        names = {"first sync": "total_seconds", "kernel programming": "programming_seconds", "floor": "floor_seconds"}
        series = {k: [(float(s), median(first, s, v) or 0.0) for s in sizes] for k, v in names.items()}
        made["first-sync"] = line_plot("First sync, 10 endpoints a Service", "Services", "seconds", series)
    if steady:
        points = [(float(s["services"]), s["change"]["median_seconds"] * 1000) for s in steady]
        made["change"] = line_plot("One endpoint change", "Services", "milliseconds", {"median": points})
    nodes = results["native"]["nodes"]
    points = [(float(n["endpoints"]), n["programmed_mebibytes"]) for n in nodes]
    made["memory"] = line_plot("Resident memory (native)", "endpoints", "MiB", {"programmed": points})
    return made


def files(results: Figures) -> dict[Path, str]:
    """Return the page and its plots, by path below `docs`."""
    drawn = {Path("benchmarks") / f"{name}.svg": text for name, text in plots(results).items()}
    return {Path("benchmarks.md"): page(results), **drawn}


def write(results: Figures, root: Path) -> None:
    """Write the page and the plots to `docs` of a tree."""
    for name, text in files(results).items():
        target = root / "docs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
