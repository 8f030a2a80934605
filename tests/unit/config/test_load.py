"""Configuration files: our own kind and kube-proxy's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ipvsagent.config.load import LoadedConfiguration, load_configuration, parse_configuration
from ipvsagent.config.types import Conntrack, LocalDetection, Settings, Timeouts
from ipvsagent.config.values import LocalDetectionMode, NodePortAddresses
from ipvsagent.errors import ConfigurationError
from ipvsagent.model.address import Network
from support.builders import address

OURS = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n"
THEIRS = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"

COMMON = """
hostnameOverride: node-1
bindAddress: 192.0.2.1
clusterCIDR: 10.200.0.0/16,fd00:200::/48
detectLocalMode: InterfaceNamePrefix
detectLocal: {bridgeInterface: br0, interfaceNamePrefix: veth}
nodePortAddresses: [192.0.2.0/24, 2001:db8::/64]
oomScoreAdj: -500
clientConnection: {kubeconfig: /etc/kubeconfig, qps: 10, burst: 20}
featureGates: {AllowServiceExternalIPs: false}
ipvs:
  scheduler: lc
  syncPeriod: 1m30s
  minSyncPeriod: 500ms
  excludeCIDRs: [10.0.0.0/8]
  strictARP: true
  tcpTimeout: 15m
  tcpFinTimeout: 30s
  udpTimeout: 10s
iptables: {masqueradeAll: true, masqueradeBit: 13}
conntrack:
  maxPerCore: 0
  min: 1000
  tcpEstablishedTimeout: 1h
  tcpCloseWaitTimeout: 2m
  udpTimeout: 30s
  udpStreamTimeout: 180s
  tcpBeLiberal: true
"""

COMMON_SETTINGS = Settings(
    hostname_override="node-1",
    bind_address=address("192.0.2.1"),
    scheduler="lc",
    strict_arp=True,
    exclude_networks=(Network.parse("10.0.0.0/8"),),
    timeouts=Timeouts(900, 30, 10),
    sync_period_seconds=90.0,
    min_sync_period_seconds=0.5,
    masquerade_bit=13,
    masquerade_all=True,
    local_detection=LocalDetection(
        LocalDetectionMode.INTERFACE_NAME_PREFIX,
        (Network.parse("10.200.0.0/16"), Network.parse("fd00:200::/48")),
        "br0",
        "veth",
    ),
    node_port_addresses=NodePortAddresses((Network.parse("192.0.2.0/24"), Network.parse("2001:db8::/64"))),
    conntrack=Conntrack(0, 1000, 3600, 120, 30, 180, True),
    allow_external_ips=False,
    oom_score_adjust=-500,
    kubeconfig="/etc/kubeconfig",
)


def problems(text: str) -> list[str]:
    """What a text is refused for."""
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text)
    return list(caught.value.problems)


@pytest.mark.parametrize("head", [OURS, THEIRS])
def test_common_fields_are_read_in_both_kinds(head: str) -> None:
    """CFG-02 to CFG-44."""
    assert parse_configuration(head + COMMON) == LoadedConfiguration(COMMON_SETTINGS)


@pytest.mark.parametrize("text", ["", "# nothing\n", OURS, THEIRS])
def test_nothing_said_means_the_defaults(text: str) -> None:
    """Defaults serve a node without any file."""
    assert parse_configuration(text) == LoadedConfiguration(Settings())


def test_nulls_and_blanks_mean_the_defaults() -> None:
    """The dump of kube-proxy's defaults that kubeadm writes is full of them."""
    text = """
bindAddress: 0.0.0.0
clusterCIDR: ""
detectLocalMode: ""
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
nodePortAddresses: null
oomScoreAdj: null
featureGates: null
hostnameOverride: ""
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: "", qps: 0}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s,
  tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null}
conntrack: {maxPerCore: null, min: null, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null}
nftables: {}
portRange: ""
"""
    assert parse_configuration(THEIRS + text) == LoadedConfiguration(Settings())


