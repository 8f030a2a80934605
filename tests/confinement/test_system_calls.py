"""The filter of system calls lets the agent work and refuses what container runtimes refuse."""

from __future__ import annotations

import subprocess
import sys

from confinement.container import capability_number
from confinement.system_calls import filter_for

# In a process of its own, as a filter stays.
PROGRAM = """
import base64, ctypes, os, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
code = base64.b64decode(sys.argv[1])
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, code))) == 0
thread = threading.Thread(target=lambda: print("thread", flush=True))
thread.start()
thread.join()
print(subprocess.run(["echo", "program"], stdout=subprocess.PIPE, text=True).stdout.strip())
for name, words in (("unshare", (0x40000000,)), ("mount", (b"none", b"/tmp", b"tmpfs", 0, None))):
    assert getattr(libc, name)(*words) == -1
    print(name, os.strerror(ctypes.get_errno()))
assert libc.syscall(435, None, 0) == -1  # clone3, the same number everywhere
print("clone3", os.strerror(ctypes.get_errno()))
"""


def test_programs_and_threads_start_and_namespaces_do_not() -> None:
    """As in a pod with the agent's capabilities; `clone3` fails with ENOSYS, so that `clone` is tried."""
    words = [sys.executable, "-c", PROGRAM, filter_for(["NET_ADMIN", "NET_RAW"])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "thread",
        "program",
        "unshare Operation not permitted",
        "mount Operation not permitted",
        "clone3 Function not implemented",
    ]


def test_modules_are_for_those_alone_who_may_load_them() -> None:
    """The filter depends on the capabilities."""
    assert filter_for(["SYS_MODULE"]) != filter_for(["NET_ADMIN"]) == filter_for([])


def test_capabilities_have_the_numbers_of_the_kernel() -> None:
    """Those of include/uapi/linux/capability.h."""
    assert [capability_number(name) for name in ("NET_ADMIN", "NET_RAW", "SYS_MODULE")] == [12, 13, 16]
