"""Convert kube-proxy's flags to a `KubeProxyConfiguration`, for distributions without a configuration file (CFG-54).

All flags are converted here, whether they come from a list, a command, a shell line or a file.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ipvsagent.config.kube_proxy import KUBE_PROXY_API_VERSION, KUBE_PROXY_KIND
from ipvsagent.config.trees import put
from ipvsagent.config.words import near_miss
from ipvsagent.errors import ConfigurationError


class _Type(enum.Enum):
    TEXT = "text"
    BOOLEAN = "true or false"
    INTEGER = "a whole number"
    LIST = "a list"
    GATES = "a list such as `Name=true,Other=false`"


class _Place(NamedTuple):
    """The configuration field of a flag."""

    path: str
    type: _Type = _Type.TEXT


_FIELDS: dict[str, _Place] = {
    "proxy-mode": _Place("mode"),
    "kubeconfig": _Place("clientConnection.kubeconfig"),
    "kube-api-qps": _Place("clientConnection.qps"),
    "kube-api-burst": _Place("clientConnection.burst", _Type.INTEGER),
    "kube-api-content-type": _Place("clientConnection.contentType"),
    "hostname-override": _Place("hostnameOverride"),
    "cluster-cidr": _Place("clusterCIDR"),
    "bind-address": _Place("bindAddress"),
    "bind-address-hard-fail": _Place("bindAddressHardFail", _Type.BOOLEAN),
    "healthz-bind-address": _Place("healthzBindAddress"),
    "metrics-bind-address": _Place("metricsBindAddress"),
    "nodeport-addresses": _Place("nodePortAddresses", _Type.LIST),
    "masquerade-all": _Place("iptables.masqueradeAll", _Type.BOOLEAN),
    "iptables-masquerade-bit": _Place("iptables.masqueradeBit", _Type.INTEGER),
    "iptables-localhost-nodeports": _Place("iptables.localhostNodePorts", _Type.BOOLEAN),
    "iptables-sync-period": _Place("iptables.syncPeriod"),
    "iptables-min-sync-period": _Place("iptables.minSyncPeriod"),
    "ipvs-scheduler": _Place("ipvs.scheduler"),
    "ipvs-sync-period": _Place("ipvs.syncPeriod"),
    "ipvs-min-sync-period": _Place("ipvs.minSyncPeriod"),
    "ipvs-exclude-cidrs": _Place("ipvs.excludeCIDRs", _Type.LIST),
    "ipvs-strict-arp": _Place("ipvs.strictARP", _Type.BOOLEAN),
    "ipvs-tcp-timeout": _Place("ipvs.tcpTimeout"),
    "ipvs-tcpfin-timeout": _Place("ipvs.tcpFinTimeout"),
    "ipvs-udp-timeout": _Place("ipvs.udpTimeout"),
    "detect-local-mode": _Place("detectLocalMode"),
    "pod-bridge-interface": _Place("detectLocal.bridgeInterface"),
    "pod-interface-name-prefix": _Place("detectLocal.interfaceNamePrefix"),
    "conntrack-max-per-core": _Place("conntrack.maxPerCore", _Type.INTEGER),
    "conntrack-min": _Place("conntrack.min", _Type.INTEGER),
    "conntrack-tcp-timeout-established": _Place("conntrack.tcpEstablishedTimeout"),
    "conntrack-tcp-timeout-close-wait": _Place("conntrack.tcpCloseWaitTimeout"),
    "conntrack-tcp-be-liberal": _Place("conntrack.tcpBeLiberal", _Type.BOOLEAN),
    "conntrack-udp-timeout": _Place("conntrack.udpTimeout"),
    "conntrack-udp-timeout-stream": _Place("conntrack.udpStreamTimeout"),
    "config-sync-period": _Place("configSyncPeriod"),
    "oom-score-adj": _Place("oomScoreAdj", _Type.INTEGER),
    "profiling": _Place("enableProfiling", _Type.BOOLEAN),
    "feature-gates": _Place("featureGates", _Type.GATES),
    "show-hidden-metrics-for-version": _Place("showHiddenMetricsForVersion"),
    "logging-format": _Place("logging.format"),
    "v": _Place("logging.verbosity", _Type.INTEGER),
}
_IDLE_SWITCHES = frozenset(
    ("enable-dsr", "log-json-split-stream", "log-text-split-stream", "version", "help", "windows-run-as-service")
)
_IDLE = _IDLE_SWITCHES | {
    *("log-flush-frequency", "log-json-info-buffer-size", "log-text-info-buffer-size", "vmodule"),
    *("forward-healthchecks-vip", "network-name", "nodeport-addresses-file", "root-hnsendpoint-name", "source-vip"),
}
_ACTIONS = frozenset(("cleanup", "init-only", "write-config-to"))
_REMOVED_SWITCHES = frozenset(
    (
        *("alsologtostderr", "add-dir-header", "logtostderr", "one-output", "skip-headers", "skip-log-headers"),
        *("cleanup-iptables", "cleanup-ipvs", "enable-load-reader", "log-cadvisor-usage"),
        *("allow-verification-with-non-compliant-keys", "docker-tls", "docker-only"),
    )
)
_REMOVED = _REMOVED_SWITCHES | {
    *("log-backtrace-at", "log-dir", "log-file", "log-file-max-size", "stderrthreshold"),
    *("conntrack-max", "proxy-port-range", "resource-container", "udp-timeout", "google-json-key"),
    *("application-metrics-count-limit", "azure-container-registry-config", "boot-id-file", "machine-id-file"),
    *("cloud-provider-gce-lb-src-cidrs", "container-hints", "containerd", "docker", "docker-root"),
    *("docker-env-metadata-whitelist", "event-storage-age-limit", "event-storage-event-limit"),
    *("global-housekeeping-interval", "housekeeping-interval", "storage-driver-buffer-duration", "storage-driver-db"),
    *("storage-driver-host", "storage-driver-password", "storage-driver-secure", "storage-driver-table"),
    *("storage-driver-user", "storage-driver"),
}
_SUCCESSORS = {"healthz-port": "healthz-bind-address", "metrics-port": "metrics-bind-address"}
"""Deprecated or removed flags, and the flags that replace them."""

_SWITCHES = (
    {name for name, place in _FIELDS.items() if place.type is _Type.BOOLEAN}
    | _IDLE_SWITCHES
    | _REMOVED_SWITCHES
    | {"cleanup", "init-only"}
)
_KNOWN = {*_FIELDS, *_IDLE, *_ACTIONS, *_REMOVED, *_SUCCESSORS, "config", "master"}
_VARIABLE = "it contains a variable, whose value is not known here"
_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class Flag(NamedTuple):
    """One flag as it was given.

    Args:
        value: None if the flag has no value.
    """

    name: str
    value: str | None

    @property
    def shown(self) -> str:
        """Return the flag as kube-proxy's help writes it."""
        return f"-{self.name}" if len(self.name) == 1 else f"--{self.name}"