def test_our_own_fields_are_read() -> None:
    """DEV-11, DEV-16, DEV-19."""
    text = "strictLocalPolicy: true\nipv6Forwarding: true\nrealServerMetrics: true\niptables: {variant: nft}\n"
    text += "ipvs: {scheduler: mh, schedulerFlags: [flag-1, flag-2], drainTimeout: 5m}\n"
    assert parse_configuration(OURS + text).settings == Settings(
        scheduler="mh",
        scheduler_flags=0x18,
        drain_timeout_seconds=300.0,
        iptables_variant="nft",
        strict_local_policy=True,
        ipv6_forwarding=True,
        real_server_metrics=True,
    )


@pytest.mark.parametrize(
    ("text", "mode"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("'off'", "off"), ("true", "on"), ("auto", "auto")]
)
def test_words_that_yaml_takes_for_truth_values_are_read_as_words(text: str, mode: str) -> None:
    """Nobody has to know that `on` is `true` in YAML."""
    assert parse_configuration(OURS + f"ipvs: {{estimation: {text}}}").settings == Settings(estimation=mode)


def test_a_wrong_word_for_estimation_is_refused_with_those_allowed() -> None:
    """A near miss is suggested."""
    assert problems(OURS + "ipvs: {estimation: atuo}") == [
        "ipvs.estimation: `atuo` is not allowed; did you mean `auto`; allowed: auto, on, off"
    ]
    assert problems(OURS + "ipvs: {estimation: 5}") == ["ipvs.estimation: must be a string, not `5`"]


def test_cluster_cidr_may_be_a_list() -> None:
    """CFG-38."""
    settings = parse_configuration(OURS + "clusterCIDR: [10.200.0.0/16, 'fd00:200::/48']\n").settings
    assert settings.local_detection.cluster_networks == (
        Network.parse("10.200.0.0/16"),
        Network.parse("fd00:200::/48"),
    )


def test_primary_node_port_addresses() -> None:
    """NP-05, CFG-39."""
    settings = parse_configuration(OURS + "nodePortAddresses: [primary]\n").settings
    assert settings.node_port_addresses == NodePortAddresses(primary=True)


