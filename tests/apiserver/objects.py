"""Objects as a real API server sends them, with all that the agent does not read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def service(name: str, cluster_ip: str, **spec: Any) -> Json:
    """A Service of namespace shop."""
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": name},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": '{"apiVersion":"v1"}\n'},
            "managedFields": [
                {
                    "manager": "kubectl-client-side-apply",
                    "operation": "Update",
                    "apiVersion": "v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': {".": {}}}}},
                }
            ],
        },
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}],
            "selector": {"app": name},
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv6" if ":" in cluster_ip else "IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        }
        | spec,
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(service_name: str, addresses: Sequence[str], name: str = "") -> Json:
    """The slice of a Service, every endpoint ready on another node."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": name or f"{service_name}-x7k2p",
            "generateName": f"{service_name}-",
            "namespace": "shop",
            "generation": 4,
            "creationTimestamp": "2026-01-01T00:00:01Z",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service_name,
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Service", "name": service_name, "uid": "u", "controller": True}
            ],
            "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {"f:endpoints": {}}}],
        },
        "addressType": "IPv6" if any(":" in a for a in addresses) else "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": f"{service_name}-{i}", "uid": f"p{i}"},
                "nodeName": "node-2",
                "zone": "zone-b",
                "hints": {"forZones": [{"name": "zone-a"}]} if i % 2 else None,
            }
            for i, address in enumerate(addresses)
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def node(name: str, address: str = "192.168.60.1") -> Json:
    """A Node."""
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "zone-a", "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
