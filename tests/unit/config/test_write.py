"""From settings back to a file: defaults, conversion, schema."""

from __future__ import annotations

import json
from collections.abc import Mapping

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvsagent.config import forms
from ipvsagent.config.load import parse_configuration
from ipvsagent.config.reader import OUR_API_VERSION, OUR_KIND
from ipvsagent.config.types import FIELDS, Settings, waiting_for_restart
from ipvsagent.config.values import SCHEDULERS
from ipvsagent.config.write import configuration_of, default_configuration, json_schema

OURS = f"apiVersion: {OUR_API_VERSION}\nkind: {OUR_KIND}\n"
SCHEMA = json.loads(json_schema())

# A value of each field that is not its default; fields that are not named here get one by their form.
_GIVEN: dict[str, object] = {
    "hostnameOverride": "node-1",
    "bindAddress": "192.0.2.1",
    "healthzBindAddress": "192.0.2.1:10256",
    "metricsBindAddress": "[::]:9249",
    "bindAddressHardFail": True,
    "clusterCIDR": "10.200.0.0/16,fd00:200::/48",
    "ipv6Forwarding": True,
    "serviceCIDRs": ["10.96.0.0/12"],
    "detectLocalMode": "NodeCIDR",
    "detectLocal.bridgeInterface": "br0",
    "detectLocal.interfaceNamePrefix": "veth",
    "nodePortAddresses": ["primary"],
    "externalAddresses.allowedExternalIPs": ["198.51.100.0/24"],
    "externalAddresses.allowedLoadBalancerIPs": ["203.0.113.0/24", "2001:db8::/64"],
    "featureGates.AllowServiceExternalIPs": False,
    "strictLocalPolicy": True,
    "realServerMetrics": True,
    "oomScoreAdj": -500,
    "clientConnection.kubeconfig": "/etc/kubeconfig",
    "logging.format": "json",
    "logging.level": "debug",
    "ipvs.scheduler": "lc",
    "ipvs.schedulerFallback": "rr",
    "ipvs.schedulerFlags": ["flag-1", "flag-3"],
    "ipvs.syncPeriod": "1m30s",
    "ipvs.minSyncPeriod": "500ms",
    "ipvs.excludeCIDRs": ["10.0.0.0/8"],
    "ipvs.strictARP": True,
    "ipvs.tcpTimeout": "15m",
    "ipvs.tcpFinTimeout": "30s",
    "ipvs.udpTimeout": "10s",
    "ipvs.automaticTimeouts": False,
    "ipvs.drainTimeout": "1h",
    "iptables.masqueradeAll": True,
    "iptables.masqueradeBit": 13,
    "ipvs.estimation": "off",
    "iptables.variant": "nft",
    "conntrack.maxPerCore": 0,
    "conntrack.min": 1000,
    "conntrack.tcpEstablishedTimeout": "1h",
    "conntrack.tcpCloseWaitTimeout": "2m",
    "conntrack.udpTimeout": "30s",
    "conntrack.udpStreamTimeout": "3m",
    "conntrack.tcpBeLiberal": True,
}


_BY_FORM: dict[str, tuple[object, object]] = {
    forms.BOOLEAN.allowed: (True, False),
    forms.TEXT.allowed: ("one", "two"),
    forms.DURATION.allowed: ("7m", "2h"),
    forms.CIDRS.allowed: (["198.51.100.0/24"], ["2001:db8::/64"]),
    forms.SCHEDULER.allowed: ("lc", "sh"),
}
OTHER_VALUES = {
    f.path: _GIVEN.get(f.path, next((v for v in _BY_FORM.get(f.form.allowed, ()) if v != f.plain(Settings())), None))
    for f in FIELDS
}


def file_with(path: str, value: object) -> str:
    """An `AgentConfiguration` with one field."""
    section, _, name = path.rpartition(".")
    return OURS + yaml.safe_dump({section: {name: value}} if section else {name: value})


def tree_with(kind: str, fields: Mapping[str, object]) -> dict[str, object]:
    """A configuration with several fields, given by their paths."""
    tree: dict[str, object] = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": kind, "mode": "ipvs"}
    for path, value in fields.items():
        section, _, name = path.rpartition(".")
        if section:
            below = tree.setdefault(section, {})
            assert isinstance(below, dict)
            below[name] = value
        else:
            tree[name] = value
    return tree


def test_each_field_has_one_row_with_a_value_of_its_form_and_a_unit_in_its_name() -> None:
    """The rows are the only declaration: no path twice, and no duration whose attribute hides its unit."""
    assert len({f.path for f in FIELDS}) == len(FIELDS)
    for field in FIELDS:
        assert field.attribute.endswith(field.form.unit)


def test_the_default_file_is_complete_gives_the_defaults_and_satisfies_the_schema() -> None:
    """Every field stands in it with a comment above; reading it changes nothing."""
    text = default_configuration()
    assert parse_configuration(text).settings == Settings()
    tree = yaml.safe_load(text)
    jsonschema.validate(tree, SCHEMA)
    for field in FIELDS:
        section, _, name = field.path.rpartition(".")
        assert name in (tree[section] if section else tree)
    lines = text.splitlines()
    for index, line in enumerate(lines[2:], start=2):
        if line.strip() and not line.strip().startswith("#") and not line.endswith(":"):
            assert lines[index - 1].strip().startswith("#"), line


