"""Finding a configuration in what a person has at hand, and kube-proxy's files of many distributions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ipvsagent.config.documents import find_configuration
from ipvsagent.config.load import parse_configuration, read_configuration
from ipvsagent.config.types import Conntrack, LocalDetection, Settings
from ipvsagent.config.values import SocketAddress
from ipvsagent.errors import ConfigurationError
from ipvsagent.model.address import Address, Network

SAMPLES = Path(__file__).parents[2] / "data" / "kube-proxy"


def local(network: str) -> LocalDetection:
    """Local detection by a cluster CIDR."""
    return LocalDetection(cluster_networks=(Network.parse(network),))


KUBECONFIG = "/var/lib/kube-proxy/kubeconfig.conf"
SCRAPED = SocketAddress(Address.parse("0.0.0.0"), 10249)
HIDDEN_HEALTH = SocketAddress(Address.parse("127.0.0.1"), 10256)
UNTOUCHED = Conntrack(max_per_core=0, tcp_established_seconds=0, tcp_close_wait_seconds=0)
EXPECTED = {
    "kubeadm": Settings(local_detection=local("10.244.0.0/16"), kubeconfig=KUBECONFIG),
    "kubespray": Settings(local_detection=local("10.233.64.0/18"), kubeconfig=KUBECONFIG, hostname_override="node1"),
    "k0s": Settings(
        metrics_listen=SCRAPED,
        local_detection=local("10.244.0.0/16"),
        kubeconfig=KUBECONFIG,
        conntrack=Conntrack(max_per_core=0),
    ),
    "eks": Settings(metrics_listen=SCRAPED, kubeconfig="/var/lib/kube-proxy/kubeconfig", oom_score_adjust=-998),
    "minikube": Settings(
        metrics_listen=SCRAPED,
        local_detection=local("10.244.0.0/16"),
        kubeconfig=KUBECONFIG,
        hostname_override="minikube",
        conntrack=UNTOUCHED,
    ),
    "k3s": Settings(
        health_listen=HIDDEN_HEALTH,
        local_detection=local("10.42.0.0/16"),
        conntrack=UNTOUCHED,
        scheduler="lc",
        strict_arp=True,
        exclude_networks=(Network.parse("192.0.2.0/24"),),
        min_sync_period_seconds=1.0,
    ),
    "rke2": Settings(
        health_listen=HIDDEN_HEALTH,
        local_detection=local("10.42.0.0/16"),
        conntrack=UNTOUCHED,
        hostname_override="rke2-agent-1",
        kubeconfig="/var/lib/rancher/rke2/agent/kubeproxy.kubeconfig",
        min_sync_period_seconds=1.0,
    ),
    "microk8s": Settings(
        health_listen=HIDDEN_HEALTH,
        local_detection=local("10.1.0.0/16"),
        min_sync_period_seconds=1.0,
    ),
    "kops": Settings(
        local_detection=local("100.96.0.0/11"),
        conntrack=Conntrack(max_per_core=131072),
        hostname_override="i-0123456789abcdef0",
        kubeconfig="/var/lib/kube-proxy/kubeconfig",
        min_sync_period_seconds=5.0,
        scheduler="wlc",
        oom_score_adjust=-998,
    ),
}


def load(text: str) -> Settings:
    """The settings of what is found in a text."""
    return read_configuration(find_configuration(text).value).settings


def problems(text: str) -> list[str]:
    """What is wrong with a text."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return list(caught.value.problems)


@pytest.mark.parametrize("name", sorted(p.stem for p in SAMPLES.iterdir()))
def test_the_configuration_of_a_distribution_loads(name: str) -> None:
    """CFG rules, CFG-53, CFG-54: what a node of this distribution has becomes these settings."""
    (path,) = SAMPLES.glob(f"{name}.*")
    assert load(path.read_text(encoding="utf-8")) == EXPECTED[name]


@pytest.mark.parametrize("name", ["kubeadm", "kubespray", "k0s", "eks", "minikube"])
def test_the_file_in_the_config_map_loads_by_itself(name: str) -> None:
    """It is what stands on the node, and `run --config` takes it as it is."""
    manifest = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    key = "config" if name == "eks" else "config.conf"
    assert parse_configuration(manifest["data"][key]).settings == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "before", "after", "shown"),
    [
        ("kubeadm", "mode: ipvs", 'mode: ""', "empty, which means iptables,"),
        ("eks", 'mode: "ipvs"', 'mode: "iptables"', "`iptables`"),
        ("k3s", "- proxy-mode=ipvs\n", "", "`iptables`"),
        ("rke2", "--proxy-mode=ipvs", "--proxy-mode=nftables", "`nftables`"),
        ("kops", "    - --proxy-mode=ipvs\n", "", "empty, which means iptables,"),
    ],
)
def test_the_mode_that_a_distribution_has_without_being_asked_is_refused_with_an_explanation(
    name: str, before: str, after: str, shown: str
) -> None:
    """CFG-01: a node that was not in IPVS mode must not change its mode by accident."""
    text = (SAMPLES / f"{name}.yaml").read_text(encoding="utf-8").replace(before, after)
    assert problems(text) == [
        f"mode: {shown} is not supported: this agent serves Services only through IPVS; allowed: ipvs, which "
        "takes over the node's Services from kube-proxy and keeps connections open"
    ]


