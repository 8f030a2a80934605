"""Metrics of an agent at work, with real traffic. The agent runs in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.topology import NODE_NAME
from prometheus_client.parser import text_string_to_metric_families

from ipvsagent.agent import Agent
from ipvsagent.config.load import load_configuration
from ipvsagent.log import StructuredLogger
from kernel.manifests import endpoint_slice, port, service
from kernel.node import Node
from kernel.processes import wait_for

VIP = "10.96.0.10"
WEB, DNS = f"{VIP}:80/tcp", f"{VIP}:53/udp"
PORTS = [port(80, name="http", node_port=30080)]
SETTING = "/proc/sys/net/ipv4/vs/run_estimation"
UDP_PORTS = [port(53, name="dns", protocol="UDP")]


class Scrapes:
    """What an agent answers to scrapes."""

    def __init__(self, node: Node, render: Callable[[], tuple[str, bytes]]) -> None:
        self._node = node
        self._render = render

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of a fresh answer; None if there is none."""
        with self._node.namespace("node").inside():
            text = self._render()[1].decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def wait_for(self, wanted: float, name: str, **labels: str) -> None:
        """Wait for a value: the kernel brings its counts up to date every two seconds."""
        found: list[float | None] = []

        def reached() -> bool:
            found.append(self.value(name, **labels))
            return found[-1] == wanted

        try:
            wait_for(reached, f"{name} is {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {list(dict.fromkeys(found))}") from None


def _estimation(node: Node) -> str:
    return node.run("cat", SETTING).strip()


@contextmanager
def agent_at_work(node: Node, *, follow: bool = False) -> Iterator[Scrapes]:
    """An agent on a node, until the end of the block.

    Args:
        follow: whether it follows its configuration file.
    """
    agents: list[Agent] = []
    made = threading.Event()
    renders: list[Callable[[], tuple[str, bytes]]] = []

    def work() -> None:
        with node.namespace("node").inside():
            try:
                settings = load_configuration(node.configuration).settings
                agent = Agent(
                    settings,
                    node_name=NODE_NAME,
                    manifests=node.manifests.path,
                    configuration_file=node.configuration if follow else None,
                    log=StructuredLogger(),
                )
                agents.append(agent)
                renders.append(agent.metrics())
            finally:
                made.set()
            agent.run()

    thread = threading.Thread(target=work, name="agent")
    thread.start()
    try:
        made.wait()
        yield Scrapes(node, renders[0])
    finally:
        for agent in agents:
            agent.stop()
        thread.join()


def _traffic(protocol: str, port_name: str) -> dict[str, str]:
    return {"namespace": "shop", "service": "web", "port": port_name, "protocol": protocol}


def test_counters_equal_the_requests_made_also_after_the_virtual_server_was_deleted(node: Node) -> None:
    """DEV-01: connections exactly, over cluster IP and node port; repair loses nothing that was counted."""
    node.configure(realServerMetrics=True)
    ports = [*PORTS, *UDP_PORTS]
    node.manifests.write(
        "web", service("web", VIP, ports=ports, type="NodePort"), endpoint_slice("web", "p1", "p2", ports=ports)
    )
    tcp, udp = _traffic("TCP", "http"), _traffic("UDP", "dns")
    with agent_at_work(node) as scrapes:
        node.wait_for_service(WEB, "p1", "p2")
        node.many("client", "tcp", VIP, 80, count=12)
        node.many("client", "tcp", "192.168.60.1", 30080, count=3)
        node.many("p3", "udp", VIP, 53, count=5)
        scrapes.wait_for(15, "ipvsagent_service_connections_total", **tcp)
        scrapes.wait_for(5, "ipvsagent_service_connections_total", **udp)
        for name in ("incoming_packets", "outgoing_packets", "incoming_bytes", "outgoing_bytes"):
            assert (scrapes.value(f"ipvsagent_service_{name}_total", **tcp) or 0) > 0, name
            assert (scrapes.value(f"ipvsagent_service_{name}_total", **udp) or 0) > 0, name
        name = "ipvsagent_real_server_connections_total"
        by_pod = [scrapes.value(name, endpoint=f"10.244.0.{end}:8080", **tcp) for end in (11, 12)]
        assert sorted(count or 0 for count in by_pod) == [7, 8]  # six and six, and one or two of the node port's three
        node.run("ipvsadm", "-D", "-t", f"{VIP}:80")
        node.wait_for_service(WEB, "p1", "p2")
        node.many("client", "tcp", VIP, 80, count=20)
        scrapes.wait_for(35, "ipvsagent_service_connections_total", **tcp)
        scrapes.wait_for(5, "ipvsagent_service_connections_total", **udp)
        scrapes.wait_for(1, "ipvsagent_drift_repaired_total", kind="table")


