"""What a crash of the agent leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys

CRASH = """
import os, signal
from ipvsagent.cli import run
from ipvsagent.cli.main import main

run.run = lambda options: os.kill(os.getpid(), signal.SIGSEGV)
main(["run"])
"""


def test_a_crash_in_a_c_library_prints_where_the_threads_were() -> None:
    """A signal such as SIGSEGV ends the process without a Python exception."""
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "Current thread" in done.stderr
    assert "main.py" in done.stderr
