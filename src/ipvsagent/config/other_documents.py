"""Documents of other tools that contain kube-proxy's settings.

They are not converted, because the tools that read them add their own defaults. The error message says where in the
document the settings are, and which file or object to pass instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ipvsagent.config.kube_proxy import KUBE_PROXY_API_VERSION, KUBE_PROXY_FIELDS, KUBE_PROXY_KIND
from ipvsagent.config.reader import OUR_API_VERSION, OUR_KIND

FLAGS_KEY = "kube-proxy-arg"
READ_BY_CONVERT = ("ConfigMap", "Pod", "DaemonSet", "Deployment", "List", "ConfigMapList", "PodList", "DaemonSetList")
"""Kinds that may hold a configuration or kube-proxy's flags."""

_CONFIG_MAP = "pass the ConfigMap: `kubectl -n kube-system get configmap kube-proxy -o yaml`"
_DAEMON_SET = "pass the DaemonSet: `kubectl -n kube-system get daemonset kube-proxy -o yaml`"
_TALOS = "a machine configuration of Talos"
_EKS_VALUES = "values of the EKS add-on kube-proxy"
_EKS = "pass the ConfigMap: `kubectl -n kube-system get configmap kube-proxy-config -o yaml`"
_HEAD = f"`apiVersion: {KUBE_PROXY_API_VERSION}` and `kind: {KUBE_PROXY_KIND}`"
_ALLOWED = f"allowed: {OUR_KIND} of {OUR_API_VERSION}, {KUBE_PROXY_KIND} of {KUBE_PROXY_API_VERSION}"
_FLAGS = f"pass the flags of kube-proxy on a node, as a list `{FLAGS_KEY}`"


class _Known(NamedTuple):
    """A document of another tool.

    Args:
        group: prefix of its `apiVersion`.
        kind: empty matches any kind.
        name: what it is.
        place: where kube-proxy's settings are.
        remedy: what to pass instead.
    """

    group: str
    kind: str
    name: str
    place: str
    remedy: str


_BY_KIND = (
    _Known(
        "kubeadm.k8s.io/",
        "MasterConfiguration",
        "a kubeadm file from before 1.12",
        "below `kubeProxy.config` in it (1.9 to 1.11)",
        f"pass that part as a separate file with {_HEAD}, or {_CONFIG_MAP.removeprefix('pass ')}",
    ),
    _Known(
        "kubeadm.k8s.io/",
        "",
        "a file of kubeadm",
        f"in a document of kind {KUBE_PROXY_KIND} beside it",
        f"pass that document, or {_CONFIG_MAP.removeprefix('pass ')}",
    ),
    _Known(
        "kind.x-k8s.io/",
        "",
        "a cluster of kind",
        "in `networking.kubeProxyMode` and `kubeadmConfigPatches`",
        _CONFIG_MAP,
    ),
    _Known("k0s.k0sproject.io/", "", "a configuration of k0s", "below `spec.network.kubeProxy`", _CONFIG_MAP),
    _Known("minikube.k8s.io/", "", "a file of minikube", "in `--extra-config=kube-proxy.…`", _CONFIG_MAP),
    _Known(
        "kops.k8s.io/",
        "",
        "a cluster of kOps",
        "below `spec.kubeProxy`",
        "pass /etc/kubernetes/manifests/kube-proxy.manifest of a node",
    ),
    _Known("eksctl.io/", "", "a cluster of eksctl", "in `configurationValues` of the add-on kube-proxy", _EKS),
    _Known("core.gardener.cloud/", "", "a cluster of Gardener", "below `spec.kubernetes.kubeProxy`", _DAEMON_SET),
    _Known("operator.openshift.io/", "Network", "OpenShift's network", "below `spec.kubeProxyConfig`", _FLAGS),
    _Known("helm.cattle.io/", "HelmChartConfig", "values of a chart", "below `spec.valuesContent`", _FLAGS),
    _Known(
        "controlplane.cluster.x-k8s.io/",
        "",
        "a control plane of Cluster API",
        "in the cluster that it makes",
        _CONFIG_MAP,
    ),
    _Known(
        "componentconfig/",
        KUBE_PROXY_KIND,
        "a kube-proxy file from before 1.9",
        "in it, but some fields have been renamed",
        f"pass it with {_HEAD}; `ipvsagent config check` names the fields to change",
    ),
)
_BY_PATH = (
    _Known(
        "",
        "cluster.proxy",
        "a machine configuration of Talos",
        "below `cluster.proxy` (`mode`, `extraArgs`)",
        _DAEMON_SET,
    ),
    _Known(
        "", "machine", "a machine configuration of Talos", "below `cluster.proxy` (`mode`, `extraArgs`)", _DAEMON_SET
    ),
    _Known("", "kubeProxy.config", "a kubeadm file from before 1.12", "below `kubeProxy.config` in it", _CONFIG_MAP),
    _Known("", "services.kubeproxy", "a cluster of RKE", "below `services.kubeproxy.extra_args`", _FLAGS),
    _Known(
        "",
        "rancher_kubernetes_engine_config",
        "a cluster of Rancher",
        "below `rancher_kubernetes_engine_config.services.kubeproxy.extra_args`",
        _FLAGS,
    ),
    _Known("", "ipvsConfig", "kube-proxy's configuration of AKS", "in `mode` and `ipvsConfig`", _FLAGS),
    _Known("", "kube_proxy_mode", "a file of variables of kubespray", "in the variables `kube_proxy_…`", _CONFIG_MAP),
    _Known("", "kube_proxy_extra_args", "a file of variables", "in `kube_proxy_extra_args`", _FLAGS),
    _Known("", "proxyArguments", "a file of OpenShift", "below `proxyArguments`", _FLAGS),
    _Known("", "podAnnotations", _EKS_VALUES, "in `mode` and `ipvs`", _EKS),
    _Known("", "podLabels", _EKS_VALUES, "in `mode` and `ipvs`", _EKS),
    _Known("", "resources", _EKS_VALUES, "in `mode` and `ipvs`", _EKS),
)
"""Documents without a kind, recognised by a path, which is in `kind` here."""

