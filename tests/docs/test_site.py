"""The documentation builds, fetches nothing, and leads nowhere that does not exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import DOCS, ROOT, links


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a page that is not in the navigation, a link or an anchor that is dead is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    """As HTML with a heading."""
    for page in DOCS.rglob("*.md"):
        html = site / page.relative_to(DOCS).with_suffix(".html")
        assert "<h1" in html.read_text(encoding="utf-8"), html


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    """Fonts, styles and scripts are the site's own, so that it can be read without a network."""
    for html in site.rglob("*.html"):
        text = html.read_text(encoding="utf-8")
        tags: list[str] = re.findall(r"<(?:script|img|iframe)[^>]*>|<link[^>]*stylesheet[^>]*>", text)
        assert not [tag for tag in tags if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)], html


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "charts/ipvsagent/README.md"])
def test_links_outside_the_site_resolve(name: str) -> None:
    """Those inside are checked when it is built."""
    for target in links(ROOT / name):
        assert (ROOT / name).parent.joinpath(target.partition("#")[0]).exists(), target


def test_commands_of_make_exist() -> None:
    """`make TARGET` in a page names a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:(?<=`)|^ *\$ |^(?=make \S+(?:$| {2})))make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets, page
