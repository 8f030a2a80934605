"""kube-proxy's settings in all the spellings that people have at hand, and answers to documents that hold none."""

from __future__ import annotations

import pytest

from ipvsagent.config.documents import find_configuration
from ipvsagent.config.flags import configuration_of_flags
from ipvsagent.config.load import parse_configuration, read_configuration
from ipvsagent.config.types import Settings
from ipvsagent.errors import ConfigurationError


def load(text: str) -> Settings:
    """The settings of what is found in a text."""
    return read_configuration(find_configuration(text).value).settings


def problems(text: str) -> list[str]:
    """What is wrong with a text."""
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return list(caught.value.problems)


def pod(command: str) -> str:
    """A Pod of kube-proxy with a command, given as a YAML list."""
    return f"kind: Pod\nmetadata: {{name: proxy}}\nspec: {{containers: [{{name: kube-proxy, command: {command}}}]}}\n"


@pytest.mark.parametrize(
    "text",
    [
        "kube-proxy-arg:\n- proxy-mode=ipvs\n- ipvs-scheduler=sh\n",
        "kube-proxy-arg+:\n- proxy-mode=ipvs\n- ipvs-scheduler=sh\n",
        "kube-proxy-arg: proxy-mode=ipvs\nkube-proxy-arg+: ipvs-scheduler=sh\n",
        'kube-proxy-arg: ["--proxy-mode=ipvs", "--ipvs-scheduler=sh", "-v", "2"]\n',
        "kube-proxy-arg: [proxy-mode, ipvs, ipvs-scheduler, sh]\n",
        "kube-proxy-arg: [proxy_mode=ipvs, ipvs_scheduler=sh]\n",
        "kind: Cluster\napiVersion: provisioning.cattle.io/v1\nspec:\n  rkeConfig:\n    machineGlobalConfig:\n"
        "      kube-proxy-arg: [proxy-mode=ipvs, ipvs-scheduler=sh]\n",
        "[Service]\nExecStart=/usr/local/bin/k3s \\\n  server \\\n  '--kube-proxy-arg' \\\n  'proxy-mode=ipvs' \\\n"
        "  '--kube-proxy-arg=ipvs-scheduler=sh' \\\n",
        pod("[kube-proxy, --proxy-mode, ipvs, -v, '2', --ipvs-scheduler, sh]"),
        pod("[kube-proxy, -v2, --proxy-mode=ipvs, --ipvs-scheduler=sh]"),
        pod("[/bin/sh, -c, 'exec kube-proxy --proxy-mode=ipvs --ipvs-scheduler sh 2>&1 | tee -a /var/log/p.log']"),
        pod("[sh, -ec, \"test -x /kube-proxy && A=b /kube-proxy --proxy-mode='ipvs' --ipvs-scheduler=sh; sleep\"]"),
        pod('[sh, -c, "set -e\\nkube-proxy \\\\\\n  --proxy-mode=ipvs \\\\\\n  --ipvs-scheduler=sh >/l &\\n"]'),
        pod("[hyperkube, proxy, --proxy-mode=ipvs, --ipvs-scheduler=sh]"),
        "kind: PodList\nitems:\n- metadata: {name: proxy}\n  spec:\n    containers:\n    - image: kube-proxy:v1\n"
        "      args: [--proxy-mode=ipvs, --ipvs-scheduler=sh]\n",
        "# microk8s\n--proxy-mode=ipvs # added\n--ipvs-scheduler sh\n",
        "[Unit]\nDescription=proxy\n[Service]\nExecStart=/usr/bin/kube-proxy \\\n  --proxy-mode=ipvs \\\n"
        "  --ipvs-scheduler=sh\nRestart=always\n",
        'KUBE_LOGTOSTDERR="--logtostderr=true"\nKUBE_PROXY_ARGS="--proxy-mode=ipvs --ipvs-scheduler=sh"\n',
    ],
)
def test_flags_are_read_whoever_brings_them(text: str) -> None:
    """CFG-54: a list, a drop-in, a command, a line for a shell, a unit file, a file of flags or of variables."""
    assert load(text).scheduler == "sh"


