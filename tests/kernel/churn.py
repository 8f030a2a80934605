"""Random objects that come, change and go, as manifests and as what the oracle reads."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from lab.topology import CLUSTER_NETWORKS, NODE_ADDRESS, NODE_NAME, POD_ADDRESSES, POD_ADDRESSES_6, POD_PORT

from ipvsagent.config.types import LocalDetection, Settings
from ipvsagent.model.address import Address, Network
from ipvsagent.model.objects import EndpointSlice, Kind, KubernetesObject, Service
from ipvsagent.model.objects import Node as NodeObject
from ipvsagent.source.decode import Usable, decode_value
from kernel.manifests import Manifest, ManifestFolder, endpoint_slice, node, other_node, port, service, with_ingress
from oracle.planner import World

CHURNED_SERVICES = 8
CLUSTER_IPS = "10.96.20."
"""How those of the Services that change begin."""

STEADY_VIP, STEADY_VIP_6, STEADY_NODE_PORT = "10.96.0.10", "fd00:96::10", 30080
VICTIM_VIP, VICTIM_VIP_6 = "10.96.0.20", "fd00:96::20"
SETTINGS = Settings(
    local_detection=LocalDetection(cluster_networks=tuple(Network.parse(n) for n in CLUSTER_NETWORKS)),
)
"""Those of `Node.configure`."""

# Few values, so that Services meet: shared VIPs, the node's own address, another node's, and what is none.
_ADDRESSES = ["198.51.100.7", "198.51.100.8", NODE_ADDRESS, "192.168.60.9", "10.244.7.7", "junk"]
_ADDRESSES_6 = ["2001:db8::7", "2001:db8::8", "fd00:60::9"]
_RANGES = ["192.168.60.0/24", "192.0.2.0/24", "203.0.113.9/32", "0.0.0.0/0", "fd00:60::/64", "junk"]
_CONDITIONS = [
    {"ready": True, "serving": True, "terminating": False},
    {"ready": True, "serving": True, "terminating": False},
    {"ready": False, "serving": False, "terminating": False},
    {"ready": False, "serving": True, "terminating": True},
    {"ready": False, "serving": False, "terminating": True},
    {},
]
_PORTS = [(80, "TCP"), (443, "TCP"), (53, "UDP"), (9, "SCTP")]


class Churn:
    """The objects of a cluster and their random changes, each written to the node's folder at once.

    Two Services never change: the steady one, which is asked all the time, and the victim, whose state others damage.

    Attributes:
        events: how many objects were written or removed.
    """

    def __init__(self, folder: ManifestFolder, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._files: dict[str, list[Manifest]] = {}
        self.events = 0
        self._write("node", node())
        steady_ports = [port(80, node_port=STEADY_NODE_PORT, name="web"), port(53, "UDP", name="dns")]
        self._write(
            "steady",
            service("steady", STEADY_VIP, STEADY_VIP_6, ports=steady_ports, type="NodePort"),
            endpoint_slice("steady", "p1", "p2", ports=steady_ports),
            endpoint_slice("steady", "p1", "p2", ipv6=True, ports=steady_ports),
        )
        self._write(
            "victim",
            service("victim", VICTIM_VIP, VICTIM_VIP_6),
            endpoint_slice("victim", "p1", "p2"),
            endpoint_slice("victim", "p1", "p2", ipv6=True),
        )
        for number in range(CHURNED_SERVICES):
            self._put_service(number)
            self._put_slices(number)

    def change(self) -> str:
        """Change something at random; answers what."""
        number = self._chance.randrange(CHURNED_SERVICES)
        what = self._chance.choices(["slices", "service", "remove", "node", "other node"], [10, 5, 2, 1, 1])[0]
        if what == "slices":
            self._put_slices(number)
        elif what == "service":
            self._put_service(number)
        elif what == "remove":
            self._remove(self._chance.choice([f"service-{number}", f"slices-{number}"]))
        elif what == "node":
            zone = self._chance.choice(["zone-a", "zone-b", ""])
            labels = {"topology.kubernetes.io/zone": zone} if zone else {}
            self._write("node", {**node(), "metadata": {"name": NODE_NAME, "labels": labels}})
        elif self._chance.random() < 0.5:
            self._write("node-2", other_node("node-2", "192.168.60.9", "fd00:60::9"))
        else:
            self._remove("node-2")
        return what

    def world(self, interface_addresses: Iterable[str]) -> World:
        """The objects as they are now, for the oracle."""
        decoded: list[KubernetesObject] = []
        for manifest in [m for name in sorted(self._files) for m in self._files[name]]:
            result = decode_value(Kind(manifest["kind"]), manifest)
            if isinstance(result, Usable):
                decoded.append(result.object)
        return World(
            [o for o in decoded if isinstance(o, Service)],
            [o for o in decoded if isinstance(o, EndpointSlice)],
            [o for o in decoded if isinstance(o, NodeObject)],
            SETTINGS,
            NODE_NAME,
            [Address.parse(a) for a in interface_addresses],
        )

    def _write(self, name: str, *objects: Manifest) -> None:
        self._files[name] = list(objects)
        self._folder.write(name, *objects)
        self.events += 1

    def _remove(self, name: str) -> None:
        if self._files.pop(name, None) is not None:
            self._folder.remove(name)
            self.events += 1

    def _put_service(self, number: int) -> None:
        chance = self._chance
        ip, ip_6 = f"{CLUSTER_IPS}{number}", f"fd00:96:20::{number}"
        spec: dict[str, Any] = {
            "type": chance.choice(["ClusterIP", "ClusterIP", "NodePort", "LoadBalancer"]),
            "externalIPs": self._some(_ADDRESSES + _ADDRESSES_6),
            "internalTrafficPolicy": chance.choice(["Cluster", "Cluster", "Local"]),
            "externalTrafficPolicy": chance.choice(["Cluster", "Local"]),
            "sessionAffinity": chance.choice(["None", "None", "ClientIP"]),
            "loadBalancerSourceRanges": self._some(_RANGES),
        }
        if spec["type"] == "LoadBalancer":
            spec["healthCheckNodePort"] = 32000 + number
        ports = []
        for index, (at, protocol) in enumerate(chance.sample(_PORTS, chance.randint(1, 3))):
            # Now and then two Services want the same node port.
            node_port = chance.choice([0, 0, 31000 + 10 * number + index, 31999])
            ports.append(port(at, protocol, node_port=node_port, name=f"{protocol.lower()}-{at}"))
        made = service(
            f"service-{number}", *chance.choice([(ip,), (ip_6,), (ip, ip_6), (ip_6, ip)]), ports=ports, **spec
        )
        made["metadata"]["creationTimestamp"] = f"2026-01-0{chance.randint(1, 3)}T00:00:00Z"
        ingress = self._some(_ADDRESSES[:-1] + _ADDRESSES_6) if spec["type"] == "LoadBalancer" else []
        mode = chance.choice(["VIP", "VIP", "Proxy"])
        self._write(f"service-{number}", with_ingress(made, *ingress, mode=mode))

    def _put_slices(self, number: int) -> None:
        """Up to two slices a family, with any endpoints."""
        self._write(
            f"slices-{number}",
            *(
                self._slice(number, index, ipv6)
                for ipv6 in (False, True)
                for index in range(self._chance.choice([0, 1, 1, 1, 2]))
            ),
        )

    def _slice(self, number: int, index: int, ipv6: bool) -> Manifest:
        chance = self._chance
        known = POD_ADDRESSES_6 if ipv6 else POD_ADDRESSES
        # Now and then some of which nobody knows.
        others = [f"fd00:244::{n}" if ipv6 else f"10.244.0.{n}" for n in range(90, 96) if chance.random() < 0.1]
        ports = [
            {"name": f"{protocol.lower()}-{at}", "protocol": protocol, "port": POD_PORT}
            for at, protocol in chance.sample(_PORTS, chance.randint(3, 4))
        ]
        endpoints = []
        for address in chance.sample([*known.values(), *others], chance.randint(0, 4)):
            hints = chance.choice([{}, {}, {"forZones": [{"name": chance.choice(["zone-a", "zone-b"])}]}])
            endpoints.append(
                {
                    "addresses": [address],
                    "conditions": chance.choice(_CONDITIONS),
                    "nodeName": chance.choice([NODE_NAME, "node-2"]),
                    "hints": hints,
                }
            )
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"service-{number}-{'ipv6' if ipv6 else 'ipv4'}-{index}",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": f"service-{number}"},
            },
            "addressType": "IPv6" if ipv6 else "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        }

    def _some(self, values: list[str]) -> list[str]:
        """Mostly none, or one or two."""
        return self._chance.sample(values, self._chance.choice([0, 0, 1, 2]))
