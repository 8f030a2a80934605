"""A ConfigMap's volume as the kubelet writes it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class ConfigMapVolume:
    """A folder in which all files change at once.

    Each version is a folder of its own; ``..data`` links to the present one, and each file to its namesake in there.

    Args:
        folder: exists, and is mounted where the pod wants it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = 0

    def put(self, files: Mapping[str, str]) -> None:
        """Replace the content, in the order of the kubelet: the new version, the link, the old version."""
        self._versions += 1
        old = self._data.resolve() if self._data.exists() else None
        version = self._folder / f"..2026_01_01_00_00_00.{self._versions:09d}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text, encoding="utf-8")
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._data)
        for name in files:
            visible = self._folder / name
            if not visible.is_symlink():
                visible.symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)

    @property
    def _data(self) -> Path:
        return self._folder / "..data"