def read_flags(words: Iterable[str]) -> tuple[list[Flag], list[str]]:
    """Read a command line, or a list of flags as in k3s.

    Args:
        words: ``--name=value``, ``--name`` and ``value`` as two words, ``-v2``, and all of them without hyphens.

    Returns:
        The flags, and the words that belong to no flag.
    """
    flags: list[Flag] = []
    strays: list[str] = []
    rest = [word for word in (w.strip() for w in words) if word]
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("_", "-")  # as kube-proxy does
        short = re.fullmatch(r"-v=?(\d+)", word)
        if short:
            flags.append(Flag("v", short[1]))
        elif equals:
            flags.append(Flag(name, value))
        elif not word.startswith("-") and name not in _KNOWN:
            strays.append(word)
        elif rest and _is_value(rest[0], name):
            flags.append(Flag(name, rest.pop(0)))
        else:
            flags.append(Flag(name, None))
    return flags, strays


def _is_value(word: str, name: str) -> bool:
    """Return whether a word is the value of the flag before it."""
    if name in _SWITCHES:
        return word.lower() in _BOOLEANS
    if name not in _KNOWN or re.match(r"-(?!\d)", word):
        return False
    return word.startswith("-") or word.partition("=")[0] not in _KNOWN


def configuration_of_flags(words: Iterable[str]) -> tuple[dict[str, object], list[str]]:
    """Convert flags to the mapping that a configuration file would contain.

    Without a file, kube-proxy uses the iptables mode's default of 1s for IPVS' minimum sync period (CFG-53).

    Args:
        words: as for `read_flags`. If a flag is repeated, the last one counts; lists are joined.

    Returns:
        The mapping, and warnings about flags that have no effect here.

    Raises:
        ConfigurationError: unknown flags, values of the wrong type, or `--config`; all problems at once.
    """
    flags, strays = read_flags(words)
    tree: dict[str, object] = {
        "apiVersion": KUBE_PROXY_API_VERSION,
        "kind": KUBE_PROXY_KIND,
        "ipvs": {"minSyncPeriod": "1s"},
    }
    file = next((flag.value for flag in reversed(flags) if flag.name == "config" and flag.value), None)
    if file is not None:  # then kube-proxy ignores most flags (CFG-51)
        raise ConfigurationError(
            [f"kube-proxy reads its settings from the file {file}; pass that file, or its ConfigMap"]
        )
    problems = [f"`{word}` is not a flag of kube-proxy{near_miss(word, _FIELDS)}" for word in strays if "$" not in word]
    warnings = [f"`{word}` is left out: {_VARIABLE}" for word in strays if "$" in word]
    for flag in _joined(flags):
        if flag.name in _FIELDS:
            warnings += _put(tree, flag, problems)
        else:
            warnings += _without_field(flag, problems)
    if problems:
        raise ConfigurationError(problems)
    return tree, list(dict.fromkeys(warnings))


