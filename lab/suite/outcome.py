"""How tests ended, and the JUnit files that say so."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from lab.suite.worker import Kind

_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended in one worker.

    Attributes:
        outcome: ``passed``, ``failed``, ``error`` or ``skipped``.
        text: why it did not pass, and what it printed.
        properties: what the test recorded, as name and value.
    """

    kind: Kind
    worker: str
    test: str
    outcome: str
    seconds: float
    text: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def bad(self) -> bool:
        """Whether it makes the run fail."""
        return self.outcome in ("failed", "error")


def write_junit(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a JUnit file with a suite for each kind of worker."""
    root = ET.Element("testsuites")
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(outcome.kind.name, []).append(outcome)
    for name, found in by_kind.items():
        counts = {what: str(sum(o.outcome == what for o in found)) for what in ("failed", "error", "skipped")}
        suite = ET.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(found)),
            failures=counts["failed"],
            errors=counts["error"],
            skipped=counts["skipped"],
            time=f"{sum(o.seconds for o in found):.3f}",
        )
        for outcome in found:
            suite.append(_case(outcome))
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _case(outcome: Outcome) -> ET.Element:
    file, _, name = outcome.test.partition("::")
    classname = file.removesuffix(".py").replace("/", ".")
    case = ET.Element("testcase", classname=classname, name=name, file=file, time=f"{outcome.seconds:.3f}")
    if outcome.properties:
        properties = ET.SubElement(case, "properties")
        for key, value in outcome.properties:
            ET.SubElement(properties, "property", name=key, value=value)
    tag = {"failed": "failure", "error": "error", "skipped": "skipped"}.get(outcome.outcome)
    if tag:
        text = _NOT_IN_XML.sub("?", outcome.text)
        ET.SubElement(case, tag, message=text.strip().splitlines()[-1][:200] if text.strip() else "").text = text
    return case
