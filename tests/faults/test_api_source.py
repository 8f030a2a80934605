"""The conversation with an API server, and everything that can go wrong with it.

Each test runs the real source against a real HTTP server, into a reconciler on the fake kernel, and waits for a
state of that kernel.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.speed import scaled

from apiserver.objects import endpoint_slice, service
from apiserver.server import ApiServer, Fault
from ipvsagent.errors import SourceError
from ipvsagent.model.objects import Announced, NodeNotice
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.event_recorder import EventRecorder
from ipvsagent.source.transport import KubernetesTransport
from support.api_cluster import Cluster, kubeconfig
from support.fake_node import SilentLogger
from support.waiting import wait_until

DEADLINE_SECONDS = scaled(20.0)


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """A node that follows it and is in step."""
    with Cluster(server, kubeconfig(tmp_path / "kubeconfig", server.url)) as running:
        running.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"])
        yield running


def watching(server: ApiServer) -> Callable[[], bool]:
    """Whether the next watch request came after now."""
    before = sum("watch=true" in r and "services" in r for r in server.requests)
    return lambda: sum("watch=true" in r and "services" in r for r in server.requests) > before


def test_changes_follow_over_the_watch(cluster: Cluster) -> None:
    """SYN-04, SVC-17: added, changed, deleted."""
    cluster.server.put(service("c", "10.96.0.3"), endpoint_slice("c", ["10.244.1.4"]))
    cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"], ip3=["10.244.1.4"])
    cluster.server.put(endpoint_slice("b", ["10.244.1.3", "10.244.1.9"]))
    cluster.server.delete("Service", "a")
    cluster.becomes(ip2=["10.244.1.3", "10.244.1.9"], ip3=["10.244.1.4"])


def test_lists_come_in_pages_and_leave_out_what_is_not_used(cluster: Cluster) -> None:
    """SVC-01, EP-01: selectors work on the server."""
    lists = [r for r in cluster.server.requests if "watch" not in r]
    assert any("limit=2" in r and "continue=" not in r for r in lists)
    assert any("fieldSelector=spec.clusterIP%21%3DNone" in r for r in lists)
    assert any("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name" in r for r in lists)
    assert any("endpointslices" in r and "labelSelector=%21service.kubernetes.io%2Fheadless" in r for r in lists)
    assert any("/nodes" in r and "fieldSelector=metadata.name%3Dnode-1" in r for r in lists)


def test_a_service_that_gains_another_proxys_label_goes(cluster: Cluster) -> None:
    """SVC-01: it arrives as a deletion."""
    labelled = service("a", "10.96.0.1")
    labelled["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other"
    cluster.server.put(labelled)
    cluster.becomes(ip2=["10.244.1.2", "10.244.1.3"])


def test_a_forgotten_version_leads_to_a_list_that_finds_deletions(cluster: Cluster) -> None:
    """410 Gone: a relist is compared with what is known; what stays is not touched."""
    listed = len([r for r in cluster.server.requests if "watch" not in r])
    cluster.node.kernel.clear_log()
    again = watching(cluster.server)
    cluster.server.delete("Service", "a")
    cluster.server.forget_history()
    cluster.server.end_watches()
    cluster.becomes(ip2=["10.244.1.2", "10.244.1.3"])
    wait_until(again, "a new watch")
    assert len([r for r in cluster.server.requests if "watch" not in r]) > listed
    assert not [line for line in cluster.node.operations() if "10.96.0.2" in line]


FAULTS_OF_A_LIST = [
    Fault("list", status=500),
    Fault("list", status=503, retry_after=0),
    Fault("list", status=429, retry_after=0),
    Fault("list", status=403),
    Fault("list", body=b""),
    Fault("list", body=b"{}"),
    Fault("list", body=b'{"kind":"ServiceList","metadata":{},"items":[]}'),
    Fault("list", body=b'{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[]}'),
    Fault("list", body=b"<html>bad gateway</html>"),
    Fault("list", cut_after=40),
    Fault("page", status=500),
    Fault("page", body=b""),
    Fault("page", cut_after=60),
    Fault("page", status=410),
]


@pytest.mark.parametrize("fault", FAULTS_OF_A_LIST, ids=lambda f: f"{f.verb} {f.status or f.body or f.cut_after}")
def test_no_fault_of_a_relist_takes_anything_away(cluster: Cluster, fault: Fault) -> None:
    """No fault makes the agent delete something that still exists in the API."""
    cluster.server.put(service("c", "10.96.0.3"), endpoint_slice("c", ["10.244.1.4"]))
    everything = {"ip1": ["10.244.1.1"], "ip2": ["10.244.1.2", "10.244.1.3"], "ip3": ["10.244.1.4"]}
    cluster.becomes(**everything)
    cluster.node.kernel.clear_log()
    cluster.server.faults.append(fault)
    cluster.server.forget_history()
    cluster.server.end_watches()
    wait_until(lambda: not cluster.server.faults, "the fault")
    cluster.server.put(service("d", "10.96.0.4"), endpoint_slice("d", ["10.244.1.5"]))
    cluster.becomes(**everything, ip4=["10.244.1.5"])
    assert not [line for line in cluster.node.operations() if "remove" in line]


FAULTS_OF_A_WATCH = [
    Fault("watch", status=500),
    Fault("watch", status=429, retry_after=0),
    Fault("watch", status=410),
    Fault("watch", body=b""),
    Fault("watch", cut_after=20),
    Fault("watch", cut_after=0),
    Fault("watch", event={"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}),
    Fault("watch", event={"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}}),
    Fault("watch", event={"type": "MODIFIED", "object": None}),
    Fault("watch", event={"type": "MODIFIED", "object": {"metadata": "broken"}}),
    Fault("watch", event={"nonsense": True}),
]


@pytest.mark.parametrize("fault", FAULTS_OF_A_WATCH, ids=lambda f: f"{f.status or f.event or f.cut_after or f.body}")
def test_every_fault_of_a_watch_ends_in_the_right_state(cluster: Cluster, fault: Fault) -> None:
    """Half lines, cut connections, errors in the stream: the agent resumes where it was, without a restart."""
    cluster.node.kernel.clear_log()
    cluster.server.faults.append(fault)
    cluster.server.end_watches()
    cluster.server.put(service("c", "10.96.0.3"), endpoint_slice("c", ["10.244.1.4"]))
    cluster.server.delete("Service", "a")
    cluster.becomes(ip2=["10.244.1.2", "10.244.1.3"], ip3=["10.244.1.4"])
    wait_until(lambda: not cluster.server.faults, "the fault")
    assert not [line for line in cluster.node.operations() if "10.96.0.2" in line]


WATCHES_THAT_FAIL = [
    Fault("watch", status=500),
    Fault("watch", status=504),
    Fault("watch", event={"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}}),
    Fault("watch", event={"type": "ERROR", "object": {"kind": "Status", "code": 504, "message": "timeout"}}),
    Fault("watch", body=b""),
    Fault("watch", body=b"hello"),
]


@pytest.mark.parametrize("fault", WATCHES_THAT_FAIL, ids=lambda f: f"{f.status or f.event or f.body}")
def test_what_changes_is_served_even_if_every_watch_fails(cluster: Cluster, fault: Fault) -> None:
    """Lists bring it; `/statusz` names the fault, and the log has a line when it begins and one when it ends."""
    cluster.server.always.append(fault)
    cluster.server.end_watches()
    wait_until(lambda: "API server /api/v1/services: not followed for" in cluster.faults(), "the fault is noticed")
    cluster.server.put(service("c", "10.96.0.3"))
    everything = {"ip1": ["10.244.1.1"], "ip2": ["10.244.1.2", "10.244.1.3"], "ip3": []}
    cluster.becomes(**everything)
    assert "API server /api/v1/services: not followed for" in cluster.faults()
    assert not cluster.node.status().problems
    cluster.server.always.clear()
    cluster.server.put(service("d", "10.96.0.4"))
    cluster.becomes(**everything, ip4=[])
    cluster.server.put(service("e", "10.96.0.5"))
    wait_until(lambda: not cluster.faults(), "all is followed again")
    broke = [line for line in cluster.log.lines if line.startswith("warning: connection to the API server broke")]
    back = [line for line in cluster.log.lines if line.startswith("info: connection to the API server is back")]
    assert 1 <= len(broke) == len(back) <= 3
    assert all("gap_seconds=" in line for line in back)


def test_a_watch_without_bookmarks_is_checked_by_a_list(server: ApiServer, tmp_path: Path) -> None:
    """A connection that is open and silent proves nothing."""
    server.bookmark_seconds = 60.0
    config = kubeconfig(tmp_path / "kubeconfig", server.url)
    with Cluster(server, config, silent_seconds=0.3) as cluster:
        cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"])
        wait_until(lambda: sum("services?" in r and "watch" not in r for r in server.requests) > 2, "two more lists")
        assert cluster.silence_seconds() < DEADLINE_SECONDS
        assert not cluster.faults()


def test_an_object_that_does_not_decode_is_reported_and_its_last_version_stays(cluster: Cluster) -> None:
    """The others go on."""
    broken = service("a", "10.96.0.1", ports="none")
    cluster.server.put(broken, service("c", "10.96.0.3"))
    cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"], ip3=[])
    wait_until(lambda: len(cluster.node.status().problems) == 1, "a problem")
    assert str(cluster.node.status().problems[0]).startswith("Service shop/a: spec.ports expected `array")
    cluster.server.forget_history()
    cluster.server.end_watches()
    cluster.server.put(service("d", "10.96.0.4"))
    cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"], ip3=[], ip4=[])
    cluster.server.delete("Service", "a")
    cluster.becomes(ip2=["10.244.1.2", "10.244.1.3"], ip3=[], ip4=[])


def test_a_lost_server_leaves_the_kernel_as_it_is_and_is_reported(cluster: Cluster) -> None:
    """Loss of the API server: the state stays, and the status says so."""
    before = cluster.table()
    cluster.server.__exit__()
    wait_until(lambda: "API server" in cluster.faults(), "a report")
    assert cluster.table() == before
    wait_until(lambda: cluster.silence_seconds() > 1.0, "the age of what is known grows beyond five bookmarks")


def test_a_lying_empty_list_is_asked_for_twice(server: ApiServer, tmp_path: Path) -> None:
    """An empty answer after an error must not empty the node; a cluster that really is empty is believed."""
    with Cluster(server, kubeconfig(tmp_path / "kubeconfig", server.url)) as cluster:
        cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"])
        server.delete("Service", "a")
        server.delete("Service", "b")
        server.forget_history()
        server.end_watches()
        cluster.becomes()


def test_a_conflict_becomes_one_event_however_many_nodes_see_it(server: ApiServer, tmp_path: Path) -> None:
    """DEV-14: the loser is told by a Warning event on the Service; the name is taken when the next node says it."""
    config = kubeconfig(tmp_path / "kubeconfig", server.url)
    server.put(service("late", "10.96.0.1"))
    recorders = [
        EventRecorder(KubernetesTransport(ApiAccess(str(config))), name, SilentLogger(), pause_seconds=0)
        for name in ("n1", "n2")
    ]

    def report(problem: Announced) -> None:
        for recorder in recorders:
            recorder.record(problem)

    with Cluster(server, config, report):
        for recorder in recorders:
            recorder.start()
        wait_until(lambda: bool(server.events), "an event")
        wait_until(lambda: sum("POST" in r for r in server.requests) == 2, "both nodes have said it")
    for recorder in recorders:
        recorder.stop()
    (event,) = server.events
    assert event["reason"] == "AddressConflict"
    assert event["involvedObject"]["name"] in ("a", "late")


def test_requests_are_counted_with_how_they_ended(server: ApiServer, tmp_path: Path) -> None:
    """MET-21: by the transport that all of them go through."""
    transport = KubernetesTransport(ApiAccess(str(kubeconfig(tmp_path / "kubeconfig", server.url))))
    server.faults.append(Fault("list", status=500))
    for _ in range(2):
        with transport.get("/api/v1/services", {}, read_timeout_seconds=DEADLINE_SECONDS) as answer:
            answer.read()
    server.__exit__()
    with pytest.raises(SourceError):
        transport.post("/api/v1/namespaces/default/events", b"{}")
    host = server.url.removeprefix("http://")
    assert transport.requests.by_code() == {
        ("500", host, "GET"): 1,
        ("200", host, "GET"): 1,
        ("<error>", host, "POST"): 1,
    }
    assert {key: sum(h.counts) for key, h in transport.requests.durations().items()} == {
        (host, "GET"): 2,
        (host, "POST"): 1,
    }


def test_sizes_of_bodies_are_those_that_went_over_the_connection(server: ApiServer, tmp_path: Path) -> None:
    """MET-21: by the transport; a request without a body counts as 0 bytes, and an unread response not at all."""
    transport = KubernetesTransport(ApiAccess(str(kubeconfig(tmp_path / "kubeconfig", server.url))))
    with transport.get("/api/v1/services", {}, read_timeout_seconds=DEADLINE_SECONDS) as answer:
        body = answer.read()
    with transport.get("/api/v1/services", {}, read_timeout_seconds=DEADLINE_SECONDS):
        pass
    key = server.url.removeprefix("http://"), "GET"
    requests, responses = transport.requests.request_sizes(), transport.requests.response_sizes()
    assert requests.keys() == responses.keys() == {key}
    assert (sum(requests[key].counts), requests[key].sum) == (2, 0)
    assert (sum(responses[key].counts), responses[key].sum) == (1, len(body))
    assert len(body) > 0


def test_an_agent_that_starts_says_so_in_an_event_of_its_node(server: ApiServer, tmp_path: Path) -> None:
    """HC-30: each time; and the node's events stand in the namespace in which kubectl looks for them."""
    config = kubeconfig(tmp_path / "kubeconfig", server.url)
    for expected in (1, 2):
        recorder = EventRecorder(KubernetesTransport(ApiAccess(str(config))), "node-1", SilentLogger(), pause_seconds=0)
        recorder.record(NodeNotice("Starting", "ipvsagent 1.2.3 starts", warning=False))
        recorder.start()
        recorder.finish(DEADLINE_SECONDS)
        recorder.stop()
        assert len(server.events) == expected
    event = server.events[0]
    assert (event["type"], event["reason"], event["involvedObject"]["name"]) == ("Normal", "Starting", "node-1")


