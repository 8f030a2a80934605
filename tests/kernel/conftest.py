"""Tests with real packets, in a guest kernel that has IPVS: `make test-kernel`.

A plain `pytest` leaves them out. ``IPVSAGENT_NATIVE=1`` runs them on this machine's own kernel, as root; it loads
modules, and everything else stays within network namespaces of the tests.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from lab.topology import load_modules

from guests import NFT_MARK
from kernel.node import Node, logs_of_open_nodes
from kernel.processes import AgentServer

_CAN_RUN = "IN_GUEST" in os.environ or os.environ.get("IPVSAGENT_NATIVE") == "1"
_DEFAULT_VARIANT = "legacy" if os.environ.get("IN_GUEST") == "uml" else "nft"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave the tests of this folder out where there is no guest."""
    return None if _CAN_RUN or collection_path.name == "conftest.py" else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the agent logged, also when a test hangs or its node serves other tests as well."""
    report = yield
    if report.failed:
        report.sections.extend(logs_of_open_nodes())
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to run what was left out."""
    if not _CAN_RUN:
        terminalreporter.write_line("tests/kernel was left out: it needs a guest; run `make test-kernel`")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `every_variant` with each iptables variant."""
    if "every_variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", ["legacy", pytest.param("nft", marks=NFT_MARK)])


@pytest.fixture
def every_variant() -> None:
    """Asks for a run with each iptables variant."""


@pytest.fixture
def variant() -> str:
    """The iptables variant of tests for which it makes no difference."""
    return _DEFAULT_VARIANT


@pytest.fixture(scope="session")
def agent_server() -> Iterator[AgentServer]:
    """The prepared agent process; starts before any test makes a thread."""
    load_modules()
    server = AgentServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared_node(agent_server: AgentServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for the tests of a module, which do not disturb each other; without Services and agent."""
    made = Node(agent_server, tmp_path_factory.mktemp("node"), _DEFAULT_VARIANT)
    yield made
    made.close()


@pytest.fixture
def node(agent_server: AgentServer, tmp_path: Path, variant: str) -> Iterator[Node]:
    """A fresh node without any Service and without an agent."""
    made = Node(agent_server, tmp_path, variant)
    yield made
    made.close()
