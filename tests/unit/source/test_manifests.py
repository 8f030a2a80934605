"""A folder of manifests, followed."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from lab.speed import scaled

from ipvsagent.errors import SourceError
from ipvsagent.model.events import Changed, Deleted, Event, Listed, Rejected, SourceProblems
from ipvsagent.model.objects import Kind, Node, ObjectKey, Service
from ipvsagent.source.manifests import ManifestSource
from unit.source.manifest_folder import Following, service


@pytest.fixture
def following(tmp_path: Path) -> Following:
    """An empty folder that is followed but was not looked at yet."""
    return Following(tmp_path)


def addresses(events: list[Event]) -> dict[str, str]:
    """Cluster IPs by name of the Services that changed; there must be nothing else."""
    found = {}
    for event in events:
        assert isinstance(event, Changed)
        assert isinstance(event.object, Service)
        found[event.object.key.name] = str(event.object.cluster_ips[0])
    return found


def reasons(events: list[Event]) -> list[str]:
    """Problems of sources as text; there must be nothing else."""
    found = []
    for event in events:
        assert isinstance(event, SourceProblems)
        found += [str(p) for p in event.problems] or [f"{event.origin} is well"]
    return found


WEB = ObjectKey("shop", "web")


def test_first_look_lists_every_kind_to_its_end(following: Following) -> None:
    """SYN-04: an empty list is a list, too."""
    following.write("a.yaml", service("web") + "---\n" + service("db", "10.96.0.11"))
    following.write("b.json", json.dumps({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "node-1"}}))
    services, slices, nodes = following.look()
    assert isinstance(services, Listed)
    assert services.kind is Kind.SERVICE
    assert [o.key.name for o in services.objects] == ["web", "db"]
    assert slices == Listed(Kind.ENDPOINT_SLICE, ())
    assert nodes == Listed(Kind.NODE, (Node("node-1"),))


def test_first_look_tells_what_is_wrong_before_it_lists(following: Following) -> None:
    """Objects that cannot be used are named in the list, so that they are not taken for gone."""
    bad = following.write("bad.yaml", "a: [\n")
    following.write("web.yaml", service("web", "nonsense"))
    first, *lists = following.look()
    assert reasons([first]) == [
        f"file {bad}: does not parse: line 2: while parsing a flow node did not find expected node content"
    ]
    assert isinstance(lists[0], Listed)
    assert lists[0].rejected == (WEB,)
    assert [p.field for p in lists[0].problems[WEB]] == ["spec.clusterIP"]


def test_nothing_is_said_while_nothing_changes(following: Following) -> None:
    """SYN-11."""
    following.write("a.yaml", service("web"))
    following.look()
    assert following.look() == []


def test_only_changed_objects_are_reported(following: Following) -> None:
    """Cost follows the change."""
    following.write("a.yaml", service("web") + "---\n" + service("db"))
    following.look()
    following.write("a.yaml", service("web") + "---\n" + service("db", "10.96.0.12"))
    assert addresses(following.look()) == {"db": "10.96.0.12"}


def test_a_new_file_is_reported_at_once(following: Following) -> None:
    """New objects count at the first check."""
    following.look()
    following.write("below/deeper/a.yml", service("web"))
    assert addresses(following.look()) == {"web": "10.96.0.10"}


def test_file_that_goes_takes_its_objects_with_it_at_the_second_look(following: Following) -> None:
    """An editor may move a file away and write a new one."""
    path = following.write("a.yaml", service("web"))
    following.look()
    path.unlink()
    assert following.look(times=2) == [Deleted(Kind.SERVICE, WEB)]
    assert following.look() == []


def test_file_that_was_away_for_one_look_loses_nothing(following: Following) -> None:
    """As after a save that is not atomic."""
    following.write("a.yaml", service("web")).unlink()
    following.write("a.yaml", service("web"))
    following.look()
    (following.folder / "a.yaml").unlink()
    assert following.look() == []
    following.write("a.yaml", service("web"))
    assert following.look() == []


def test_object_that_leaves_its_file_is_gone_at_the_second_look(following: Following) -> None:
    """A file that is being written may end at a document's border."""
    following.write("a.yaml", service("web") + "---\n" + service("db"))
    following.look()
    following.write("a.yaml", service("db", "10.96.0.12"))
    (gone, changed) = sorted(following.look(times=2), key=lambda e: isinstance(e, Changed))
    assert gone == Deleted(Kind.SERVICE, WEB)
    assert addresses([changed]) == {"db": "10.96.0.12"}