def test_addresses_of_other_nodes_are_known_and_never_bound(server: ApiServer, cluster: Cluster) -> None:
    """DEV rules of external addresses: an external IP of another node is not served here, and this is reported."""
    server.put(service("greedy", "10.96.0.3", externalIPs=["192.168.60.2", "192.0.2.7"]))
    wait_until(lambda: any("192.168.60.2" in str(p) for p in cluster.node.status().problems), "the refusal is reported")
    wait_until(lambda: "192.0.2.7:80/TCP" in {str(k) for k in cluster.node.kernel.ipvs.list_keys()}, "the other one")
    assert "192.168.60.2:80/TCP" not in {str(k) for k in cluster.node.kernel.ipvs.list_keys()}


def test_a_deleted_node_ends_the_drains_of_its_endpoints(server: ApiServer, cluster: Cluster) -> None:
    """DEV-42: asked for by name once an endpoint of it is gone, and not before."""
    question = "includeObject=None&resourceVersion=0&fieldSelector=metadata.name%3Dnode-2"
    for last in (2, 3):
        cluster.node.kernel.set_connections("10.96.0.2:80/TCP", f"10.244.1.{last}:8080", active=1, inactive=0)
    server.put(endpoint_slice("b", ["10.244.1.3"]))
    wait_until(lambda: any(question in r for r in server.requests), "the node is asked for")
    cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.2", "10.244.1.3"])
    server.delete("Node", "node-2", "")
    cluster.source.ask_for_node("node-2")  # as after half a minute
    cluster.becomes(ip1=["10.244.1.1"], ip2=["10.244.1.3"])


