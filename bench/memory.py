"""Memory and CPU of this process, as the kernel counts them."""

from __future__ import annotations

import resource
from pathlib import Path


def resident_mebibytes() -> float:
    """Return the resident memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def cpu_seconds() -> float:
    """Return the user and system time used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