def test_file_that_is_empty_for_one_look_loses_nothing(following: Following) -> None:
    """Most programs empty a file before they fill it."""
    following.write("a.yaml", service("web"))
    following.look()
    following.write("a.yaml", "")
    assert following.look() == []
    following.write("a.yaml", service("web", "10.96.0.12"))
    assert addresses(following.look()) == {"web": "10.96.0.12"}


def test_file_that_stops_parsing_keeps_its_objects_and_is_reported(following: Following) -> None:
    """DEV-48: its last good version stays in force."""
    path = following.write("a.yaml", service("web"))
    following.look()
    following.write("a.yaml", service("web", "10.96.0.12") + "---\nx: {\n")
    assert reasons(following.look(times=2)) == [
        f"file {path}: does not parse: line 7: while parsing a flow node did not find expected node content"
    ]
    following.write("a.yaml", service("web", "10.96.0.13"))
    well, *changed = following.look()
    assert reasons([well]) == [f"{path} is well"]
    assert addresses(changed) == {"web": "10.96.0.13"}


def test_object_that_becomes_unusable_is_rejected_and_stays_known(following: Following) -> None:
    """Rejected is not deleted: the owner keeps the version it has."""
    following.write("a.yaml", service("web"))
    following.look()
    following.write("a.yaml", service("web", "nonsense"))
    (event,) = following.look()
    assert isinstance(event, Rejected)
    assert event.key == WEB
    following.write("a.yaml", service("web"))
    assert addresses(following.look()) == {"web": "10.96.0.10"}


def test_service_that_becomes_headless_is_deleted(following: Following) -> None:
    """SVC-02."""
    following.write("a.yaml", service("web"))
    following.look()
    following.write("a.yaml", service("web", '"None"'))
    assert following.look() == [Deleted(Kind.SERVICE, WEB)]


def test_first_file_by_path_wins_and_the_other_takes_over(following: Following) -> None:
    """The same object in two files is reported, naming both."""
    first = following.write("a.yaml", service("web", "10.96.0.1"))
    following.look()
    second = following.write("b.yaml", service("web", "10.96.0.2"))
    (event,) = following.look()
    assert isinstance(event, Changed)
    assert [str(p) for p in event.problems] == [f"Service shop/web: is in {first}, which counts, and also in {second}"]
    assert addresses([event]) == {"web": "10.96.0.1"}
    first.unlink()
    (event,) = following.look(times=2)
    assert isinstance(event, Changed)
    assert event.problems == ()
    assert addresses([event]) == {"web": "10.96.0.2"}


def test_object_twice_in_one_file_is_reported_and_the_first_counts(following: Following) -> None:
    """As in two files."""
    following.look()
    path = following.write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("web", "10.96.0.2"))
    problem, changed = following.look()
    assert reasons([problem]) == [f"file {path}: contains Service shop/web twice; the first one counts"]
    assert addresses([changed]) == {"web": "10.96.0.1"}


@pytest.mark.parametrize("name", [".hidden.yaml", "..data/a.yaml", "a.yaml~", "a.yaml.swp", "#a.yaml#", "a.txt"])
def test_hidden_files_and_backups_are_left_out(following: Following, name: str) -> None:
    """They hold copies of what stands elsewhere."""
    following.look()
    following.write(name, service("web"))
    assert following.look() == []


def test_mounted_configmap_is_followed_through_its_links(following: Following) -> None:
    """The kubelet swaps the hidden link `..data`; the visible links stay as they are."""
    following.write("..1/web.yaml", service("web", "10.96.0.1"))
    (following.folder / "..data").symlink_to("..1")
    (following.folder / "web.yaml").symlink_to("..data/web.yaml")
    assert isinstance(following.look()[0], Listed)
    following.write("..2/web.yaml", service("web", "10.96.0.2"))
    (following.folder / "..data_tmp").symlink_to("..2")
    (following.folder / "..data_tmp").rename(following.folder / "..data")
    assert addresses(following.look()) == {"web": "10.96.0.2"}


def test_lists_hold_objects_with_and_without_kind(following: Following) -> None:
    """`kubectl get -o yaml` writes a List; the API writes a ServiceList whose items name no kind."""
    item = {"metadata": {"name": "db"}, "spec": {"clusterIP": "10.96.0.2", "ports": [{"port": 80}]}}
    following.look()
    following.write("a.json", json.dumps({"kind": "ServiceList", "apiVersion": "v1", "items": [item]}))
    indented = service("web").replace("\n", "\n  ").rstrip()
    following.write("b.yaml", f"apiVersion: v1\nkind: List\nitems:\n- {indented}\n")
    assert addresses(following.look()) == {"db": "10.96.0.2", "web": "10.96.0.10"}


