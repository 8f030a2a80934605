"""A node for measurements: a separate network namespace, real drivers, and the owner thread's work, call by call."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from lab.namespaces import Namespace, enter
from pyroute2.netlink import NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE

from bench.cluster import NODE
from bench.stages import Recording, Send, Stages
from ipvsagent.config.types import Settings
from ipvsagent.drivers import open_drivers
from ipvsagent.kernel.api import Drivers
from ipvsagent.kernel.netlink.addresses import AddressDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.ipvs import IpvsDriver
from ipvsagent.kernel.netlink.sockets import NetlinkSocket
from ipvsagent.model.address import Family
from ipvsagent.reconciler import actions
from ipvsagent.reconciler.loop import Reconciler
from ipvsagent.reconciler.mailbox import Mailbox
from ipvsagent.reconciler.node.preparation import ensure_dummy
from ipvsagent.reconciler.node.sets import ensure_sets
from ipvsagent.reconciler.plans.replanning import Replanning
from ipvsagent.reconciler.published import Published
from ipvsagent.reconciler.writing.apply import Applier

PROGRAMMING = ("compare and encode", "kernel")
"""The stages that write differences to the kernel."""


class Quiet:
    """A logger that prints only warnings."""

    def debug(self, message: str, **fields: object) -> None:
        """Log nothing."""

    def info(self, message: str, **fields: object) -> None:
        """Log nothing."""

    def warning(self, message: str, **fields: object) -> None:
        """Print the message."""
        if not message.startswith("kernel setting"):  # limits of the whole machine are not this namespace's to set
            print(f"warning: {message} {fields}", file=sys.stderr)

    error = warning


class BenchNode:
    """A node in the calling process's current network namespace, ready for its first sync.

    Args:
        clock: monotonic seconds of the owner thread; one that stands still keeps verification and draining out.

    Attributes:
        prepare_seconds: what it took to make the node ready, rules and sets included.
        recording: of what the drivers send.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        began = time.perf_counter()
        log = Quiet()
        self.drivers = open_drivers(Settings(), log)
        families = tuple(self.drivers.rules)
        self.mailbox, self.published = Mailbox(clock), Published(Settings())
        self.reconciler = Reconciler(
            self.drivers, self.mailbox, self.published, node_name=NODE, families=families, log=log, clock=clock
        )
        self.reconciler.start()
        self.prepare_seconds = time.perf_counter() - began
        self.recording = Recording(*_netlink(self.drivers))

    def rules(self) -> int:
        """Return the number of iptables rules of both families in this namespace."""
        count = 0
        for family, driver in self.drivers.rules.items():
            program = ("iptables" if family is Family.IPV4 else "ip6tables") + f"-{driver.variant}-save"
            saved = subprocess.run([program], capture_output=True, text=True, check=True).stdout
            count += sum(line.startswith("-A") for line in saved.splitlines())
        return count


def _netlink(drivers: Drivers) -> list[NetlinkSocket]:
    ipvs, addresses, ip_sets = drivers.ipvs, drivers.addresses, drivers.ip_sets
    assert isinstance(ipvs, IpvsDriver)
    assert isinstance(addresses, AddressDriver)
    assert isinstance(ip_sets, IpSetDriver)
    return [ipvs._netlink, addresses._netlink, ip_sets._netlink]


def measure_stages(stages: Stages) -> None:
    """Measure the time of each part of a pass."""
    stages.wrap(Reconciler, "handle", "index")
    stages.wrap(Reconciler, "reconcile", "other")
    stages.wrap(Replanning, "first_steps", "order")
    stages.wrap(Replanning, "plan", "plan")
    stages.wrap(actions, "read_kernel", "read the kernel")
    stages.wrap(Applier, "apply", "compare and encode")
    stages.wrap(NetlinkSocket, "_transmit", "read the kernel")
    stages.wrap(_recorder(), "send", "kernel")


def _recorder() -> Any:
    from bench import stages

    return stages._Recorder


def replay(sends: list[Send]) -> float:
    """Return the floor: seconds for the same datagrams, sent to an equally prepared node in a minimal loop.

    The calling process's network namespace must hold a dummy interface with the same index, and the sets, and nothing
    in them.
    """
    sockets = {protocol: NetlinkSocket(protocol) for protocol in (NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE)}
    plain = {protocol: owner._socket for protocol, owner in sockets.items()}
    work = [(plain[s.protocol].send, s.data, plain[s.protocol].recv) for s in sends]
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for send, data, receive in work:
        send(data)
        answer = receive(65536)
    taken = time.perf_counter() - began
    gc.enable()
    for protocol, owner in plain.items():
        _expect_nothing(protocol, owner)
    for netlink in sockets.values():
        netlink.close()
    if int.from_bytes(answer[16:20], "little", signed=True):
        raise RuntimeError("the kernel refused the last message, which it took before")
    return taken


def _expect_nothing(protocol: int, owner: socket.socket) -> None:
    try:
        answer = owner.recv(65536, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    number = -int.from_bytes(answer[16:20], "little", signed=True)
    raise RuntimeError(f"netlink {protocol}: the kernel refused what it took before: {os.strerror(number)}")


def prepare_for_replay() -> None:
    """Create only the dummy interface and the sets, as `BenchNode` does."""
    from ipvsagent.planner.plan import plan_rule_sets

    drivers = Drivers(IpvsDriver(), AddressDriver(), IpSetDriver(), {}, *([None] * 3))  # type: ignore[arg-type]
    ensure_dummy(drivers)
    for rules in plan_rule_sets(Settings(), None, Family):
        ensure_sets(drivers, rules)


def in_fresh_namespace(task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a separate process and network namespace; return its result, as JSON.

    Raises:
        RuntimeError: it failed.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            enter(Namespace().descriptor)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            result = json.dumps(task(*arguments)).encode()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(result)
            status = 0
        except BaseException:  # noqa: BLE001 - told, and the parent raises
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"{task.__name__} failed")
    return json.loads(data)
