"""Where a container has the host's kernel settings, those count, not its own read-only ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipvsagent.doctor.files import is_read_only


@pytest.mark.parametrize(("variables", "asked"), [({}, "proc/sys"), ({"IPVSAGENT_NETWORK_SETTINGS": "/host"}, "/host")])
def test_the_folder_that_is_written_to_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], asked: str
) -> None:
    """As the agent chooses it."""
    seen: list[str] = []
    flags = os.statvfs(tmp_path)

    def look(path: object) -> os.statvfs_result:
        seen.append(str(path))
        return flags

    monkeypatch.setattr(os, "statvfs", look)
    assert is_read_only(tmp_path, variables) is bool(flags.f_flag & os.ST_RDONLY)
    assert seen == [str(tmp_path / asked)]
