"""kube-proxy's command line as a `KubeProxyConfiguration`, for distributions that give flags and no file (CFG-54)."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from ipvsagent.config.kube_proxy import KUBE_PROXY_API_VERSION, KUBE_PROXY_KIND
from ipvsagent.config.trees import put
from ipvsagent.config.words import near_miss
from ipvsagent.errors import ConfigurationError


class _Type(enum.Enum):
    TEXT = enum.auto()
    BOOLEAN = enum.auto()
    INTEGER = enum.auto()
    LIST = enum.auto()
    GATES = enum.auto()


_FIELDS: dict[str, tuple[str, _Type]] = {
    "proxy-mode": ("mode", _Type.TEXT),
    "kubeconfig": ("clientConnection.kubeconfig", _Type.TEXT),
    "kube-api-qps": ("clientConnection.qps", _Type.TEXT),
    "kube-api-burst": ("clientConnection.burst", _Type.INTEGER),
    "kube-api-content-type": ("clientConnection.contentType", _Type.TEXT),
    "hostname-override": ("hostnameOverride", _Type.TEXT),
    "cluster-cidr": ("clusterCIDR", _Type.TEXT),
    "bind-address": ("bindAddress", _Type.TEXT),
    "bind-address-hard-fail": ("bindAddressHardFail", _Type.BOOLEAN),
    "healthz-bind-address": ("healthzBindAddress", _Type.TEXT),
    "metrics-bind-address": ("metricsBindAddress", _Type.TEXT),
    "nodeport-addresses": ("nodePortAddresses", _Type.LIST),
    "masquerade-all": ("iptables.masqueradeAll", _Type.BOOLEAN),
    "iptables-masquerade-bit": ("iptables.masqueradeBit", _Type.INTEGER),
    "iptables-localhost-nodeports": ("iptables.localhostNodePorts", _Type.BOOLEAN),
    "iptables-sync-period": ("iptables.syncPeriod", _Type.TEXT),
    "iptables-min-sync-period": ("iptables.minSyncPeriod", _Type.TEXT),
    "ipvs-scheduler": ("ipvs.scheduler", _Type.TEXT),
    "ipvs-sync-period": ("ipvs.syncPeriod", _Type.TEXT),
    "ipvs-min-sync-period": ("ipvs.minSyncPeriod", _Type.TEXT),
    "ipvs-exclude-cidrs": ("ipvs.excludeCIDRs", _Type.LIST),
    "ipvs-strict-arp": ("ipvs.strictARP", _Type.BOOLEAN),
    "ipvs-tcp-timeout": ("ipvs.tcpTimeout", _Type.TEXT),
    "ipvs-tcpfin-timeout": ("ipvs.tcpFinTimeout", _Type.TEXT),
    "ipvs-udp-timeout": ("ipvs.udpTimeout", _Type.TEXT),
    "detect-local-mode": ("detectLocalMode", _Type.TEXT),
    "pod-bridge-interface": ("detectLocal.bridgeInterface", _Type.TEXT),
    "pod-interface-name-prefix": ("detectLocal.interfaceNamePrefix", _Type.TEXT),
    "conntrack-max-per-core": ("conntrack.maxPerCore", _Type.INTEGER),
    "conntrack-min": ("conntrack.min", _Type.INTEGER),
    "conntrack-tcp-timeout-established": ("conntrack.tcpEstablishedTimeout", _Type.TEXT),
    "conntrack-tcp-timeout-close-wait": ("conntrack.tcpCloseWaitTimeout", _Type.TEXT),
    "conntrack-tcp-be-liberal": ("conntrack.tcpBeLiberal", _Type.BOOLEAN),
    "conntrack-udp-timeout": ("conntrack.udpTimeout", _Type.TEXT),
    "conntrack-udp-timeout-stream": ("conntrack.udpStreamTimeout", _Type.TEXT),
    "config-sync-period": ("configSyncPeriod", _Type.TEXT),
    "oom-score-adj": ("oomScoreAdj", _Type.INTEGER),
    "profiling": ("enableProfiling", _Type.BOOLEAN),
    "feature-gates": ("featureGates", _Type.GATES),
    "show-hidden-metrics-for-version": ("showHiddenMetricsForVersion", _Type.TEXT),
    "logging-format": ("logging.format", _Type.TEXT),
    "v": ("logging.verbosity", _Type.INTEGER),
}
_IDLE = {
    *("add_dir_header", "alsologtostderr", "log_backtrace_at", "log_dir", "log_file", "log_file_max_size"),
    *("log-flush-frequency", "logtostderr", "one_output", "skip_headers", "skip_log_headers", "stderrthreshold"),
    *("vmodule", "resource-container", "version", "help"),
}


def configuration_of_flags(flags: Iterable[str]) -> tuple[dict[str, object], list[str]]:
    """Turn flags into the mapping that a file would hold.

    Without a file kube-proxy takes the minimum of the iptables mode, 1s, as that of IPVS (CFG-53).

    Args:
        flags: ``--name=value``, ``name=value`` or ``--name``; of two with the same name the later one counts.

    Returns:
        The mapping, and warnings about flags that have no effect here.

    Raises:
        ConfigurationError: unknown flags and values of the wrong type, all at once.
    """
    tree: dict[str, object] = {
        "apiVersion": KUBE_PROXY_API_VERSION,
        "kind": KUBE_PROXY_KIND,
        "ipvs": {"minSyncPeriod": "1s"},
    }
    problems, warnings = [], []
    for flag in flags:
        name, equals, text = flag.strip().lstrip("-").partition("=")
        if name == "master":
            warnings.append("flag `--master` is no field of a file; give it to `ipvsagent run`")
        elif name in _IDLE:
            warnings.append(f"flag `--{name}` has no effect here")
        elif name not in _FIELDS:
            problems.append(f"`--{name}` is not a flag of kube-proxy{near_miss(name, _FIELDS)}")
        elif not equals and _FIELDS[name][1] is not _Type.BOOLEAN:
            problems.append(f"`--{name}`: lacks a value; write `--{name}=VALUE`")
        elif text.startswith("$("):
            warnings.append(f"flag `--{name}={text}` is left out: its value comes from the pod's environment")
        else:
            path, kind = _FIELDS[name]
            try:
                put(tree, path, _value(kind, text if equals else "true"))
            except ValueError:
                problems.append(f"`--{name}`: `{text}` is not {_WORDS[kind]}")
    if problems:
        raise ConfigurationError(problems)
    return tree, list(dict.fromkeys(warnings))


_WORDS = {
    _Type.TEXT: "text",
    _Type.BOOLEAN: "true or false",
    _Type.INTEGER: "a whole number",
    _Type.LIST: "a list",
    _Type.GATES: "a list such as `Name=true,Other=false`",
}
_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def _value(kind: _Type, text: str) -> object:
    match kind:
        case _Type.TEXT:
            return text
        case _Type.INTEGER:
            return int(text)
        case _Type.LIST:
            return [part for part in text.split(",") if part]
        case _Type.BOOLEAN:
            return _boolean(text)
        case _Type.GATES:
            pairs = [part.partition("=") for part in text.split(",") if part]
            return {name.strip(): _boolean(value) for name, _, value in pairs}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]
