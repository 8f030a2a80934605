"""Following the configuration file: content decides, however it gets there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from lab.speed import scaled

from ipvsagent.config.load import LoadedConfiguration, load_configuration
from ipvsagent.config.watch import ConfigurationWatcher

OURS = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n"


class Listener:
    """A watcher, and what it said."""

    def __init__(self, path: Path, known: str = OURS) -> None:
        self.said: list[str] = []
        self.heard = threading.Event()
        self.watcher = ConfigurationWatcher(
            path,
            known=known,
            loaded=self._loaded,
            refused=lambda reason: self._say(f"refused: {reason}"),
            poll_seconds=0.001,
        )

    def check(self) -> list[str]:
        """Look once; what was said then."""
        self.said.clear()
        self.watcher.check()
        return self.said[:]

    def _loaded(self, loaded: LoadedConfiguration) -> None:
        self._say(f"loaded: {loaded.settings.scheduler}")

    def _say(self, words: str) -> None:
        self.said.append(words)
        self.heard.set()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A file as the kubelet mounts it: a link to a file below a link to a folder of the content's version."""
    publish(tmp_path, "1", OURS)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    return tmp_path / "config.yaml"


def publish(folder: Path, version: str, text: str) -> None:
    """Swap the content as the kubelet does: at once, by renaming a link over the old one."""
    (folder / version).mkdir()
    (folder / version / "config.yaml").write_text(text)
    (folder / "..data_tmp").symlink_to(version)
    (folder / "..data_tmp").rename(folder / "..data")


def test_a_swapped_config_map_is_loaded_once(mounted: Path) -> None:
    """CFG-52, DEV-46: followed live instead of after a restart."""
    listener = Listener(mounted)
    assert listener.check() == []
    publish(mounted.parent, "2", OURS + "ipvs: {scheduler: lc}\n")
    assert listener.check() == ["loaded: lc"]
    assert listener.check() == []


def test_an_edit_made_while_the_agent_starts_is_found_by_the_first_look(mounted: Path) -> None:
    """CFG-52: between reading the settings and following the file, however the edit comes out."""
    at_start = load_configuration(mounted).text
    assert at_start == OURS
    publish(mounted.parent, "2", OURS + "ipvs: {scheduler: lc}\n")
    assert Listener(mounted, at_start).check() == ["loaded: lc"]
    publish(mounted.parent, "3", "nonsense")
    assert [said.partition(":")[0] for said in Listener(mounted, at_start).check()] == ["refused"]
    publish(mounted.parent, "4", OURS)
    assert Listener(mounted, at_start).check() == []


def test_new_times_without_new_content_are_no_change(mounted: Path) -> None:
    """The kubelet rewrites all files of a ConfigMap when one of them changes."""
    listener = Listener(mounted)
    publish(mounted.parent, "2", OURS)
    os.utime(mounted, (1, 1))
    assert listener.check() == []


def test_bad_content_is_refused_with_every_problem_and_good_content_follows_again(mounted: Path) -> None:
    """CFG-50: the old one stays in force meanwhile; the same bad content is reported once."""
    listener = Listener(mounted)
    publish(mounted.parent, "2", OURS + "foo: 1\nipvs: {scheduler: lcc}\n")
    (said,) = listener.check()
    assert said.startswith("refused: ")
    assert "ipvs.scheduler: `lcc` is not a scheduler" in said
    assert "foo: is not a known field" in said
    assert listener.check() == []
    publish(mounted.parent, "3", OURS + "ipvs: {scheduler: sh}\n")
    assert listener.check() == ["loaded: sh"]


def test_a_file_that_is_gone_is_refused_until_it_is_back(mounted: Path) -> None:
    """A deleted ConfigMap changes nothing on a running node; the same file again puts an end to the refusal."""
    listener = Listener(mounted)
    mounted.unlink()
    assert listener.check() == [f"refused: {mounted} cannot be read"]
    mounted.symlink_to("..data/config.yaml")
    assert listener.check() == ["loaded: rr"]


def test_the_thread_follows_until_it_is_stopped(mounted: Path) -> None:
    """Nothing is left behind."""
    listener = Listener(mounted)
    listener.watcher.start()
    publish(mounted.parent, "2", OURS + "ipvs: {scheduler: lc}\n")
    assert listener.heard.wait(scaled(30))
    listener.watcher.stop()
    assert listener.said == ["loaded: lc"]
    assert not listener.watcher.is_alive()
