"""The effective settings in kube-proxy's words, as `/configz` shows them (HC-23)."""

from __future__ import annotations

from ipvsagent.config.kube_proxy import kube_proxy_tree
from ipvsagent.config.types import Settings
from ipvsagent.config.write import configuration_tree


def configz(settings: Settings) -> dict[str, object]:
    """Return the settings as a `KubeProxyConfiguration`, and with every field of our kind under ``ipvsagent.io``."""
    return {"kubeproxy.config.k8s.io": kube_proxy_tree(settings), "ipvsagent.io": configuration_tree(settings)}