_FIELD_NAMES = {field.path.partition(".")[0] for field in KUBE_PROXY_FIELDS} | {"mode"}


def known_document(value: Mapping[object, object]) -> str | None:
    """Describe where kube-proxy's settings are in a document of another tool, and what to pass instead.

    Returns:
        None if the document is not known.
    """
    kind, version = str(value.get("kind") or ""), str(value.get("apiVersion") or "")
    for known in _BY_KIND:
        if version.startswith(known.group) and known.kind in ("", kind):
            return _told(known, f"{kind} of {version}")
    if not kind:
        return next((_told(known, "this") for known in _BY_PATH if _has(value, known.kind)), None)
    return None


def explain(value: Mapping[object, object]) -> str:
    """Describe a document that is not a configuration, and what to pass instead."""
    kind, version = str(value.get("kind") or ""), str(value.get("apiVersion") or "")
    if kind in READ_BY_CONVERT or FLAGS_KEY in value or f"{FLAGS_KEY}+" in value:
        what = f"kind `{kind}`" if kind else f"a file with `{FLAGS_KEY}`"
        hint = "`ipvsagent config convert` finds kube-proxy's settings in it"
        return f"{what} is not a configuration itself; {hint}; {_ALLOWED}"
    known = known_document(value)
    if known is not None:
        return known
    if not kind and not version:
        if _FIELD_NAMES & set(value):
            return (
                f"has no `apiVersion` and no `kind`; if these are fields of kube-proxy, add {_HEAD}; if they are "
                f"{_EKS_VALUES}, {_EKS}; {_ALLOWED}"
            )
        return f"has no `apiVersion` and no `kind`; {_ALLOWED}"
    if not kind or not version:
        given, missing = (f"kind `{kind}`", "apiVersion") if kind else (f"apiVersion `{version}`", "kind")
        return f"has {given}, but no `{missing}`; {_ALLOWED}"
    return f"kind `{kind}` of apiVersion `{version}` is not known; {_ALLOWED}"


def _told(known: _Known, what: str) -> str:
    return f"{what} is {known.name}; kube-proxy's settings are {known.place}; {known.remedy}"


def _has(value: object, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True
