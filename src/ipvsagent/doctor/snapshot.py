"""The state of a node for the checks: values that were read once."""

from __future__ import annotations

import enum
import re

from msgspec import Struct

from ipvsagent.config.types import Settings
from ipvsagent.model.address import Address, Family
from ipvsagent.model.kernel_parts import Extension
from ipvsagent.model.state import (
    DUMMY_INTERFACE,
    IpvsTimeouts,
    Link,
    LinkAddress,
    ObservedSet,
    ObservedVirtualServer,
    SetType,
    VirtualServerKey,
)

Words = tuple[str, ...]
"""A rule as iptables-save prints it after ``-A CHAIN``, unquoted."""


class Part(enum.StrEnum):
    """A part of the state that is read separately; the value is its description."""

    MODULES = "kernel modules"
    KERNEL_PARTS = "parts of the kernel"
    CAPABILITIES = "capabilities of this process"
    RULES = "iptables rules"
    NFT_TABLES = "nftables tables"
    IPVS = "the IPVS table"
    CONNECTIONS = "IPVS connections"
    TIMEOUTS = "IPVS timeouts"
    LINKS = "interfaces and addresses"
    SETS = "ipsets"
    SYSCTLS = "kernel settings"
    PROCESSES = "processes"
    NETWORK_FILES = "files of network managers"
    API = "the API server"
    RBAC = "permissions at the API server"
    NODES = "nodes of the cluster"
    SERVICES = "Services of the cluster"


class Unread(Struct, frozen=True):
    """The reason why a part could not be read."""

    reason: str
    remedy: str


class ModuleState(enum.StrEnum):
    """The state of a kernel module."""

    LOADED = "loaded"  # or built in
    LOADABLE = "loadable"
    MISSING = "missing"


class SavedRules(Struct, frozen=True):
    """The output of iptables-save of one variant and family.

    Args:
        chains: the rules of each chain by table, built-in ones included.
        policies: by ``TABLE CHAIN``, such as ``filter INPUT``.
    """

    variant: str
    family: Family
    chains: dict[str, dict[str, tuple[Words, ...]]] = {}
    policies: dict[str, str] = {}

    @property
    def count(self) -> int:
        """Return the number of rules."""
        return sum(len(rules) for table in self.chains.values() for rules in table.values())

    @property
    def chain_names(self) -> list[str]:
        """Return ``TABLE CHAIN`` of every chain, sorted."""
        return sorted(f"{table} {chain}" for table, chains in self.chains.items() for chain in chains)


class Process(Struct, frozen=True):
    """A running program.

    Args:
        words: its arguments, the program's name first; never empty.
    """

    pid: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the program's name without its directory and the arguments that some programs (k3s) add."""
        return self.words[0].partition(" ")[0].rpartition("/")[2]


class ConfigurationFile(Struct, frozen=True):
    """A file of another program."""

    path: str
    text: str


class Permission(Struct, frozen=True):
    """A permission that the agent needs at the API server."""

    group: str  # empty for the core group
    resource: str
    verb: str
    needed: bool = True  # False: used for reports only, not to serve traffic

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


class NodeSnapshot(Struct, frozen=True):
    """Everything that the checks use; a part in `unread` has its default value.

    Args:
        modules: states of the checked modules, by name.
        modules_visible: whether the folder of this kernel's modules exists.
        schedulers: schedulers that the kernel has, loaded or not.
        lacking: tables, matches and targets of iptables that the kernel lacks, by family.
        lacking_set_types: set types that the kernel lacks.
        capabilities: CapEff of the process, as a bit mask.
        iptables_missing: why a variant cannot be used, by variant.
        foreign: virtual servers that do not belong to the agent.
        connection_table_size: hash buckets; 0 without IPVS.
        mtu: by interface.
        default_route_links: interfaces of default routes.
        sysctls: values by key below /proc/sys; keys that the kernel lacks are absent.
        read_only_proc: whether /proc/sys is mounted read-only.
        api_seconds: how long one request took; None without access to an API server.
        api_error: why the API server does not answer; empty if it does, or if no access is configured.
        name: the node name that the agent uses.
        name_is_guess: whether `name` is only the host name, so the agent may have another one.
        nodes: addresses by node name.
        service_schedulers: the Services that request a scheduler, by scheduler.
        in_pod: whether this process runs in a pod.
    """

    settings: Settings = Settings()
    kernel_release: str = ""
    cpus: int = 1
    unread: dict[Part, Unread] = {}
    modules: dict[str, ModuleState] = {}
    modules_visible: bool = True
    schedulers: tuple[str, ...] = ()
    lacking: dict[Family, tuple[Extension, ...]] = {}
    lacking_set_types: tuple[SetType, ...] = ()
    capabilities: int = 0
    rules: tuple[SavedRules, ...] = ()
    iptables_missing: dict[str, str] = {}
    nft_tables: tuple[str, ...] = ()
    virtual_servers: tuple[ObservedVirtualServer, ...] = ()
    foreign: frozenset[VirtualServerKey] = frozenset()
    node_ports: tuple[int, ...] = ()
    connection_table_size: int = 0
    connections: int = 0
    timeouts: IpvsTimeouts | None = None
    links: tuple[Link, ...] = ()
    addresses: tuple[LinkAddress, ...] = ()
    mtu: dict[str, int] = {}
    default_route_links: tuple[str, ...] = ()
    ip_sets: tuple[ObservedSet, ...] = ()
    sysctls: dict[str, str] = {}
    read_only_proc: bool = False
    processes: tuple[Process, ...] = ()
    host_processes_visible: bool = True
    networkd_files: tuple[ConfigurationFile, ...] = ()
    network_manager_files: tuple[ConfigurationFile, ...] = ()
    api_seconds: float | None = None
    api_server: str = ""
    api_error: str = ""
    denied: tuple[Permission, ...] = ()
    name: str = ""
    name_is_guess: bool = False
    nodes: dict[str, tuple[Address, ...]] = {}
    service_schedulers: dict[str, tuple[str, ...]] = {}
    in_pod: bool = False

    @property
    def vips(self) -> frozenset[Address]:
        """Return the addresses on the dummy interface."""
        return frozenset(a.address for a in self.addresses if a.link_name == DUMMY_INTERFACE)

    @property
    def own_addresses(self) -> frozenset[Address]:
        """Return the addresses on all other interfaces."""
        return frozenset(a.address for a in self.addresses if a.link_name != DUMMY_INTERFACE)

    @property
    def kernel_version(self) -> tuple[int, int]:
        """Return the kernel version, such as (6, 1); zeros if it is unknown."""
        numbers = re.match(r"(\d+)\.(\d+)", self.kernel_release)
        return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)

    def number(self, key: str) -> int | None:
        """Return a numeric kernel setting; None if the kernel does not have it."""
        try:
            return int(self.sysctls[key])
        except (KeyError, ValueError):
            return None

    def running(self, *names: str) -> list[Process]:
        """Return the processes with these names."""
        return [p for p in self.processes if p.name in names]
