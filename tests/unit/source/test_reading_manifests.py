"""Manifests that are read once, as `plan` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipvsagent.errors import SourceError
from ipvsagent.model.objects import Service
from ipvsagent.source.files import read_manifest
from ipvsagent.source.manifests import read_objects
from unit.source.manifest_folder import Following, service


@pytest.fixture
def following(tmp_path: Path) -> Following:
    """An empty folder that is followed but was not looked at yet."""
    return Following(tmp_path)


def test_files_and_folders_are_read_once_in_the_order_given(following: Following, tmp_path: Path) -> None:
    """The first of two versions counts; a file given twice is read once."""
    a = following.write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("db", "10.96.0.9"))
    b = following.write("b.yaml", service("web", "10.96.0.2"))
    objects, problems = read_objects([b, tmp_path, b])
    found = {o.key.name: str(o.cluster_ips[0]) for o in objects if isinstance(o, Service)}
    assert found == {"web": "10.96.0.2", "db": "10.96.0.9"}
    assert [str(p) for p in problems] == [f"Service shop/web: is in {b}, which counts, and also in {a}"]


def test_reading_reports_bad_files_and_objects_and_goes_on(following: Following, tmp_path: Path) -> None:
    """One bad file costs only itself."""
    following.write("a.yaml", "a: [\n")
    following.write("b.yaml", service("web", port=70000))
    following.write("c.yaml", service("db"))
    objects, problems = read_objects([tmp_path])
    assert [o.key.name for o in objects] == ["web", "db"]
    assert [p.kind for p in problems] == ["file", "Service"]


def test_reading_a_missing_path_is_an_error(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(SourceError, match="nowhere"):
        read_objects([tmp_path / "nowhere"])


def test_a_slice_that_names_no_service_is_reported(tmp_path: Path) -> None:
    """EP-01: in a cluster a controller sets the label; from files it is easily forgotten."""
    path = tmp_path / "slice.yaml"
    path.write_text(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: shop},"
        " addressType: IPv4, endpoints: [], ports: []}"
    )
    (problem,) = read_manifest(path).problems
    assert str(problem) == (
        "EndpointSlice shop/a: metadata.labels names no Service in its label kubernetes.io/service-name; it is not used"
    )
