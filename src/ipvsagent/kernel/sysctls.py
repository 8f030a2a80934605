"""Files below /proc/sys."""

from __future__ import annotations

import os
from pathlib import Path

from ipvsagent.errors import kernel_error

NETWORK_SETTINGS = "IPVSAGENT_NETWORK_SETTINGS"
"""The environment variable with the folder where the host's /proc/sys/net is mounted in a container."""

_NETWORK = "net/"


class SysctlDriver:
    """Kernel settings of the calling thread's network namespace.

    Args:
        root: where the settings are mounted.
        network: where the settings below ``net`` are mounted, if elsewhere: in a container without privileges
            ``/proc/sys`` is read-only, and nothing may be mounted over it.
    """

    def __init__(self, root: Path = Path("/proc/sys"), network: Path | None = None) -> None:
        self._root = root
        self._network = network or root / "net"

    def read(self, key: str) -> str:
        """As in `api.Sysctls`."""
        try:
            return self._path(key).read_text(encoding="ascii").strip()
        except OSError as error:
            raise kernel_error("read kernel setting", key, error.errno or 0) from error

    def write(self, key: str, value: str) -> None:
        """As in `api.Sysctls`."""
        try:
            # No O_CREAT: its effect on a missing file depends on the file system.
            descriptor = os.open(self._path(key), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode("ascii"))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise kernel_error("write kernel setting", key, error.errno or 0) from error

    def _path(self, key: str) -> Path:
        if key.startswith(_NETWORK):
            return self._network / key.removeprefix(_NETWORK)
        return self._root / key
