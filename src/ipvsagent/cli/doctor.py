"""``ipvsagent doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import msgspec

from ipvsagent.cli.settings import load_settings
from ipvsagent.doctor.examination import examine, worst
from ipvsagent.doctor.finding import Finding, Level
from ipvsagent.doctor.gather import read_node


def run(options: argparse.Namespace) -> int:
    """Print the findings; return 1 if a finding has level fail."""
    settings = load_settings(options.config)
    findings = examine(read_node(settings, options.kubeconfig or settings.kubeconfig))
    for line in json_lines(findings) if options.output == "json" else table_lines(findings):
        print(line)
    return 1 if worst(findings) is Level.FAIL else 0


def table_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Return one line for each finding, with its remedy below, and the counts at the end."""
    width = max(len(f.check) for f in findings)
    for finding in findings:
        yield f"{finding.level:4}  {finding.check:{width}}  {finding.what}"
        if finding.remedy:
            yield f"{'':4}  {'':{width}}  remedy: {finding.remedy}"
    yield ", ".join(f"{count} {level}" for level, count in _counts(findings).items())


def json_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Return one object with the worst level, the counts and all findings."""
    answer = {"level": worst(findings), "counts": _counts(findings), "findings": findings}
    yield msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    return {level.value: sum(f.level is level for f in findings) for level in Level}