@pytest.mark.parametrize(
    "text",
    [
        "kube-proxy-arg: [proxy-mode=ipvs, config=/etc/proxy.yaml]\n",
        "kube-proxy-arg+: [config, /etc/proxy.yaml]\n",
        pod("[kube-proxy, --config, /etc/proxy.yaml]"),
        pod("[sh, -c, 'kube-proxy --config=/etc/proxy.yaml --v=2']"),
        "[Service]\nExecStart=/usr/local/bin/kube-proxy \\\n  --config=/etc/proxy.yaml\n",
    ],
)
def test_flags_that_name_a_file_lead_to_the_file(text: str) -> None:
    """CFG-51: the file has the settings then."""
    (problem,) = problems(text)
    assert problem.endswith(
        "kube-proxy reads its settings from the file /etc/proxy.yaml; pass that file, or its ConfigMap"
    )


def test_values_that_begin_with_a_hyphen_and_lists_given_twice_are_read() -> None:
    """As kube-proxy's own flag library does."""
    words = ["--proxy-mode=ipvs", "--oom-score-adj", "-998", "--masquerade-all", "false", "--ipvs-strict-arp"]
    words += ["--ipvs-exclude-cidrs=10.0.0.0/8", "--ipvs-exclude-cidrs=192.0.2.0/24"]
    tree, warnings = configuration_of_flags(words)
    settings = read_configuration(tree).settings
    assert (settings.oom_score_adjust, settings.masquerade_all, settings.strict_arp) == (-998, False, True)
    assert [str(n) for n in settings.exclude_networks] == ["10.0.0.0/8", "192.0.2.0/24"]
    assert warnings == []


def test_removed_flags_and_actions_are_named_as_such() -> None:
    """A warning each: nothing of kube-proxy's own flags makes the others unreadable."""
    text = (
        "kube-proxy-arg: [proxy-mode=ipvs, udp-timeout=250ms, cleanup-ipvs, healthz-port=10256, cleanup, log_dir=/l]\n"
    )
    assert find_configuration(text).warnings == (
        "flag `--udp-timeout` was removed from kube-proxy; it has no effect here",
        "flag `--cleanup-ipvs` was removed from kube-proxy; it has no effect here",
        "flag `--healthz-port` has no effect here; set the port in `--healthz-bind-address`, which replaced it",
        "flag `--cleanup` is an action of kube-proxy, not a setting; it has no effect here",
        "flag `--log-dir` was removed from kube-proxy; it has no effect here",
    )


def test_removed_fields_are_named_as_such() -> None:
    """CFG-50: a warning, as for every unknown field."""
    text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    text += "resourceContainer: /kube-proxy\nconntrack: {max: 5}\n"
    assert parse_configuration(text).warnings == (
        "resourceContainer: was removed from kube-proxy in 1.16; it has no effect here",
        "conntrack.max: was removed from kube-proxy; it has no effect here",
    )


def test_words_that_are_no_flags_are_refused_and_variables_left_out() -> None:
    """Nothing is lost in silence."""
    assert problems("kube-proxy-arg: [proxy-mode=ipvs, ipvs-schedulr]\n") == [
        "`ipvs-schedulr` is not a flag of kube-proxy; did you mean `ipvs-scheduler`"
    ]
    document = find_configuration(pod("[sh, -c, 'kube-proxy $ARGS --proxy-mode=ipvs --cluster-cidr=${CIDR}']"))
    assert document.warnings == (
        "`$ARGS` is left out: it contains a variable, whose value is not known here",
        "flag `--cluster-cidr=${CIDR}` is left out: it contains a variable, whose value is not known here",
    )


