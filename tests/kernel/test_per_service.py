"""Schedulers and weights of single Services, as clients see them (DEV-15)."""

from __future__ import annotations

from collections import Counter

from lab.topology import NODE_ADDRESS
from lab.traffic import count_by_pod

from kernel.manifests import Manifest, endpoint_slice, port, service, with_ingress
from kernel.node import REFUSED, Node
from kernel.processes import wait_for

ALL_PODS = ("p1", "p2", "p3")
SPREAD, STICKY, WEIGHTED = "10.96.0.10", "10.96.0.11", "10.96.0.12"
BALANCER = "203.0.113.40"
P1, P2 = "10.244.0.11:8080", "10.244.0.12:8080"


def annotated(manifest: Manifest, **annotations: str) -> Manifest:
    """An object with annotations by their full names."""
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": annotations}}


def weighted(service_name: str, pod: str, weight: int) -> Manifest:
    """A slice of one pod with a weight."""
    made = annotated(endpoint_slice(service_name, pod), **{"ipvsagent.io/weight": str(weight)})
    made["metadata"]["name"] = f"{service_name}-{pod}"
    return made


def test_each_service_has_the_scheduler_that_it_asks_for(node: Node) -> None:
    """DEV-15, KR-01, KR-30: one spreads a client's connections evenly, one keeps the client, whichever way it comes."""
    ports = [port(80, node_port=30080)]
    sticky = service("sticky", STICKY, ports=ports, type="NodePort")
    node.manifests.write(
        "web",
        annotated(service("spread", SPREAD), **{"kube-router.io/service.scheduler": "rr"}),
        endpoint_slice("spread", *ALL_PODS),
        annotated(sticky, **{"ipvsagent.io/scheduler": "sh"}),
        endpoint_slice("sticky", *ALL_PODS, ports=ports),
    )
    node.configure(ipvs={"scheduler": "lc"})
    node.start_agent_and_wait()
    schedulers = {name: entry.scheduler for name, entry in node.table().items()}
    assert schedulers[f"{SPREAD}:80/tcp"] == "rr"
    assert schedulers[f"{STICKY}:80/tcp"] == schedulers[f"{NODE_ADDRESS}:30080/tcp"] == "sh"
    assert count_by_pod(node.many("client", "tcp", SPREAD, 80, count=9)) == Counter(p1=3, p2=3, p3=3)
    assert len(count_by_pod(node.many("client", "tcp", STICKY, 80, count=9))) == 1
    assert len(count_by_pod(node.many("client", "tcp", NODE_ADDRESS, 30080, count=9))) == 1


def test_source_hashing_with_the_port_spreads_one_client(node: Node) -> None:
    """DEV-15, DEV-16: flags reach the kernel, in ipvsadm's words."""
    wishes = {"ipvsagent.io/scheduler": "sh", "ipvsagent.io/scheduler-flags": "sh-port"}
    node.manifests.write("web", annotated(service("web", SPREAD), **wishes), endpoint_slice("web", *ALL_PODS))
    node.start_agent_and_wait()
    assert f"-A -t {SPREAD}:80 -s sh -b sh-port" in node.ipvsadm()
    assert len(count_by_pod(node.many("client", "tcp", SPREAD, 80, count=30))) == 3


def test_weights_are_shares_exactly(node: Node) -> None:
    """DEV-15: three to one; and nothing new for weight 0. The kernel holds what `plan` prints."""
    wrr = annotated(service("web", WEIGHTED), **{"ipvsagent.io/scheduler": "wrr"})
    node.manifests.write("web", wrr, weighted("web", "p1", 3), weighted("web", "p2", 1), weighted("web", "p3", 0))
    node.start_agent_and_wait()
    assert node.ipvsadm() == sorted(node.call(*node.plan_words("ipvsadm")).stdout.splitlines())
    assert count_by_pod(node.many("client", "tcp", WEIGHTED, 80, count=12)) == Counter(p1=9, p2=3)
    node.manifests.write("web", wrr, weighted("web", "p1", 1), weighted("web", "p2", 3), weighted("web", "p3", 0))
    wait_for(lambda: node.table()[f"{WEIGHTED}:80/tcp"].weights[P2] == 3, "the weights have changed places")
    wait_for(lambda: node.table()[f"{WEIGHTED}:80/tcp"].weights[P1] == 1, "the weights have changed places")
    assert count_by_pod(node.many("client", "tcp", WEIGHTED, 80, count=12)) == Counter(p1=3, p2=9)


