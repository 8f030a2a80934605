"""How slow this machine is just now, compared with the one on which the waits of tests were chosen.

    python -m lab.speed        # prints the factor

It is measured when it is first asked for, with a fixed piece of work: programs started, system calls and bytecode.
Deadlines of waits for an event are multiplied by it, and so is the time after which a test counts as hanging.
``TESTS_SLOWNESS`` replaces the measurement.
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import cache

REFERENCE_SECONDS = {"": 0.05, "uml": 0.2, "qemu": 1.3}
"""What the work takes on two quiet cores of 2.5 GHz: on the machine itself, and in each guest."""
MOST = 20.0
HANGS_AFTER_SECONDS = 150.0
"""Time after which a test in a guest counts as hanging, on the reference machine."""
_PROGRAMS, _CALLS, _STEPS = 15, 2000, 200_000


def slowness(seconds: float, reference: float) -> float:
    """How many times slower; never below 1, and never so much that a hanging test goes unnoticed."""
    return min(MOST, max(1.0, seconds / reference))


@cache
def factor() -> float:
    """How slow the machine is, from 1 on; the same for the whole process."""
    given = os.environ.get("TESTS_SLOWNESS")
    if given:
        return slowness(float(given), 1.0)
    return slowness(_measure(), REFERENCE_SECONDS[os.environ.get("IN_GUEST", "")])


def scaled(seconds: float) -> float:
    """Return a deadline for this machine that was chosen on the reference machine."""
    return seconds * factor()


def _measure() -> float:
    """Seconds that the work takes."""
    subprocess.run(["/bin/true"], check=True)  # the first start reads the file
    began = time.monotonic()
    for _ in range(_PROGRAMS):
        subprocess.run(["/bin/true"], check=True)
    for _ in range(_CALLS):
        os.stat("/proc/self/stat")
    total = 0
    for number in range(_STEPS):
        total += number & 7
    return time.monotonic() - began


if __name__ == "__main__":
    print(f"{_measure():.3f} s of work, {factor():.1f} times slower than the reference machine")