def test_open_connections_sets_and_estimation_show_what_the_kernel_has(node: Node) -> None:
    """Gauges are of the moment; what stands still is left out, not shown as no traffic."""
    node.manifests.write("web", service("web", VIP, ports=PORTS), endpoint_slice("web", "p1", ports=PORTS))
    tcp = _traffic("TCP", "http")
    with agent_at_work(node) as scrapes:
        node.wait_for_service(WEB, "p1")
        with node.connect("client", "tcp", VIP, 80) as connection:
            connection.ask()
            scrapes.wait_for(1, "ipvsagent_service_active_connections", **tcp)
        scrapes.wait_for(0, "ipvsagent_service_active_connections", **tcp)
        scrapes.wait_for(1, "ipvsagent_service_connections_total", **tcp)
        assert scrapes.value("ipvsagent_service_inactive_connections", **tcp) == 1
        assert scrapes.value("ipvsagent_ipset_entries", set="KUBE-CLUSTER-IP") == 1
        assert scrapes.value("ipvsagent_ipset_max_entries", set="KUBE-CLUSTER-IP") == 65536
        assert (scrapes.value("ipvsagent_ipvs_connection_table_size") or 0) >= 256
        assert scrapes.value("ipvsagent_ipvs_timeout_seconds", kind="tcp") == 7875
        assert (scrapes.value("ipvsagent_kernel_operations_total", operation="add_virtual_server") or 0) >= 1
        assert scrapes.value("kubeproxy_sync_proxy_rules_service_changes_pending") == 0
        assert scrapes.value("ipvsagent_ipvs_estimation") == 1


def test_counters_lose_nothing_while_estimation_is_off_and_a_reload_switches_it(node: Node) -> None:
    """DEV-45, CLN-07: also what passed before the agent started, or while nobody scraped; cleanup leaves the setting.

    The kernel adds counts up for three seconds when a scrape asks for it; between two rounds are thirty.
    """
    node.configure(ipvs={"estimation": "off"})
    node.manifests.write("web", service("web", VIP, ports=PORTS), endpoint_slice("web", "p1", ports=PORTS))
    tcp = _traffic("TCP", "http")
    name = "ipvsagent_service_connections_total"
    with agent_at_work(node, follow=True) as scrapes:
        node.wait_for_service(WEB, "p1")
        wait_for(lambda: _estimation(node) == "0", "estimation is off")
        node.many("client", "tcp", VIP, 80, count=7)
        scrapes.wait_for(7, name, **tcp)
        wait_for(lambda: _estimation(node) == "0", "the round is over")
        assert scrapes.value("ipvsagent_ipvs_estimation") == 0
        assert scrapes.value("ipvsagent_ipvs_connections_total") == 7
        node.many("client", "tcp", VIP, 80, count=5)
        scrapes.wait_for(12, "ipvsagent_ipvs_connections_total")
        node.configure(ipvs={"estimation": "on"})
        wait_for(lambda: _estimation(node) == "1", "the new configuration is in force")
        scrapes.wait_for(12, name, **tcp)
        assert scrapes.value("ipvsagent_ipvs_estimation") == 1
        node.configure(ipvs={"estimation": "off"})
        wait_for(lambda: _estimation(node) == "0", "estimation is off again")
        node.many("client", "tcp", VIP, 80, count=3)
        node.run("sh", "-c", f"echo 1 > {SETTING}")
        wait_for(lambda: _estimation(node) == "0", "what somebody else wrote is put right")
    with agent_at_work(node) as scrapes:  # its counts are the kernel's since the virtual server was made
        scrapes.wait_for(15, name, **tcp)
        wait_for(lambda: _estimation(node) == "0", "the round is over")
    assert node.call("cleanup").code == 0
    assert _estimation(node) == "0"