def test_a_changed_annotation_is_followed_and_keeps_connections(node: Node) -> None:
    """DEV-15, VS-05: the virtual server and its real servers are changed in place, never removed and added."""
    name = f"{SPREAD}:80/tcp"
    web, slices = service("web", SPREAD), [weighted("web", pod, 1) for pod in ALL_PODS]
    node.manifests.write("web", web, *slices)
    node.start_agent()
    node.wait_for_service(name, *ALL_PODS)
    with node.connect("client", "tcp", SPREAD, 80) as connection:
        pod = connection.ask().pod
        node.manifests.write("web", annotated(web, **{"ipvsagent.io/scheduler": "sh"}), *slices)
        wait_for(lambda: node.table()[name].scheduler == "sh", "the scheduler is sh")
        assert connection.ask().pod == pod
        assert len(count_by_pod(node.many("client", "tcp", SPREAD, 80, count=6))) == 1
        node.manifests.write("web", web, *(weighted("web", p, 0 if p == pod else 2) for p in ALL_PODS))
        wait_for(
            lambda: node.table()[name].scheduler == "rr" and sorted(node.table()[name].weights.values()) == [0, 2, 2],
            "the scheduler is rr again, and the pod rests",
        )
        assert connection.ask().pod == pod
        assert count_by_pod(node.many("client", "tcp", SPREAD, 80, count=6)) == Counter(
            {p: 3 for p in ALL_PODS if p != pod}
        )
        node.manifests.write("web", web, *slices)
        wait_for(lambda: set(node.table()[name].weights.values()) == {1}, "all pods work")
        assert connection.ask().pod == pod
    assert count_by_pod(node.many("client", "tcp", SPREAD, 80, count=6)) == Counter(p1=2, p2=2, p3=2)


def test_source_hashing_refuses_clients_of_a_resting_pod_unless_it_may_fall_back(node: Node) -> None:
    """DEV-15: the kernel keeps a pod's share of clients at weight 0; the documentation names the flag for it."""
    name, wishes = f"{STICKY}:80/tcp", {"ipvsagent.io/scheduler": "sh"}
    web = service("web", STICKY)
    node.manifests.write("web", annotated(web, **wishes), weighted("web", "p1", 1), weighted("web", "p2", 1))
    node.start_agent_and_wait()
    pod = node.ask("client", "tcp", STICKY, 80).pod
    other = "p2" if pod == "p1" else "p1"
    resting = [weighted("web", pod, 0), weighted("web", other, 1)]
    node.manifests.write("web", annotated(web, **wishes), *resting)
    wait_for(lambda: sorted(node.table()[name].weights.values()) == [0, 1], "the pod rests")
    assert node.outcome("client", "tcp", STICKY, 80) == REFUSED
    node.manifests.write("web", annotated(web, **wishes, **{"ipvsagent.io/scheduler-flags": "sh-fallback"}), *resting)
    wait_for(lambda: f"-A -t {STICKY}:80 -s sh -b sh-fallback" in node.ipvsadm(), "it may fall back")
    assert node.outcome("client", "tcp", STICKY, 80) == other


def test_a_pod_that_returns_from_draining_has_its_weight_again(node: Node) -> None:
    """DEV-15, DEV-18: and a weight that somebody else set is put right to what was asked for (DEV-17)."""
    name = f"{WEIGHTED}:80/tcp"
    web = annotated(service("web", WEIGHTED), **{"ipvsagent.io/scheduler": "wrr"})
    node.manifests.write("web", web, weighted("web", "p1", 3))
    node.start_agent()
    node.wait_for_service(name, "p1")
    with node.connect("client", "tcp", WEIGHTED, 80) as connection:
        assert connection.ask().pod == "p1"
        node.manifests.write("web", web, weighted("web", "p2", 1))
        wait_for(lambda: node.table()[name].weights == {P1: 0, P2: 1}, "p1 is draining")
        node.manifests.write("web", web, weighted("web", "p1", 3), weighted("web", "p2", 1))
        wait_for(lambda: node.table()[name].weights == {P1: 3, P2: 1}, "p1 is back")
        assert connection.ask().pod == "p1"
    node.run("ipvsadm", "-e", "-t", f"{WEIGHTED}:80", "-r", P1, "-m", "-w", "1")
    wait_for(lambda: node.table()[name].weights == {P1: 3, P2: 1}, "the weight is put right")


def test_local_and_skipped_load_balancer_ips_under_kube_routers_names(node: Node) -> None:
    """KR-03, KR-06, KR-30: from outside only pods of this node, from pods all; the load balancer IP is not here."""
    ports = [port(80, node_port=30080)]
    router = {"kube-router.io/service.local": "true", "kube-router.io/service.skiplbips": ""}
    web = with_ingress(service("web", SPREAD, ports=ports, type="LoadBalancer"), BALANCER)
    node.manifests.write("web", annotated(web, **router), endpoint_slice("web", "p1", "remote", ports=ports))
    node.start_agent_and_wait()
    assert count_by_pod(node.many("client", "tcp", NODE_ADDRESS, 30080, count=4)) == Counter(p1=4)
    assert count_by_pod(node.many("p2", "tcp", SPREAD, 80, count=4)) == Counter(p1=2, remote=2)
    assert f"{BALANCER}:80/tcp" not in node.table()
    assert not node.has_address(BALANCER)