def test_all_problems_are_named_at_once() -> None:
    """With their paths, near misses and what is allowed."""
    text = """
ipvs: {scheduler: lcc, syncPeriod: 30, tcpTimeout: -1s}
iptables: {masqueradeBit: 40, masqueradAll: true}
conntrack: {maxPerCor: 3}
bindAddress: node-1
"""
    assert sorted(problems(OURS + text)) == [
        "bindAddress: 'node-1' is not an IP address",
        "conntrack.maxPerCor: is not a known field; did you mean `maxPerCore`",
        "iptables.masqueradAll: is not a known field; did you mean `masqueradeAll`",
        "iptables.masqueradeBit: 40 is outside 0..31",
        "ipvs.scheduler: `lcc` is not a scheduler; did you mean `lc`; "
        "allowed: dh, fo, lblc, lblcr, lc, mh, nq, ovf, rr, sed, sh, wlc, wrr",
        "ipvs.syncPeriod: must be a duration such as `1m30s` or `0s`, not `30`",
        "ipvs.tcpTimeout: `-1s` is negative",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hostnameOverride: 5", "hostnameOverride: must be a string, not `5`"),
        ("ipvs: 5", "ipvs: must be a mapping, not `5`"),
        ("ipvs: {strictARP: 'yes'}", "ipvs.strictARP: must be true or false, not `yes`"),
        ("ipvs: {strictARP: 1}", "ipvs.strictARP: must be true or false, not `1`"),
        ("oomScoreAdj: true", "oomScoreAdj: must be a whole number, not `true`"),
        ("oomScoreAdj: 1001", "oomScoreAdj: 1001 is outside -1000..1000"),
        ("conntrack: {min: -1}", "conntrack.min: -1 is outside 0..2147483647"),
        ("ipvs: {udpTimeout: 1e9s}", "ipvs.udpTimeout: must be a duration such as `1m30s` or `0s`, not `1e9s`"),
        (
            "ipvs: {udpTimeout: 9999999999s}",
            "ipvs.udpTimeout: `9999999999s` is longer than 2147483647s, the kernel's maximum",
        ),
        ("ipvs: {minSyncPeriod: 1m}", "ipvs.minSyncPeriod: 60s is longer than syncPeriod (30s)"),
        ("ipvs: {excludeCIDRs: 10.0.0.0/8}", "ipvs.excludeCIDRs: must be a list of strings, not `10.0.0.0/8`"),
        ("ipvs: {excludeCIDRs: [5]}", "ipvs.excludeCIDRs: must be a list of strings; `5` is not one"),
        ("ipvs: {excludeCIDRs: [null]}", "ipvs.excludeCIDRs: must be a list of strings; null is not one"),
        ("ipvs: {excludeCIDRs: [10.0.0.0/33]}", "ipvs.excludeCIDRs: '10.0.0.0/33' is not a CIDR"),
        (
            "ipvs: {excludeCIDRs: [10.0.0.1]}",
            "ipvs.excludeCIDRs: `10.0.0.1` is not a CIDR; it lacks a prefix length",
        ),
        ("clusterCIDR: '10.0.0.0/8, fd00::/8'", "clusterCIDR: ' fd00::/8' is not a CIDR"),
        (
            "clusterCIDR: 10.0.0.0/8,11.0.0.0/8",
            "clusterCIDR: holds two CIDRs of one family; allowed: one of each",
        ),
        (
            "nodePortAddresses: [primary, 10.0.0.0/8]",
            "nodePortAddresses: `primary` must be the only element",
        ),
        (
            "detectLocalMode: Bridge",
            'detectLocalMode: `Bridge` is not allowed; allowed: "", ClusterCIDR, NodeCIDR, BridgeInterface, '
            "InterfaceNamePrefix",
        ),
        (
            "detectLocalMode: BridgeInterface",
            "detectLocal.bridgeInterface: must be set with detectLocalMode BridgeInterface",
        ),
        (
            "detectLocalMode: InterfaceNamePrefix",
            "detectLocal.interfaceNamePrefix: must be set with detectLocalMode InterfaceNamePrefix",
        ),
        (
            "featureGates: {AllowServiceExternalIPs: 'no'}",
            "featureGates.AllowServiceExternalIPs: must be true or false, not `no`",
        ),
    ],
)
@pytest.mark.parametrize("head", [OURS, THEIRS])
def test_bad_value_is_refused_in_both_kinds(head: str, text: str, problem: str) -> None:
    """CFG rules, CFG-50: wrong types are errors in kube-proxy's kind, too."""
    assert problems(head + text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "iptables: {variant: nftt}",
            "iptables.variant: `nftt` is not allowed; did you mean `nft`; allowed: auto, legacy, nft",
        ),
        (
            "ipvs: {schedulerFlags: [flag-9]}",
            "ipvs.schedulerFlags: `flag-9` is not a flag; allowed: flag-1, flag-2, flag-3",
        ),
        ("strictLocalPolicies: true", "strictLocalPolicies: is not a known field; did you mean `strictLocalPolicy`"),
    ],
)
def test_bad_value_is_refused_in_our_own_fields(text: str, problem: str) -> None:
    """Unknown fields are errors in our kind: a misspelt setting must not be lost in silence."""
    assert problems(OURS + text) == [problem]


def test_unknown_and_idle_fields_of_kube_proxy_are_warnings() -> None:
    """CFG-50; fields without effect are named in one warning."""
    text = "foo: 1\nconntrack: {maxPerCor: 3}\nwinkernel: {enableDSR: true}\niptables: {syncPeriod: 30s}\n"
    assert parse_configuration(THEIRS + text) == LoadedConfiguration(
        Settings(),
        (
            "fields without effect here: winkernel, iptables.syncPeriod",
            "foo: is not a known field",
            "conntrack.maxPerCor: is not a known field; did you mean `maxPerCore`",
        ),
    )


