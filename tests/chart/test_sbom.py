"""The image's list of packages is a valid CycloneDX document; of the image itself, `make test-image` shows it."""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from chart.rendering import ROOT

sys.path.insert(0, str(ROOT))  # `lab` is a folder of the repository, not of the package

from lab.sbom import debian_components, document, python_components

LISTING = (
    "libc6\t2.36-9+deb12u13\tamd64\tglibc\t2.36-9+deb12u13\tGNU Libc Maintainers <debian-glibc@lists.debian.org>\n"
    "iptables\t1.8.9-2\tamd64\tiptables\t1.8.9-2\tDebian Netfilter Packaging Team <x@example.org>\n"
)


@pytest.fixture
def installed(tmp_path: Path) -> list[Distribution]:
    """Three packages as pip leaves them."""
    for name, version, more in (
        ("ipvsagent", "1.2.3", "License-Expression: Apache-2.0\n"),
        ("Some_Thing", "2.0+local", "License-Expression: MIT OR BSD-3-Clause\n"),
        ("other", "3", "License: whatever its author wrote\n"),
    ):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}")
    return list(distributions(path=[str(tmp_path)]))


def test_the_document_is_valid_and_lists_every_package(installed: list[Distribution]) -> None:
    """Strictly by the schema of CycloneDX 1.6; package URLs with all that scanners look for."""
    components = [*debian_components(LISTING, "12"), *python_components(iter(installed))]
    made = document("1.2.3", components, 1_800_000_000)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    assert [c["purl"] for c in made["components"]] == [
        "pkg:deb/debian/iptables@1.8.9-2?arch=amd64&distro=debian-12&upstream=iptables%401.8.9-2",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64&distro=debian-12&upstream=glibc%402.36-9%2Bdeb12u13",
        "pkg:pypi/other@3",
        "pkg:pypi/some-thing@2.0%2Blocal",
    ]
    assert made["components"][3]["licenses"] == [{"expression": "MIT OR BSD-3-Clause"}]
    assert made["metadata"]["timestamp"] == "2027-01-15T08:00:00Z"


def test_the_schema_would_find_a_mistake() -> None:
    """What the test above relies on."""
    broken = {**document("1.2.3", [], 0), "komponents": []}
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None


def test_the_order_of_packages_makes_no_difference() -> None:
    """Two builds give the same bytes."""
    components = list(debian_components(LISTING, "12"))
    assert document("1", components, 0) == document("1", components[::-1], 0)
    assert document("1", components, 0)["serialNumber"] != document("1", components[:1], 0)["serialNumber"]