def _joined(flags: Iterable[Flag]) -> list[Flag]:
    """Keep one flag of each name; kube-proxy adds the values of a list that is given more than once."""
    joined: dict[str, Flag] = {}
    for flag in flags:
        before, place = joined.get(flag.name), _FIELDS.get(flag.name)
        is_list = place is not None and place.type in (_Type.LIST, _Type.GATES)
        values = [before.value, flag.value] if before and is_list else []
        joined[flag.name] = Flag(flag.name, ",".join(filter(None, values))) if values else flag
    return list(joined.values())


def _put(tree: dict[str, object], flag: Flag, problems: list[str]) -> Iterator[str]:
    """Put a flag's value into the tree; yield a warning if it must be left out."""
    path, kind = _FIELDS[flag.name]
    if flag.value is None and kind is not _Type.BOOLEAN:
        problems.append(f"`{flag.shown}`: lacks a value; write `{flag.shown}=VALUE`")
        return
    value = "true" if flag.value is None else flag.value
    if "$" in value:
        reason = "its value comes from the pod's environment" if value.startswith("$(") else _VARIABLE
        yield f"flag `{flag.shown}={value}` is left out: {reason}"
        return
    try:
        put(tree, path, _value(kind, value))
    except ValueError:
        problems.append(f"`{flag.shown}`: `{value}` is not {kind.value}")


def _without_field(flag: Flag, problems: list[str]) -> Iterator[str]:
    """Yield a warning about a flag without a field; add a problem if kube-proxy never had it."""
    if flag.name == "master":
        yield "flag `--master` has no field in the configuration; pass it to `ipvsagent run`"
    elif flag.name in _SUCCESSORS:
        yield f"flag `{flag.shown}` has no effect here; set the port in `--{_SUCCESSORS[flag.name]}`, which replaced it"
    elif flag.name in _REMOVED:
        yield f"flag `{flag.shown}` was removed from kube-proxy; it has no effect here"
    elif flag.name in _ACTIONS:
        yield f"flag `{flag.shown}` is an action of kube-proxy, not a setting; it has no effect here"
    elif flag.name in _IDLE:
        yield f"flag `{flag.shown}` has no effect here"
    elif flag.name == "config":
        problems.append("`--config`: lacks a value; write `--config=FILE`")
    else:
        problems.append(f"`{flag.shown}` is not a flag of kube-proxy{near_miss(flag.name, _FIELDS)}")


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