def test_a_command_that_hides_the_flags_says_what_to_give() -> None:
    """The mode is unknown then, so nothing about the mode is said."""
    assert problems(pod("[/start.sh, --fast]")) == [
        "Pod proxy, container kube-proxy: runs `/start.sh --fast`, which starts kube-proxy with flags that "
        "are not here; pass the flags as a list `kube-proxy-arg`"
    ]


@pytest.mark.parametrize(
    ("text", "name", "place", "remedy"),
    [
        (
            "apiVersion: kubeadm.k8s.io/v1alpha1\nkind: MasterConfiguration\nkubeProxy: {config: {mode: ipvs}}\n",
            "a kubeadm file from before 1.12",
            "`kubeProxy.config`",
            "KubeProxyConfiguration",
        ),
        (
            "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n",
            "kubeadm",
            "KubeProxyConfiguration",
            "ConfigMap",
        ),
        ("version: v1alpha1\nmachine: {type: worker}\n", "Talos", "`cluster.proxy`", "get daemonset kube-proxy"),
        ("cluster: {proxy: {mode: ipvs}}\n", "Talos", "`extraArgs`", "get daemonset kube-proxy"),
        ("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", "kind", "`networking.kubeProxyMode`", "get configmap"),
        (
            "kind: ClusterConfig\napiVersion: k0s.k0sproject.io/v1beta1\n",
            "k0s",
            "`spec.network.kubeProxy`",
            "get configmap",
        ),
        ("kind: Cluster\napiVersion: kops.k8s.io/v1alpha2\n", "kOps", "`spec.kubeProxy`", "kube-proxy.manifest"),
        (
            "services: {kubeproxy: {extra_args: {proxy-mode: ipvs}}}\n",
            "RKE",
            "`services.kubeproxy.extra_args`",
            "flags",
        ),
        ("mode: ipvs\nipvs: {scheduler: rr}\nresources: {}\n", "EKS add-on", "`mode` and `ipvs`", "kube-proxy-config"),
        ('{"mode": "IPVS", "ipvsConfig": {"scheduler": "RoundRobin"}}', "AKS", "`ipvsConfig`", "flags"),
        ("kube_proxy_mode: ipvs\nkube_proxy_strict_arp: true\n", "kubespray", "`kube_proxy_…`", "get configmap"),
        ("kind: KubeProxyConfiguration\napiVersion: componentconfig/v1alpha1\n", "before 1.9", "in it", "apiVersion"),
    ],
)
def test_documents_of_other_tools_are_answered_with_where_the_settings_are(
    text: str, name: str, place: str, remedy: str
) -> None:
    """Both where a file is converted and where `run` is given one."""
    (problem,) = problems(text)
    for words in (name, place, remedy):
        assert words in problem
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text)
    assert caught.value.problems == (problem,)


def test_kubeadm_s_old_file_is_found_in_its_config_map() -> None:
    """Where a cluster keeps it."""
    text = "kind: ConfigMap\nmetadata: {name: kubeadm-config}\ndata:\n  MasterConfiguration: |\n"
    text += "    apiVersion: kubeadm.k8s.io/v1alpha2\n    kind: MasterConfiguration\n"
    (problem,) = problems(text)
    assert problem.startswith("MasterConfiguration of kubeadm.k8s.io/v1alpha2 is a kubeadm file from before 1.12")


def test_run_says_how_to_find_the_configuration_among_several_documents() -> None:
    """A file of kubeadm often has three."""
    text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\n"
    text += "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    assert load(text) == Settings()
    with pytest.raises(ConfigurationError, match="`ipvsagent config convert` finds the configuration among several"):
        parse_configuration(text)


@pytest.mark.parametrize("text", ["a: 1\n", "kind: X\n", "apiVersion: v1\n", "ipvs: {}\n", "kind: ConfigMap\n", "{}\n"])
def test_no_answer_has_an_empty_name_in_it(text: str) -> None:
    """A missing kind is called missing."""
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text)
    assert "``" not in str(caught.value)
    assert "AgentConfiguration of ipvsagent.io/v1alpha1" in str(caught.value)
