"""List the packages of an image, of Debian and of Python, as a CycloneDX document in JSON.

    SOURCE_DATE_EPOCH=0 python3 sbom.py SITE_PACKAGES FILE

The Dockerfile runs it inside the image that it describes, with nothing but Python's standard library. The same
packages give the same bytes.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

_FIELDS = ("Package", "Version", "Architecture", "source:Package", "source:Version", "Maintainer")
_PRODUCT = "ipvsagent"


def debian_components(listing: str, release: str) -> Iterator[Component]:
    """Return the packages in the output of dpkg-query.

    Args:
        listing: a line for each package, with `_FIELDS` separated by tabulators.
        release: number of the Debian release.
    """
    for line in listing.splitlines():
        name, version, architecture, source, source_version, maintainer = line.split("\t")
        upstream = quote(f"{source}@{source_version}", safe="")
        where = f"arch={architecture}&distro=debian-{release}&upstream={upstream}"
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?{where}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "supplier": {"name": maintainer},
            "name": name,
            "version": version,
            "purl": purl,
        }


def python_components(found: Iterator[Distribution]) -> Iterator[Component]:
    """Return the packages that pip has installed, without ipvsagent."""
    for distribution in found:
        name = distribution.metadata["Name"]
        if name == _PRODUCT:
            continue
        purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='')}@{quote(distribution.version, safe='')}"
        component: Component = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": distribution.version,
            "purl": purl,
        }
        expressions = distribution.metadata.get_all("License-Expression")
        if expressions:
            component["licenses"] = [{"expression": expressions[0]}]
        yield component


def document(version: str, components: list[Component], seconds: int) -> Component:
    """Return the document.

    Args:
        version: of the product.
        seconds: time of the build, since 1970.
    """
    in_order = sorted(components, key=lambda c: str(c["bom-ref"]))
    content = json.dumps([version, in_order], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "container",
                "bom-ref": _PRODUCT,
                "name": _PRODUCT,
                "version": version,
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": in_order,
        "dependencies": [{"ref": _PRODUCT, "dependsOn": [c["bom-ref"] for c in in_order]}],
    }


def main(words: list[str]) -> None:
    site_packages, target = words
    form = "\t".join(f"${{{name}}}" for name in _FIELDS) + "\n"
    listing = subprocess.run(["dpkg-query", "--show", f"--showformat={form}"], stdout=subprocess.PIPE, check=True)
    release = Path("/etc/debian_version").read_text(encoding="ascii").partition(".")[0].strip()
    installed = list(distributions(path=[site_packages]))
    (product,) = [d for d in installed if d.metadata["Name"] == _PRODUCT]
    components = [
        *debian_components(listing.stdout.decode("utf-8"), release),
        *python_components(iter(installed)),
    ]
    made = document(product.version, components, int(os.environ["SOURCE_DATE_EPOCH"]))
    Path(target).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
