"""Kubernetes objects as a folder of manifests, written so that no reader ever sees half a file."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.topology import NODE_ADDRESS, NODE_ADDRESS_6, NODE_NAME, POD_ADDRESSES, POD_ADDRESSES_6, POD_PORT

Manifest = dict[str, Any]


def port(number: int = 80, protocol: str = "TCP", *, node_port: int = 0, name: str = "") -> Manifest:
    """A Service port."""
    made: Manifest = {"port": number, "protocol": protocol, "targetPort": POD_PORT}
    if name:
        made["name"] = name
    if node_port:
        made["nodePort"] = node_port
    return made


def service(
    name: str,
    *cluster_ips: str,
    ports: Sequence[Manifest] = ({"port": 80, "protocol": "TCP"},),
    type: str = "ClusterIP",  # noqa: A002 - the field's own name
    **spec: Any,
) -> Manifest:
    """A Service of the namespace `shop`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "type": type,
            "clusterIP": cluster_ips[0],
            "clusterIPs": list(cluster_ips),
            "ipFamilies": ["IPv6" if ":" in ip else "IPv4" for ip in cluster_ips],
            "ports": list(ports),
            **spec,
        },
    }


def endpoint_slice(
    service_name: str, *pods: str, ipv6: bool = False, ports: Sequence[Manifest] = ({"port": 80, "protocol": "TCP"},)
) -> Manifest:
    """The slice of a Service in one family; pods are names of the topology, or addresses."""
    known = POD_ADDRESSES_6 if ipv6 else POD_ADDRESSES
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service_name}-{'ipv6' if ipv6 else 'ipv4'}",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv6" if ipv6 else "IPv4",
        "ports": [{"name": p.get("name", ""), "protocol": p["protocol"], "port": POD_PORT} for p in ports],
        "endpoints": [_endpoint(pod, known.get(pod, pod)) for pod in pods],
    }


def node() -> Manifest:
    """The Node that the agent works on."""
    addresses = [{"type": "InternalIP", "address": a} for a in (NODE_ADDRESS, NODE_ADDRESS_6)]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME},
        "status": {"addresses": [*addresses, {"type": "Hostname", "address": NODE_NAME}]},
    }


def other_node(name: str, *addresses: str) -> Manifest:
    """Another Node of the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
    }


def with_ingress(manifest: Manifest, *addresses: str, mode: str = "VIP") -> Manifest:
    """A Service to which a load balancer gave these addresses."""
    ingress = [{"ip": a, "ipMode": mode} for a in addresses]
    return {**manifest, "status": {"loadBalancer": {"ingress": ingress}}}


def many_services(count: int, *, first: int = 0) -> list[Manifest]:
    """Services ``many-N`` of one port with one endpoint each, from 10.97.0.0 on, and their slices."""
    base = int(ipaddress.IPv4Address("10.97.0.1")) + first
    objects = []
    for index in range(count):
        name = f"many-{first + index}"
        objects.append(service(name, str(ipaddress.IPv4Address(base + index))))
        objects.append(endpoint_slice(name, "p1"))
    return objects


class ManifestFolder:
    """A folder that the agent follows.

    Args:
        path: the folder, which is made; its sibling ``PATH.new`` holds files while they are written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = path.with_name(path.name + ".new")
        path.mkdir()

    def write(self, name: str, *objects: Manifest) -> None:
        """Write a file of objects, or replace it, in one step."""
        self.write_text(f"{name}.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def write_text(self, file_name: str, text: str) -> None:
        """Write a file as it is, in one step."""
        self._new.write_text(text, encoding="utf-8")
        self._new.replace(self.path / file_name)

    def remove(self, name: str) -> None:
        """Remove a file of objects."""
        (self.path / f"{name}.json").unlink()


def _endpoint(pod: str, address: str) -> Manifest:
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "node-2" if pod == "remote" else NODE_NAME,
    }
