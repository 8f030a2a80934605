"""Names in the documentation are those of the code: commands, fields, values of the chart, metrics, checks, chains."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import ipvsagent
from chart.rendering import CHART
from docs.pages import DOCS, ROOT
from ipvsagent.cli.arguments import parser
from ipvsagent.config.reader import IDLE_FIELDS
from ipvsagent.config.types import FIELDS
from ipvsagent.serve.metrics.definitions import EVERY

PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", CHART / "README.md"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# Of other programs, which pages compare with or look for, and patterns.
OTHERS_CHAINS = re.compile(r"KUBE-(ROUTER|SVC|SEP|XLB|EXT|FW)\b|KUBE(-6|-\w+)?-$|KUBE-NODE-PORTS?-LOCAL-$")
PACKAGE = Path(ipvsagent.__file__).parent
# Fields of kube-proxy's that are named because they count for nothing here.
OF_KUBE_PROXY = {"iptables.syncPeriod", "iptables.minSyncPeriod", "iptables.localhostNodePorts", "logging.verbosity"}
OF_KUBE_PROXY |= {"logging.vmodule", "logging.options", "logging.flushFrequency"}


def _quoted(page: Path) -> Iterator[str]:
    """What stands in backticks within a line, and each line of a block of code."""
    text = page.read_text(encoding="utf-8")
    for fence in re.findall(r"^ *```[a-z]*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield from (line.strip().removeprefix("$ ") for line in fence.splitlines())
    plain = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", plain)


@EACH_PAGE
def test_commands_of_the_agent_are_taken(page: Path) -> None:
    """With their options; a bare `ipvsagent COMMAND` names the command alone."""
    commands = {"run", "plan", "cleanup", "doctor", "config", "version"}
    for quoted in _quoted(page):
        for found in re.findall(r"(?:^|-- )(ipvsagent [a-z][^|>&#]*)", quoted):
            words = shlex.split(found)[1:]
            assert words[0] in commands, found
            named_alone = len(words) == (2 if words[0] == "config" else 1)
            if named_alone:
                assert set(words[1:]) <= {"default", "check", "convert", "schema"}, found
            elif "[" not in found:  # which says what is optional
                assert parser().parse_args(words).command == words[0], found


def test_a_command_that_does_not_exist_would_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    """What the test above relies on."""
    with pytest.raises(SystemExit):
        parser().parse_args(["cleanup", "--everything"])
    assert "--everything" in capsys.readouterr().err


def _paths(value: object, path: str = "") -> Iterator[str]:
    """All paths of a value with dots, those of groups included."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _paths(below, f"{path}.{name}" if path else name)


@EACH_PAGE
def test_fields_values_and_modules_exist(page: Path) -> None:
    """`ipvs.scheduler` is a field, `modules.load` a value of the chart, `reconciler.loop` a module."""
    values = set(_paths(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
    fields = {f.path for f in FIELDS} | set(IDLE_FIELDS) | OF_KUBE_PROXY
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    for quoted in _quoted(page):
        # A field with its value, or an option of Helm's; a group of fields may have a name of its own in the chart.
        candidates = re.findall(r"(?:^|--set )([a-z]\w*(?:\.\w+)+)(?=[:=` ]|$)", quoted)
        for name in candidates:
            first = name.partition(".")[0]
            if first in {f.partition(".")[0] for f in fields if "." in f}:
                assert name in fields, f"{quoted}: no field"
            elif first in {v.partition(".")[0] for v in values}:
                assert name in values, f"{quoted}: no value of the chart"
            elif first in rooms:
                stated = PACKAGE.joinpath(*name.split("."))
                # A room, a module, or something in a module.
                found = (stated / "__init__.py", stated.with_suffix(".py"), stated.parent.with_suffix(".py"))
                assert any(path.exists() for path in found), f"{quoted}: no module"


@EACH_PAGE
def test_metrics_exist(page: Path) -> None:
    """Also the parts of a histogram; the page of metrics alone names those of kube-proxy that are left out."""
    known = {d.name for d in EVERY} | {f"{d.name}_{part}" for d in EVERY for part in ("bucket", "count", "sum")}
    if page == DOCS / "metrics.md":
        groups = yaml.safe_load((ROOT / "tests/data/kube-proxy-metrics.yaml").read_text(encoding="utf-8"))["left_out"]
        known |= {name for group in groups for name in group["names"]}
    for quoted in _quoted(page):
        for name in re.findall(r"\b(?:ipvsagent|kubeproxy|process|rest_client)_[a-z0-9_]+", quoted):
            assert name in known, quoted


@EACH_PAGE
def test_checks_of_the_doctor_exist(page: Path) -> None:
    """Pages send people to `doctor`, check `NAME`."""
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", (DOCS / "reference/doctor.md").read_text("utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"checks? (`[a-z-]+`(?:(?:, | and )`[a-z-]+`)*)", text)
    assert {name for group in named for name in re.findall(r"`([a-z-]+)`", group)} <= listed


def _planned(output: str) -> str:
    """What the agent writes on a node."""
    program = "import sys; from ipvsagent.cli.main import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "plan", "-f", "examples/demo", "--node-name", "node-1", "-o", output]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def kernel_names() -> set[str]:
    """Chains and sets of both families."""
    text = "".join(map(_planned, ("iptables", "ip6tables", "ipset")))
    return set(re.findall(r"\bKUBE-[A-Z0-9-]+", text))


@EACH_PAGE
def test_chains_and_sets_exist(page: Path, kernel_names: set[str]) -> None:
    """Whole names; beginnings that end in a hyphen are for many."""
    text = re.sub(r"`-[A-Z-]+`", "", page.read_text(encoding="utf-8"))
    named = set(re.findall(r"\bKUBE-[A-Z0-9-]+", text))
    assert {name for name in named if name not in kernel_names and not OTHERS_CHAINS.match(name)} == set()
    assert len(kernel_names) > 40