@pytest.mark.parametrize(("path", "value"), sorted(OTHER_VALUES.items()))
def test_a_value_survives_reading_and_writing_and_the_schema_allows_it(path: str, value: object) -> None:
    """What `configuration_of` writes says this field and no other, and gives the same settings."""
    text = file_with(path, value)
    settings = parse_configuration(text).settings
    assert settings != Settings()
    assert yaml.safe_load(configuration_of(settings)) == yaml.safe_load(text)
    jsonschema.validate(yaml.safe_load(text), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "foo: 1",
        "ipvs: {schedulr: rr}",
        "ipvs: {scheduler: lcc}",
        "ipvs: {estimation: sometimes}",
        "ipvs: {syncPeriod: 30}",
        "ipvs: {syncPeriod: 1 minute}",
        "ipvs: {schedulerFlags: [flag-9]}",
        "oomScoreAdj: 1001",
        "iptables: {masqueradeBit: 32}",
        "strictLocalPolicy: 'yes'",
        "nodePortAddresses: 10.0.0.0/8",
        "logging: {format: xml}",
        "mode: ipvs",
    ],
)
def test_the_schema_refuses_what_the_agent_refuses(text: str) -> None:
    """An editor finds the usual mistakes before the agent does."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(OURS + text), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"apiVersion": "v1", "kind": "ConfigMap"}, SCHEMA)


def test_fields_that_wait_for_a_restart_are_those_the_process_reads_once() -> None:
    """A change of any other field is in force at once."""
    changed = {p: parse_configuration(file_with(p, v)).settings for p, v in OTHER_VALUES.items()}
    waiting = {p for p, settings in changed.items() if waiting_for_restart(Settings(), settings)}
    assert waiting == {
        *("hostnameOverride", "oomScoreAdj", "realServerMetrics", "clientConnection.kubeconfig", "iptables.variant"),
        "bindAddressHardFail",
    }
    assert waiting_for_restart(Settings(), changed["iptables.variant"]) == ("iptables.variant",)


DURATIONS = st.one_of(
    st.integers(0, 10**6).map(lambda n: f"{n}s"),
    st.integers(0, 10**6).map(lambda n: f"{n}ms"),
    st.integers(0, 10**12).map(lambda n: f"{n}ns"),
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.decimals(0, 59, places=3)).map(
        lambda t: f"{t[0]}h{t[1]}m{t[2]}s"
    ),
)
NETWORKS = st.sampled_from(["10.0.0.0/8", "192.0.2.0/24", "fd00::/48", "2001:db8::1/128"])
KUBE_PROXY_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "hostnameOverride": st.text("abc-. ", max_size=5),
        "bindAddress": st.sampled_from(["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"]),
        "clusterCIDR": st.sampled_from(["", "10.1.0.0/16", "fd00::/48", "10.1.0.0/16,fd00::/48"]),
        "detectLocalMode": st.sampled_from(["", "ClusterCIDR", "NodeCIDR"]),
        "detectLocal.bridgeInterface": st.sampled_from(["", "br0"]),
        "nodePortAddresses": st.one_of(st.just(["primary"]), st.lists(NETWORKS, max_size=3), st.none()),
        "oomScoreAdj": st.one_of(st.none(), st.integers(-1000, 1000)),
        "clientConnection.kubeconfig": st.sampled_from(["", "/etc/kubernetes/proxy.conf", "# odd: 'name'"]),
        "featureGates.AllowServiceExternalIPs": st.booleans(),
        "logging.format": st.sampled_from(["", "text", "json"]),
        "logging.verbosity": st.integers(0, 10),
        "ipvs.scheduler": st.sampled_from(["", *SCHEDULERS]),
        "ipvs.syncPeriod": st.sampled_from(["0s", "999h", "9999h0.001s"]),
        "ipvs.minSyncPeriod": st.sampled_from(["0s", "1ms", "1.000000007s", "29s"]),
        "ipvs.excludeCIDRs": st.lists(NETWORKS, max_size=2),
        "ipvs.strictARP": st.booleans(),
        "ipvs.tcpTimeout": DURATIONS,
        "ipvs.tcpFinTimeout": DURATIONS,
        "ipvs.udpTimeout": DURATIONS,
        "iptables.masqueradeAll": st.booleans(),
        "iptables.masqueradeBit": st.one_of(st.none(), st.integers(0, 31)),
        "conntrack.maxPerCore": st.one_of(st.none(), st.integers(0, 2**31 - 1)),
        "conntrack.tcpEstablishedTimeout": st.one_of(st.none(), DURATIONS),
        "conntrack.tcpBeLiberal": st.booleans(),
    },
)


@settings(deadline=None)  # a busy machine takes long to check a schema
@given(KUBE_PROXY_FIELDS)
def test_converting_keeps_the_settings_whatever_kube_proxy_s_file_says(fields: dict[str, object]) -> None:
    """load(convert(x)) == load(x) (CFG rules), and what is converted satisfies the schema."""
    loaded = parse_configuration(yaml.safe_dump(tree_with("KubeProxyConfiguration", fields))).settings
    converted = configuration_of(loaded)
    assert parse_configuration(converted).settings == loaded
    jsonschema.validate(yaml.safe_load(converted), SCHEMA)