def test_a_config_map_as_kubectl_lists_it_is_found() -> None:
    """`kubectl get configmap -o yaml` without a name prints a List."""
    manifest = yaml.safe_load((SAMPLES / "kubeadm.yaml").read_text(encoding="utf-8"))
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": "-----: ["}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [other, manifest]}
    document = find_configuration(yaml.safe_dump(listed))
    assert document.origin == "ConfigMap kube-system/kube-proxy, key config.conf"
    assert read_configuration(document.value).settings == EXPECTED["kubeadm"]


def test_a_plain_file_is_found_as_it_is() -> None:
    """Also an empty one, which means the defaults."""
    assert (
        load("apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\nipvs: {scheduler: lc}\n").scheduler == "lc"
    )
    assert load("") == Settings()
    assert problems("- 1") == ["the file: must be a mapping, not a list"]


def test_text_without_a_configuration_or_with_two_is_refused() -> None:
    """Nothing is guessed."""
    config_map = "kind: ConfigMap\nmetadata: {name: other, namespace: shop}\ndata: {a: 'b: 1'}\n"
    allowed = "allowed: AgentConfiguration, KubeProxyConfiguration, a ConfigMap with either, flags of kube-proxy"
    assert problems(config_map) == [f"holds no configuration, but ConfigMap shop/other; {allowed}"]
    two = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n---\n" * 2
    assert problems(two) == ["holds 2 configurations (a file; a file); allowed: one"]
    assert problems("a: [")[0].startswith("does not parse: ")
    broken = "kind: ConfigMap\ndata: {config.conf: 'kind: KubeProxyConfiguration\n\n  a: ['}\n"
    assert problems(broken)[0].startswith("ConfigMap, key config.conf: does not parse: ")


def test_all_wrong_flags_are_named_at_once() -> None:
    """CFG-54."""
    text = """
kube-proxy-arg:
- proxy-mode=ipvs
- ipvs-schedulr=lc
- oom-score-adj=low
- ipvs-strict-arp=maybe
- ipvs-tcp-timeout
- feature-gates=A=perhaps
"""
    assert problems(text) == [
        "`--ipvs-schedulr` is not a flag of kube-proxy; did you mean `ipvs-scheduler`",
        "`--oom-score-adj`: `low` is not a whole number",
        "`--ipvs-strict-arp`: `maybe` is not true or false",
        "`--ipvs-tcp-timeout`: lacks a value; write `--ipvs-tcp-timeout=VALUE`",
        "`--feature-gates`: `A=perhaps` is not a list such as `Name=true,Other=false`",
    ]


def test_flags_of_a_daemon_set_are_read_in_every_form() -> None:
    """CFG-51, CFG-54: values apart or joined, switches without a value, values that the pod's environment holds."""
    text = """
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - {name: other, command: [sh, -c, --odd]}
      - name: proxy
        command: [/usr/local/bin/kube-proxy, --proxy-mode, ipvs, --masquerade-all, --hostname-override=$(NODE_NAME)]
        args: ["--nodeport-addresses=192.0.2.0/24,fd00::/64", --logtostderr, "--conntrack-udp-timeout=0"]
"""
    document = find_configuration(text)
    assert document.warnings == (
        "flag `--hostname-override=$(NODE_NAME)` is left out: its value comes from the pod's environment",
        "flag `--logtostderr` was removed from kube-proxy; it has no effect here",
    )
    assert document.value == {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "ipvs": {"minSyncPeriod": "1s"},
        "iptables": {"masqueradeAll": True},
        "nodePortAddresses": ["192.0.2.0/24", "fd00::/64"],
        "conntrack": {"udpTimeout": "0"},
    }
    assert read_configuration(document.value).settings.masquerade_all


def test_a_daemon_set_that_reads_a_file_says_which_one_to_give() -> None:
    """Its flags are not its configuration (CFG-51)."""
    text = """
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec: {template: {spec: {containers: [{name: kube-proxy, command: [kube-proxy, --config=/var/lib/config.conf]}]}}}
"""
    assert problems(text) == [
        "DaemonSet kube-system/kube-proxy, container kube-proxy: kube-proxy reads its settings from the file "
        "/var/lib/config.conf; pass that file, or its ConfigMap"
    ]
