"""Read state of the kernel and of other programs from files.

The files of the network namespace are read from ``/proc/thread-self/net``: ``/proc/net`` shows the main thread's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ipvsagent.doctor.snapshot import ConfigurationFile, Process
from ipvsagent.kernel.sysctls import NETWORK_SETTINGS

SYSCTLS = (
    *(f"net/ipv4/vs/{n}" for n in ("conntrack", "conn_reuse_mode", "expire_nodest_conn", "run_estimation")),
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    *(f"net/ipv4/tcp_keepalive_{n}" for n in ("time", "intvl", "probes")),
    *(f"net/ipv4/conf/all/{n}" for n in ("arp_ignore", "arp_announce", "rp_filter")),
    *(f"net/netfilter/nf_conntrack_{n}" for n in ("count", "max")),
    *(f"net/bridge/bridge-nf-call-{n}" for n in ("iptables", "ip6tables")),
)

_NETWORKD_FOLDERS = (  # the first folder that has a file of that name wins
    "etc/systemd/network",
    "run/systemd/network",
    "usr/local/lib/systemd/network",
    "usr/lib/systemd/network",
)
_NETWORK_MANAGER_FOLDERS = (
    "etc/NetworkManager/conf.d",
    "run/NetworkManager/conf.d",
    "usr/lib/NetworkManager/conf.d",
)
_KTHREADD = "kthreadd"  # process 2 of a host, but not of a container


def read_sysctls(root: Path, links: Iterable[str]) -> dict[str, str]:
    """Return the kernel settings that exist."""
    found: dict[str, str] = {}
    for key in (*SYSCTLS, *(f"net/ipv4/conf/{link}/rp_filter" for link in links)):
        with contextlib.suppress(FileNotFoundError):
            found[key] = (root / "proc/sys" / key).read_text(encoding="ascii").strip()
    return found


def is_read_only(root: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether kernel settings are mounted read-only; in a container, the host's settings if they are mounted."""
    folder = environment.get(NETWORK_SETTINGS) or root / "proc/sys"
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def read_capabilities(root: Path) -> int:
    """Return the effective capabilities of this thread."""
    text = (root / "proc/thread-self/status").read_text(encoding="ascii", errors="replace")
    return next((int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:")), 0)


def read_processes(root: Path) -> list[Process]:
    """Return all visible programs, without kernel threads, which have no arguments."""
    found = []
    for folder in (root / "proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # the process has ended
            words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if words[0]:
                found.append(Process(int(folder.name), tuple(words)))
    return sorted(found, key=lambda p: p.pid)


def sees_host_processes(root: Path) -> bool:
    """Return whether the visible processes are those of the host and not of a container."""
    try:
        return (root / "proc/2/comm").read_text(encoding="ascii", errors="replace").strip() == _KTHREADD
    except OSError:
        return False


def read_connection_table(root: Path) -> tuple[int, int]:
    """Return the hash buckets of the IPVS connection table and the number of connections; zeros without IPVS."""
    net = root / "proc/thread-self/net"
    try:
        with (net / "ip_vs").open(encoding="ascii") as file:
            head = file.readline()  # IP Virtual Server version 1.2.1 (size=4096)
        with (net / "ip_vs_conn").open("rb") as file:
            live = sum(1 for _ in file) - 1  # without the heading
    except FileNotFoundError:
        return 0, 0
    size = head.rpartition("size=")[2].strip(" )\n")
    return int(size), max(live, 0)


def read_default_route_links(root: Path) -> tuple[str, ...]:
    """Return the interfaces of default routes of both families."""
    net = root / "proc/thread-self/net"
    found: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        for line in (net / "route").read_text(encoding="ascii").splitlines()[1:]:
            name, destination, *rest = line.split()
            if destination == "00000000" and rest[5] == "00000000":
                found.add(name)
    with contextlib.suppress(FileNotFoundError):
        for line in (net / "ipv6_route").read_text(encoding="ascii").splitlines():
            destination, length, *_, name = line.split()
            if not destination.strip("0") and length == "00" and name != "lo":
                found.add(name)
    return tuple(sorted(found))


def read_networkd_files(root: Path) -> tuple[ConfigurationFile, ...]:
    """Return the ``.network`` files in the order in which systemd-networkd reads them, each with its drop-ins."""
    by_name: dict[str, Path] = {}
    for folder in reversed(_NETWORKD_FOLDERS):
        by_name |= {path.name: path for path in (root / folder).glob("*.network")}
    found = []
    for name, path in sorted(by_name.items()):
        drop_ins = [p for folder in _NETWORKD_FOLDERS for p in sorted((root / folder / f"{name}.d").glob("*.conf"))]
        text = "\n".join(p.read_text(encoding="utf-8", errors="replace") for p in (path, *drop_ins))
        found.append(ConfigurationFile(f"/{path.relative_to(root)}", text))
    return tuple(found)


def read_network_manager_files(root: Path) -> tuple[ConfigurationFile, ...]:
    """Return NetworkManager's settings."""
    paths = [root / "etc/NetworkManager/NetworkManager.conf"]
    for folder in _NETWORK_MANAGER_FOLDERS:
        paths += sorted((root / folder).glob("*.conf"))
    return tuple(
        ConfigurationFile(f"/{path.relative_to(root)}", path.read_text(encoding="utf-8", errors="replace"))
        for path in paths
        if path.is_file()
    )