def test_an_expired_token_is_read_again(tmp_path: Path) -> None:
    """Service account tokens rotate: a refused one leads to a new look at the configuration."""
    config = tmp_path / "kubeconfig"
    certificate = tmp_path / "server.pem"
    _make_certificate(certificate)
    with ApiServer(certificate, tokens={"first"}) as server:
        server.put(service("a", "10.96.0.1"))
        with Cluster(server, kubeconfig(config, server.url, token="first", authority=certificate)) as cluster:
            cluster.becomes(ip1=[])
            server.tokens = {"second"}
            server.end_watches()
            wait_until(lambda: "401" in cluster.faults(), "a refusal")
            kubeconfig(config, server.url, token="second", authority=certificate)
            server.put(service("b", "10.96.0.2"))
            cluster.becomes(ip1=[], ip2=[])
            wait_until(lambda: not cluster.faults() and not cluster.node.status().problems, "no problem any more")


def test_tls_with_a_private_authority(tmp_path: Path) -> None:
    """A kubeconfig with a certificate authority; another authority is refused."""
    certificate = tmp_path / "server.pem"
    _make_certificate(certificate)
    with ApiServer(certificate) as server:
        server.put(service("a", "10.96.0.1"))
        trusting = kubeconfig(tmp_path / "trusting", server.url, authority=certificate)
        with Cluster(server, trusting) as cluster:
            cluster.becomes(ip1=[])
        other = tmp_path / "other.pem"
        _make_certificate(other)
        doubting = kubeconfig(tmp_path / "doubting", server.url, authority=other)
        with Cluster(server, doubting) as cluster:
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in cluster.faults(), "doubt")
            assert not cluster.node.status().complete


def _make_certificate(path: Path) -> None:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        ["openssl", *words.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{path}.key", "-out", path],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
