"""`ipvsagent plan` on a mixed corpus says, fact by fact, what a second planner says, in five configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ipvsagent.cli.main import main
from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.config.values import LocalDetectionMode
from ipvsagent.model.address import Family, Network
from ipvsagent.model.objects import EndpointSlice, Kind, Node, Service
from oracle.facts import differences, of_tools
from oracle.manifests import decoded
from oracle.planner import World, expected
from oracle.rules import expected_rules
from support.builders import address

CORPUS = Path(__file__).parent / "corpus"
NODE_ADDRESSES = ("192.168.60.1", "203.0.113.1", "10.244.0.1", "fd00:60::1", "fe80::1", "127.0.0.1")
CLUSTER_NETWORKS = (Network.parse("10.244.0.0/16"), Network.parse("fd00:244::/32"))

CONFIGURATIONS = {
    "cluster CIDR": (
        "clusterCIDR: 10.244.0.0/16,fd00:244::/32",
        Settings(local_detection=LocalDetection(cluster_networks=CLUSTER_NETWORKS)),
    ),
    "node CIDR, mh": (
        "detectLocalMode: NodeCIDR\nipvs: {scheduler: mh}",
        Settings(local_detection=LocalDetection(LocalDetectionMode.NODE_CIDR), scheduler="mh"),
    ),
    "bridge, another mark": (
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}\niptables: {masqueradeBit: 18}",
        Settings(
            local_detection=LocalDetection(LocalDetectionMode.BRIDGE_INTERFACE, bridge_interface="cni0"),
            masquerade_bit=18,
        ),
    ),
    "masquerade all": (
        "clusterCIDR: 10.244.0.0/16,fd00:244::/32\niptables: {masqueradeAll: true}",
        Settings(local_detection=LocalDetection(cluster_networks=CLUSTER_NETWORKS), masquerade_all=True),
    ),
    "no detector": ("{}", Settings()),
}
Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=CONFIGURATIONS)
def configured(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Settings]:
    """A configuration file and the settings that it means."""
    text, settings = CONFIGURATIONS[request.param]
    path = tmp_path / "configuration.yaml"
    path.write_text(f"apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n{'' if text == '{}' else text}\n")
    return path, settings


def _objects(kind: Kind) -> list[object]:
    documents = [d for path in sorted(CORPUS.glob("*.yaml")) for d in yaml.safe_load_all(path.read_text())]
    return list(decoded(kind, [d for d in documents if d["kind"] == kind], with_defaults=True).values())


def _world(settings: Settings) -> World:
    return World(
        [o for o in _objects(Kind.SERVICE) if isinstance(o, Service)],
        [o for o in _objects(Kind.ENDPOINT_SLICE) if isinstance(o, EndpointSlice)],
        [o for o in _objects(Kind.NODE) if isinstance(o, Node)],
        settings,
        interface_addresses=[address(a) for a in NODE_ADDRESSES],
    )


def _plan(output: str, configuration: Path, capsys: Capture) -> list[str]:
    words: list[str] = []
    for text in NODE_ADDRESSES:
        words += ["--node-address", f"{text}/{64 if ':' in text else 24}"]
    command = ["plan", "-f", str(CORPUS), "--config", str(configuration), "--node-name", "node-1", "-o", output]
    assert main([*command, *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_virtual_servers_addresses_and_entries_are_what_the_specification_says(
    configured: tuple[Path, Settings], capsys: Capture
) -> None:
    """VS-01 to VS-06, EP-20 to EP-37, ADR-02 to ADR-08, SET-01 to SET-17, LB-01 to LB-03, SVC-01 to SVC-16, DEV-14.

    DEV-15, KR-01 to KR-03, KR-06: annotations included.
    """
    path, settings = configured
    found = of_tools(*(_plan(output, path, capsys) for output in ("ipvsadm", "ipset", "addresses")))
    wanted = expected(_world(settings)).planned()
    assert differences(found, wanted) == []
    assert len(wanted.virtual_servers) > 60
    assert len(wanted.entries) == 28  # of 34 sets: the corpus leaves few ways out


@pytest.mark.parametrize(("output", "family"), [("iptables", Family.IPV4), ("ip6tables", Family.IPV6)])
def test_rules_are_what_the_specification_says(
    configured: tuple[Path, Settings], output: str, family: Family, capsys: Capture
) -> None:
    """IPT-04 to IPT-75, IPT-90, IPT-94, LOC-01 to LOC-06."""
    path, settings = configured
    node = next(n for n in _world(settings).nodes if n.name == "node-1")
    table, found = "", []
    for line in _plan(output, path, capsys):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            found.append(f"{table} {line[3:]}")
    wanted = expected_rules(settings, family, node)
    chains = {tuple(rule.split()[:2]) for rule in (*found, *wanted)}
    for chain in sorted(chains):
        of_chain = f"{' '.join(chain)} "
        assert [r for r in found if r.startswith(of_chain)] == [r for r in wanted if r.startswith(of_chain)]


def test_problems_of_the_corpus_name_what_is_left_out(capsys: Capture) -> None:
    """DEV-14: losers and refused addresses are reported, each with its Service."""
    assert main(["plan", "-f", str(CORPUS), "--node-name", "node-1", "-o", "addresses"]) == 0
    warnings = capsys.readouterr().err
    assert "Service shop/a-late-one: 198.51.100.13:443/TCP belongs to Service shop/restricted" in warnings
    assert "Service shop/greedy: 10.96.3.4:8443/TCP belongs to Service shop/a-late-one" in warnings
    assert "Service shop/open: 192.168.60.1:30301/TCP belongs to Service shop/thief" in warnings
    assert "192.168.60.2 is an address of another node; it is not served here" in warnings
    assert "192.168.60.100 is an address of the API server; it is not served here" in warnings
    assert "Service shop/unusable" in warnings
    assert "Service shop/misspelt: metadata.annotations[ipvsagent.io/scheduler] `lcc` is not a scheduler" in warnings
    assert "EndpointSlice shop/spread-heavy" not in warnings