@pytest.mark.parametrize("api_version", ["serving.knative.dev/v1", "example.com/v1"])
def test_kind_of_another_api_is_passed_over(following: Following, api_version: str) -> None:
    """Other APIs have a kind `Service`, too, whose objects may bear the same names."""
    following.look()
    following.write("a.yaml", service("web").replace("apiVersion: v1", f"apiVersion: {api_version}"))
    following.write("b.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
    assert following.look() == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("just text\n", "contains something that is not a Kubernetes object; it is ignored"),
        ("metadata: {name: x}\n", "contains something that is not a Kubernetes object; it is ignored"),
        (b"a: \xff\n", "does not parse: 'utf-8' codec can't decode byte 0xff in position 3: invalid start byte"),
        ("[" * 200_000, "does not parse: line 1: is nested more than 100 levels deep"),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
            "contains EndpointSlice of apiVersion `discovery.k8s.io/v1beta1`, which is not read; "
            "allowed: discovery.k8s.io/v1",
        ),
        (
            "kind: Service\nmetadata: {}\n",
            "Service: metadata object missing required field `name`; the object is not used",
        ),
    ],
)
def test_file_that_holds_no_object_is_reported(following: Following, content: str | bytes, problem: str) -> None:
    """Nothing is passed over in silence but other kinds."""
    following.look()
    path = following.write("a.yaml", content)
    following.write("b.yaml", service("web"))
    report, *others = following.look()
    assert reasons([report]) == [f"file {path}: {problem}"]
    assert addresses(others) == {"web": "10.96.0.10"}


def test_json_that_does_not_parse_is_reported_with_its_line(following: Following) -> None:
    """As YAML is."""
    following.look()
    path = following.write("a.json", '{"kind":\n "Service",,\n')
    (problem,) = reasons(following.look())
    assert problem.startswith(f"file {path}: does not parse: line 2: ")


def test_byte_order_mark_is_no_fault(following: Following) -> None:
    """Some editors write one."""
    following.look()
    following.write("a.yaml", b"\xef\xbb\xbf" + service("web").encode())
    assert addresses(following.look()) == {"web": "10.96.0.10"}


def test_pipe_and_dangling_link_are_reported_and_do_not_block(following: Following) -> None:
    """Opening a pipe would wait for a writer without end."""
    following.look()
    os.mkfifo(following.folder / "a.yaml")
    (following.folder / "b.yaml").symlink_to("nowhere")
    following.write("c.yaml", service("web"))
    pipe, link, changed = following.look()
    assert reasons([pipe, link]) == [
        f"file {following.folder / 'a.yaml'}: is not a regular file; it is not read",
        f"file {following.folder / 'b.yaml'}: cannot be read: No such file or directory",
    ]
    assert addresses([changed]) == {"web": "10.96.0.10"}


def test_huge_file_is_refused_unread(following: Following) -> None:
    """A manifest of more than 64 MiB is a mistake, and would take as many hundred MiB of memory."""
    following.look()
    path = following.folder / "a.yaml"
    with path.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    assert reasons(following.look()) == [f"file {path}: is larger than 64 MiB; it is not read"]


def test_folder_that_vanishes_keeps_its_objects_and_is_reported(following: Following) -> None:
    """A mount that is lost must not take every Service with it."""
    following.write("a.yaml", service("web"))
    following.look()
    hidden = following.folder.with_name("elsewhere")
    following.folder.rename(hidden)
    assert reasons(following.look()) == [
        f"folder {following.folder}: cannot be read: No such file or directory; its objects stay in use"
    ]
    assert following.look() == []
    hidden.rename(following.folder)
    assert reasons(following.look()) == [f"{following.folder} is well"]


def test_missing_folder_at_start_is_an_error(tmp_path: Path) -> None:
    """A wrong path must not look like a cluster without Services."""
    source = ManifestSource(tmp_path / "nowhere", lambda _: None)
    with pytest.raises(SourceError, match="nowhere"):
        source.start()


def test_started_source_follows_until_it_is_stopped(following: Following) -> None:
    """The thread checks the folder without being called."""
    seen = threading.Event()
    events: list[Event] = []

    def put(event: Event) -> None:
        events.append(event)
        if isinstance(event, Changed):
            seen.set()

    source = ManifestSource(following.folder, put, poll_seconds=0.01)
    source.start()
    assert [type(e) for e in events] == [Listed, Listed, Listed]
    following.write("a.yaml", service("web"))
    assert seen.wait(scaled(10))
    source.stop()
    assert addresses(events[3:]) == {"web": "10.96.0.10"}
