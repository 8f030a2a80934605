"""Read the state of a node once, part by part. If a part cannot be read, record the reason and continue.

Reading changes nothing on the node and loads no module: netlink families and iptables tables whose module is not
loaded are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ipvsagent.config.node_name import choose_node_name, is_host_name_only
from ipvsagent.config.types import Settings
from ipvsagent.doctor import cluster, files
from ipvsagent.doctor.checks.kernel import REQUIRED_MODULES
from ipvsagent.doctor.snapshot import ModuleState, NodeSnapshot, Part, SavedRules, Unread
from ipvsagent.errors import AgentError, NotPermitted, NotSupported, SourceError, ToolMissing
from ipvsagent.kernel.interfaces import read_mtu
from ipvsagent.kernel.iptables.legacy import tables_in_use
from ipvsagent.kernel.iptables.probe import registered_extensions
from ipvsagent.kernel.iptables.programs import find_program, run
from ipvsagent.kernel.iptables.text import parse_save
from ipvsagent.kernel.modules import ModuleDriver
from ipvsagent.kernel.netlink.addresses import AddressDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.ipvs import IpvsDriver
from ipvsagent.kernel.netlink.nftables_tables import nftables_tables
from ipvsagent.model.address import Family
from ipvsagent.model.kernel_parts import Extension, ExtensionKind
from ipvsagent.model.state import SetType
from ipvsagent.planner.kernel_parts import PARTS, set_type_names
from ipvsagent.planner.sets import NODE_PORT_SETS, set_specs
from ipvsagent.reconciler.adoption import list_entries, read_kernel
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.transport import KubernetesTransport
from ipvsagent.transient_errors import retry_transient

_AS_ROOT = "run as root, or with the capability NET_ADMIN"
_SEE_REASON = "see the reason; the other checks are not affected"
_GIVE_KUBECONFIG = "pass `--kubeconfig FILE`, or run in a pod with a service account"


def read_node(settings: Settings, kubeconfig: str = "", *, root: Path = Path("/")) -> NodeSnapshot:
    """Read all parts.

    Args:
        kubeconfig: path; empty for the pod's service account, else the default kubeconfig.
        root: the folder that contains `proc`, `sys`, `etc` and so on.
    """
    return _Reader(settings, kubeconfig, root).read()


class _Reader:
    """Collects the fields of a snapshot."""

    def __init__(self, settings: Settings, kubeconfig: str, root: Path) -> None:
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._root = root
        self._modules = ModuleDriver(root / "proc", root / "sys", root / "lib/modules" / os.uname().release)
        self._fields: dict[str, Any] = {}
        self._unread: dict[Part, Unread] = {}

    def read(self) -> NodeSnapshot:
        for part, reader in (
            (Part.MODULES, self._read_modules),
            (Part.KERNEL_PARTS, self._read_kernel_parts),
            (Part.CAPABILITIES, self._read_capabilities),
            (Part.RULES, self._read_rules),
            (Part.NFT_TABLES, self._read_nft_tables),
            (Part.LINKS, self._read_links),
            (Part.SETS, self._read_sets),
            (Part.IPVS, self._read_ipvs),
            (Part.TIMEOUTS, self._read_timeouts),
            (Part.CONNECTIONS, self._read_connections),
            (Part.SYSCTLS, self._read_sysctls),
            (Part.PROCESSES, self._read_processes),
            (Part.NETWORK_FILES, self._read_network_files),
        ):
            self._try(part, reader)
        self._read_cluster()
        return NodeSnapshot(
            settings=self._settings,
            kernel_release=os.uname().release,
            cpus=os.cpu_count() or 1,
            unread=self._unread,
            in_pod="KUBERNETES_SERVICE_HOST" in os.environ,
            **self._fields,
        )

    def _try(self, part: Part, reader: Callable[[], None]) -> None:
        try:
            reader()
        except (NotPermitted, PermissionError) as error:
            self._unread[part] = Unread(f"not permitted ({error})", _AS_ROOT)
        except ToolMissing as error:
            self._unread[part] = Unread(str(error), f"install `{error.subject}`")
        except (AgentError, OSError, ValueError, IndexError) as error:
            self._unread[part] = Unread(str(error).partition("\n")[0] or type(error).__name__, _SEE_REASON)

    def _read_modules(self) -> None:
        names = (*REQUIRED_MODULES, f"ip_vs_{self._settings.scheduler}")
        self._fields["modules"] = {name: self._module_state(name) for name in names}
        self._fields["modules_visible"] = self._modules.has_listing()
        self._fields["schedulers"] = tuple(self._modules.available_schedulers())

    def _module_state(self, name: str) -> ModuleState:
        if self._modules.is_loaded(name):
            return ModuleState.LOADED
        return ModuleState.LOADABLE if self._modules.is_loadable(name) else ModuleState.MISSING

    def _read_kernel_parts(self) -> None:
        """Ask which parts are registered or have a module that can be loaded; nothing is tried."""
        if not self._modules.has_listing():
            return  # a part that is not registered may be loadable all the same
        families = [f for f in Family if f is Family.IPV4 or (self._root / "proc/net/if_inet6").exists()]
        self._fields["lacking"] = {f: tuple(e for e in PARTS if not self._has_extension(e, f)) for f in families}
        self._fields["lacking_set_types"] = tuple(k for k in SetType if not self._has_module(set_type_names(k)[0]))

    def _has_extension(self, extension: Extension, family: Family) -> bool:
        if extension.name in registered_extensions(extension.kind, family, self._root / "proc/thread-self/net"):
            return True
        prefix = "ipt_" if family is Family.IPV4 else "ip6t_"  # of modules in older kernels
        names = [PARTS[extension].names(family)[0], prefix + extension.name]
        if extension.kind is ExtensionKind.TABLE:
            names.append("nf_tables")
        return any(map(self._has_module, names))

    def _has_module(self, name: str) -> bool:
        return self._module_state(name) is not ModuleState.MISSING

    def _read_capabilities(self) -> None:
        self._fields["capabilities"] = files.read_capabilities(self._root)

    def _read_rules(self) -> None:
        saved: list[SavedRules] = []
        missing: dict[str, str] = {}
        for variant in ("legacy", "nft"):
            for family in Family:
                try:
                    saved.append(_saved_rules(variant, family))
                except NotPermitted:
                    raise
                except (ToolMissing, NotSupported) as error:
                    missing[variant] = str(error)
        self._fields["rules"] = tuple(saved)
        self._fields["iptables_missing"] = missing

    def _read_nft_tables(self) -> None:
        if not self._modules.is_loaded("nf_tables"):
            return
        self._fields["nft_tables"] = nftables_tables()

    def _read_links(self) -> None:
        driver = AddressDriver()
        try:
            links = tuple(retry_transient(driver.list_links))
            self._fields["addresses"] = tuple(retry_transient(driver.list_addresses))
        finally:
            driver.close()
        self._fields["links"] = links
        self._fields["mtu"] = read_mtu(link.name for link in links)
        self._fields["default_route_links"] = files.read_default_route_links(self._root)

    def _read_sets(self) -> None:
        if not self._modules.is_loaded("ip_set"):
            return
        driver = IpSetDriver()
        try:
            self._fields["ip_sets"] = tuple(retry_transient(driver.list_sets))
            names = {name for pair in NODE_PORT_SETS.values() for name in pair}
            specs = [s for s in set_specs(Family.IPV4) if s.name in names]
            ports = {e.port for spec in specs for e in retry_transient(partial(list_entries, driver, spec))}
            self._fields["node_ports"] = tuple(sorted(ports))
        finally:
            driver.close()

    def _read_ipvs(self) -> None:
        if not self._modules.is_loaded("ip_vs"):
            return
        families = tuple(Family) if self._modules.is_loaded("ip_set") else ()
        ipvs, addresses, ip_sets = IpvsDriver(), AddressDriver(), IpSetDriver()
        try:
            self._fields["virtual_servers"] = tuple(retry_transient(ipvs.list_virtual_servers))
            ledger = retry_transient(lambda: read_kernel(ipvs, addresses, ip_sets, families=families))
            self._fields["foreign"] = frozenset(ledger.foreign)
        finally:
            for driver in (ipvs, addresses, ip_sets):
                driver.close()

    def _read_timeouts(self) -> None:
        if not self._modules.is_loaded("ip_vs"):
            return
        driver = IpvsDriver()
        try:
            self._fields["timeouts"] = driver.timeouts()
        finally:
            driver.close()

    def _read_connections(self) -> None:
        size, live = files.read_connection_table(self._root)
        self._fields["connection_table_size"] = size
        self._fields["connections"] = live

    def _read_sysctls(self) -> None:
        self._fields["sysctls"] = files.read_sysctls(self._root, [link.name for link in self._fields.get("links", ())])
        self._fields["read_only_proc"] = files.is_read_only(self._root)

    def _read_processes(self) -> None:
        self._fields["processes"] = tuple(files.read_processes(self._root))
        self._fields["host_processes_visible"] = files.sees_host_processes(self._root)

    def _read_network_files(self) -> None:
        self._fields["networkd_files"] = files.read_networkd_files(self._root)
        self._fields["network_manager_files"] = files.read_network_manager_files(self._root)

    def _read_services(self, transport: KubernetesTransport) -> None:
        wanted = cluster.list_service_schedulers(transport)
        self._fields["service_schedulers"] = wanted
        self._fields["modules"] |= {f"ip_vs_{name}": self._module_state(f"ip_vs_{name}") for name in wanted}

    def _read_nodes(self, transport: KubernetesTransport) -> None:
        self._fields["name"] = choose_node_name("", self._settings, os.environ)
        self._fields["name_is_guess"] = is_host_name_only("", self._settings, os.environ)
        self._fields["nodes"] = cluster.list_node_addresses(transport)

    def _read_cluster(self) -> None:
        parts = (Part.API, Part.RBAC, Part.NODES, Part.SERVICES)
        if not cluster.has_access(self._kubeconfig):
            self._unread |= dict.fromkeys(parts, Unread("no access is configured", _GIVE_KUBECONFIG))
            return
        try:
            transport = KubernetesTransport(ApiAccess(self._kubeconfig))
        except SourceError as error:
            self._not_reached(str(error).partition("\n")[0])
            return
        try:
            self._fields["api_server"] = transport.server
            try:
                self._fields["api_seconds"] = cluster.measure(transport)
            except SourceError as error:
                self._not_reached(str(error))
                return
            self._try(Part.RBAC, lambda: self._fields.update(denied=cluster.ask_permissions(transport)))
            self._try(Part.NODES, lambda: self._read_nodes(transport))
            self._try(Part.SERVICES, lambda: self._read_services(transport))
        finally:
            transport.close()

    def _not_reached(self, reason: str) -> None:
        self._fields["api_error"] = reason
        unread = Unread("the API server does not answer", "see check `api`")
        self._unread |= {Part.RBAC: unread, Part.NODES: unread, Part.SERVICES: unread}


def _saved_rules(variant: str, family: Family) -> SavedRules:
    """Return the rules of one variant and family.

    Raises:
        ToolMissing, NotSupported: this variant is not usable on this node.
    """
    program = find_program(family, variant, "-save")
    if variant == "legacy" and not tables_in_use(family):
        return SavedRules(variant, family)  # iptables-save would load the tables
    text = run([program], operation="list rules with")
    chains = {name: {**table.builtin, **table.chains} for name, table in parse_save(text).items()}
    return SavedRules(variant, family, chains, _policies(text))


def _policies(text: str) -> dict[str, str]:
    """Return the policies of built-in chains, by ``TABLE CHAIN``."""
    found: dict[str, str] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            if policy != "-":
                found[f"{table} {chain}"] = policy
    return found