@pytest.mark.parametrize(
    ("mode", "shown"), [("iptables", "`iptables`"), ("nftables", "`nftables`"), ('""', "empty, which means iptables,")]
)
def test_other_modes_of_kube_proxy_are_refused(mode: str, shown: str) -> None:
    """CFG-01."""
    text = THEIRS.replace("mode: ipvs", f"mode: {mode}")
    assert problems(text) == [
        f"mode: {shown} is not supported: this agent serves Services only through IPVS; allowed: ipvs, which "
        "takes over the node's Services from kube-proxy and keeps connections open"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- 1", "the file: must be a mapping, not a list"),
        (
            "--proxy-mode=ipvs --ipvs-scheduler=wlc",
            "the file: holds flags of kube-proxy; `ipvsagent config convert` converts them to a configuration",
        ),
        (
            "apiVersion: v1\nkind: Service\n",
            "kind `Service` of apiVersion `v1` is not known; allowed: AgentConfiguration of ipvsagent.io/v1alpha1, "
            "KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1",
        ),
        (
            "mode: ipvs\n",
            "has no `apiVersion` and no `kind`; if these are fields of kube-proxy, add "
            "`apiVersion: kubeproxy.config.k8s.io/v1alpha1` and `kind: KubeProxyConfiguration`; if they are values of "
            "the EKS add-on kube-proxy, pass the ConfigMap: "
            "`kubectl -n kube-system get configmap kube-proxy-config -o yaml`; "
            "allowed: AgentConfiguration of ipvsagent.io/v1alpha1, "
            "KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1",
        ),
    ],
)
def test_file_of_another_kind_is_refused(text: str, problem: str) -> None:
    """CFG-50."""
    assert problems(text) == [problem]


@pytest.mark.parametrize("text", ["a: [", "[" * 5000, "a: \x00", "--- 1\n--- 2\n", "a: !x 1"])
def test_text_that_is_not_yaml_is_refused(text: str) -> None:
    """One problem, no stack trace."""
    (problem,) = problems(OURS + text)
    assert problem.startswith("does not parse: ")


def test_text_stays_text_whatever_else_yaml_might_take_it_for() -> None:
    """`on` is a host name and no truth value, a time is no date; booleans may still be written as YAML 1.1 has them."""
    assert parse_configuration(THEIRS + "hostnameOverride: on\n").settings.hostname_override == "on"
    assert parse_configuration(OURS + "hostnameOverride: 2026-99-99\n").settings.hostname_override == "2026-99-99"
    assert parse_configuration(THEIRS + "ipvs: {strictARP: yes}\n").settings.strict_arp
    assert not parse_configuration(OURS + "featureGates: {AllowServiceExternalIPs: off}\n").settings.allow_external_ips
    assert parse_configuration(OURS + "conntrack: {min: 262_144}\n").settings.conntrack.min == 262144


def test_empty_documents_beside_the_configuration_are_ignored() -> None:
    """A template often leaves a separator before or after it."""
    assert parse_configuration("---\n# nothing\n---\n" + OURS + "---\n") == LoadedConfiguration(Settings())


def test_file_is_named_in_every_problem(tmp_path: Path) -> None:
    """There may be several files."""
    path = tmp_path / "config.yaml"
    path.write_text(OURS + "foo: 1\nbar: 2\n")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    assert caught.value.problems == (
        f"{path}: foo: is not a known field",
        f"{path}: bar: is not a known field",
    )


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, or not text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "nowhere", tmp_path, binary):
        with pytest.raises(ConfigurationError, match=r"cannot be read: "):
            load_configuration(path)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["10.0.0.0/8", "1m", "rr", "primary", "9" * 400 + "h"]),
)
FIELDS = (
    *("hostnameOverride", "bindAddress", "clusterCIDR", "detectLocalMode", "detectLocal", "nodePortAddresses"),
    *("oomScoreAdj", "clientConnection", "featureGates", "ipvs", "iptables", "conntrack", "kind", "mode"),
    *("ipvs.scheduler", "ipvs.schedulerFlags", "ipvs.syncPeriod", "ipvs.tcpTimeout", "ipvs.excludeCIDRs"),
    *("iptables.masqueradeBit", "iptables.variant", "conntrack.min", "conntrack.udpTimeout"),
)


@given(st.sampled_from((OURS, THEIRS)), st.sampled_from(FIELDS), VALUES)
def test_any_value_is_taken_or_refused(head: str, field: str, value: object) -> None:
    """Nothing but `ConfigurationError` comes out, and it says something."""
    section, _, name = field.rpartition(".")
    tree = yaml.safe_load(head) | ({section: {name: value}} if section else {name: value})
    try:
        settings = parse_configuration(yaml.safe_dump(tree)).settings
    except ConfigurationError:
        return
    assert settings.sync_period_seconds >= settings.min_sync_period_seconds
    assert 0 <= settings.masquerade_bit <= 31
