"""`make reference`: write all generated files: the schema, tables of the reference, metrics, the version.

This includes the figures of the last `make bench`: a page, its plots, and a table of the comparison.

``--check`` writes nothing and lists the files that are out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import comparison, report
from lab import metric_names

from ipvsagent import __version__
from ipvsagent.config.documents import find_configuration
from ipvsagent.config.load import read_configuration
from ipvsagent.config.reader import IDLE_FIELDS
from ipvsagent.config.trees import is_zero
from ipvsagent.config.types import FIELDS, Settings
from ipvsagent.config.write import json_schema, reference_table

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests" / "data" / "kube-proxy"
CONFIGURATION = Path("docs/reference/configuration.md")
SCHEMA = Path("src/ipvsagent/config/schema.json")
KUBE_PROXY = Path("docs/reference/kube-proxy-configuration.md")
VERSIONS = {
    Path("charts/ipvsagent/Chart.yaml"): r"^((?:version|appVersion): ).*$",
    Path("Dockerfile"): r"^(ARG VERSION=).*$",
}
"""Files that must hold the package's version, and where."""

_PLAIN = {f.path: f.plain for f in FIELDS}
_ALSO = {"logging.verbosity": "logging.level"}  # fields of kube-proxy's that become one of ours with another name


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    configuration = (ROOT / CONFIGURATION).read_text(encoding="utf-8")
    for name, table in (("common", reference_table(ours=False)), ("ours", reference_table(ours=True))):
        marks = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        escaped = table.replace("\\", r"\\")
        configuration = re.sub(marks, rf"\g<1>{escaped}\g<2>", configuration, flags=re.DOTALL)
    return {
        SCHEMA: json_schema(),
        CONFIGURATION: configuration,
        metric_names.PAGE.relative_to(ROOT): metric_names.page(),
        KUBE_PROXY: _with_distributions((ROOT / KUBE_PROXY).read_text(encoding="utf-8")),
        **{path: _with_version((ROOT / path).read_text(encoding="utf-8"), place) for path, place in VERSIONS.items()},
        **_figures(),
    }


def _figures() -> dict[Path, str]:
    """What shows the figures of the last measurement."""
    results = json.loads((ROOT / "bench" / "results.json").read_text(encoding="ascii"))
    page = (ROOT / comparison.PAGE).read_text(encoding="utf-8")
    return {
        **{Path("docs") / name: text for name, text in report.files(results).items()},
        comparison.PAGE: comparison.with_figures(page, results),
    }


def _with_version(text: str, place: str) -> str:
    return re.sub(place, rf"\g<1>{__version__}", text, flags=re.MULTILINE)


def _with_distributions(page: str) -> str:
    marks = re.compile(r"(<!-- generated: distributions -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: found[1] + "".join(_distributions()) + "\n" + found[2], page)


def _distributions() -> Iterator[str]:
    for path in sorted(SAMPLES.iterdir()):
        text = path.read_text(encoding="utf-8")
        document = find_configuration(text)
        loaded = read_configuration(document.value)
        yield f"\n### {path.stem}\n\n{text.splitlines()[0].removeprefix('# ')}\n\n"
        yield "| kube-proxy's field | Value | Became |\n|---|---|---|\n"
        warnings = (*document.warnings, *loaded.warnings)
        for field, value in sorted(_leaves(document.value)):
            yield f"| `{field}` | `{value}` | {_became(field, loaded.settings, ' '.join(warnings))} |\n"
        if warnings:
            yield "\nWarnings:\n\n" + "".join(f"- {w}\n" for w in warnings)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Fields with a value that says something."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, f"{path}.{key}" if path else str(key))
    elif path not in ("apiVersion", "kind") and value not in (None, "", []) and (path in _PLAIN or not is_zero(value)):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        yield path, shown


def _became(field: str, settings: Settings, warnings: str) -> str:
    ours = _ALSO.get(field, field)
    if ours in _PLAIN:
        value = _PLAIN[ours](settings)
        shown = str(value).lower() if isinstance(value, bool) else str(value) or '""'
        return f"`{ours}: {shown}`"
    if field == "mode":
        return "what this agent does"
    if field in IDLE_FIELDS:
        return "accepted, without effect"
    named = any(re.search(rf"\b{re.escape(name)}\b", warnings) for name in (field, field.partition(".")[0]))
    return "without effect, named in a warning" if named else "without effect"


def main(words: list[str]) -> int:
    """Write the files, or say which are out of date."""
    stale = [p for p, text in generated().items() if not (ROOT / p).exists() or (ROOT / p).read_text("utf-8") != text]
    for path in stale:
        print(path)
        if "--check" not in words:
            (ROOT / path).write_text(generated()[path], encoding="utf-8")
    return 1 if stale and "--check" in words else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
