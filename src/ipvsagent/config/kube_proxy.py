"""Read and write kube-proxy's own kind of configuration."""

from __future__ import annotations

from collections.abc import Mapping

from ipvsagent.config import forms
from ipvsagent.config.fields import Field, with_values
from ipvsagent.config.reader import Findings, read_settings
from ipvsagent.config.trees import put
from ipvsagent.config.types import FIELDS, Settings
from ipvsagent.config.words import WrongValue

KUBE_PROXY_API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KUBE_PROXY_KIND = "KubeProxyConfiguration"

KUBE_PROXY_FIELDS: tuple[Field, ...] = tuple(f for f in FIELDS if not f.ours)

NAMED_IDLE_FIELDS = (
    *("nftables", "winkernel", "windowsRunAsService", "portRange", "enableProfiling"),
    *("showHiddenMetricsForVersion", "configSyncPeriod"),
    *("iptables.syncPeriod", "iptables.minSyncPeriod", "iptables.localhostNodePorts"),
    *("logging.flushFrequency", "logging.vmodule", "logging.options"),
)
"""Fields of this kind alone that have no effect here; one warning names those that are set."""

_REMOVED_FIELDS = {
    "conntrack.max": "",
    "resourceContainer": " in 1.16",
    "udpIdleTimeout": " in 1.26",
    "udpTimeoutMilliseconds": " in 1.10",
}
"""Fields that old files may contain, and the release that removed them."""

_VERBOSITY = "logging.verbosity"
_VERBOSITY_OF_OBJECTS = 4  # from 4 on, kube-proxy logs single objects
_VERBOSITIES = forms.whole(0, 2**32 - 1)


def read_kube_proxy(tree: Mapping[str, object], findings: Findings) -> tuple[Settings, list[str]]:
    """Read a `KubeProxyConfiguration`.

    Returns:
        The settings, and warnings: one for all fields without effect, and one for each unknown field (CFG-50).
    """
    findings.problems += _problems_of_mode(tree.get("mode"))
    logging = tree.get("logging")
    level = "info"
    if isinstance(logging, dict):
        level = _level(logging.get("verbosity"), findings)
        # An empty format is the default in this kind.
        tree = {**tree, "logging": {k: v for k, v in logging.items() if (k, v) != ("format", "")}}
    idle = (*NAMED_IDLE_FIELDS, _VERBOSITY, "mode")
    settings = read_settings(tree, findings, fields=KUBE_PROXY_FIELDS, idle=idle)
    without_effect = [path for path in NAMED_IDLE_FIELDS if path in findings.idle]
    warnings = [f"fields without effect here: {', '.join(without_effect)}"] if without_effect else []
    return with_values(settings, {"logging.level": level}), warnings + [
        _without_removed(words) for words in findings.unknown
    ]


def _without_removed(words: str) -> str:
    """Change the message about an unknown field if kube-proxy once had the field."""
    path = words.partition(":")[0]
    if path not in _REMOVED_FIELDS:
        return words
    return f"{path}: was removed from kube-proxy{_REMOVED_FIELDS[path]}; it has no effect here"


def kube_proxy_tree(settings: Settings) -> dict[str, object]:
    """Return the settings as a `KubeProxyConfiguration` of plain values, from which the same settings can be read."""
    tree: dict[str, object] = {
        "kind": KUBE_PROXY_KIND,
        "apiVersion": KUBE_PROXY_API_VERSION,
        "mode": "ipvs",
        "enableProfiling": False,
    }
    for field in KUBE_PROXY_FIELDS:
        put(tree, field.path, field.plain_go(settings))
    return tree


def _problems_of_mode(mode: object) -> list[str]:
    """Reject every mode except IPVS (CFG-01)."""
    try:
        word = "" if mode is None else forms.as_text(mode)
    except WrongValue as error:
        return [f"mode: {reason}" for reason in error.reasons]
    if word == "ipvs":
        return []
    shown = f"`{word}`" if word else "empty, which means iptables,"
    return [
        f"mode: {shown} is not supported: this agent serves Services only through IPVS; allowed: ipvs, which "
        "takes over the node's Services from kube-proxy and keeps connections open"
    ]


def _level(verbosity: object, findings: Findings) -> str:
    """Return the log level that a verbosity stands for (CFG-12)."""
    try:
        number = 0 if verbosity is None else _VERBOSITIES.read(verbosity) or 0
    except WrongValue as error:
        findings.problems += [f"{_VERBOSITY}: {reason}" for reason in error.reasons]
        return "info"
    return "debug" if number >= _VERBOSITY_OF_OBJECTS else "info"
