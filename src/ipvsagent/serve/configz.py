"""The effective settings in kube-proxy's words, as `/configz` shows them (HC-23)."""

from __future__ import annotations

from ipvsagent.config.types import NodePortAddresses, Settings
from ipvsagent.config.write import configuration_tree

_KIND = {"kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1"}


def configz(settings: Settings) -> dict[str, object]:
    """Return the settings as a `KubeProxyConfiguration`, and all fields of our own kind under ``ipvsagent.io``."""
    detection, conntrack, timeouts = settings.local_detection, settings.conntrack, settings.timeouts
    proxy: dict[str, object] = {
        **_KIND,
        "mode": "ipvs",
        "hostnameOverride": settings.hostname_override,
        "bindAddress": "0.0.0.0" if settings.bind_address is None else str(settings.bind_address),
        "healthzBindAddress": str(settings.health_listen),
        "metricsBindAddress": str(settings.metrics_listen),
        "bindAddressHardFail": settings.bind_address_hard_fail,
        "enableProfiling": False,
        "clientConnection": {"kubeconfig": settings.kubeconfig},
        "featureGates": {"AllowServiceExternalIPs": settings.allow_external_ips},
        "oomScoreAdj": settings.oom_score_adjust,
        "clusterCIDR": ",".join(str(n) for n in detection.cluster_networks),
        "detectLocalMode": str(detection.mode),
        "detectLocal": {
            "bridgeInterface": detection.bridge_interface,
            "interfaceNamePrefix": detection.interface_name_prefix,
        },
        "nodePortAddresses": _node_port_addresses(settings.node_port_addresses),
        "iptables": {"masqueradeBit": settings.masquerade_bit, "masqueradeAll": settings.masquerade_all},
        "ipvs": {
            "scheduler": settings.scheduler,
            "syncPeriod": go_duration(settings.sync_period_seconds),
            "minSyncPeriod": go_duration(settings.min_sync_period_seconds),
            "excludeCIDRs": [str(n) for n in settings.exclude_networks],
            "strictARP": settings.strict_arp,
            "tcpTimeout": go_duration(timeouts.tcp_seconds),
            "tcpFinTimeout": go_duration(timeouts.tcp_fin_seconds),
            "udpTimeout": go_duration(timeouts.udp_seconds),
        },
        "conntrack": {
            "maxPerCore": conntrack.max_per_core,
            "min": conntrack.min,
            "tcpEstablishedTimeout": go_duration(conntrack.tcp_established_seconds),
            "tcpCloseWaitTimeout": go_duration(conntrack.tcp_close_wait_seconds),
            "tcpBeLiberal": conntrack.tcp_be_liberal,
            "udpTimeout": go_duration(conntrack.udp_seconds),
            "udpStreamTimeout": go_duration(conntrack.udp_stream_seconds),
        },
    }
    return {"kubeproxy.config.k8s.io": proxy, "ipvsagent.io": configuration_tree(settings)}


def _node_port_addresses(setting: NodePortAddresses) -> list[str]:
    return ["primary"] if setting.primary else [str(n) for n in setting.networks]


def go_duration(seconds: float) -> str:
    """Format a duration as Go does: ``0s``, ``500ms``, ``1m30s``, ``24h0m0s``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(round(seconds, 9), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}h{minutes}m{rest:g}s"
    return f"{minutes}m{rest:g}s" if minutes else f"{rest:g}s"
