"""Wiring: real drivers, sources and the owner thread put together. No Service semantic is decided here."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from ipvsagent import __version__
from ipvsagent.config.load import LoadedConfiguration
from ipvsagent.config.types import Settings
from ipvsagent.config.watch import ConfigurationWatcher
from ipvsagent.errors import ConfigurationError, NodeUnusable, NotSupported
from ipvsagent.instrumentation.api_requests import RequestCounts
from ipvsagent.instrumentation.health_responses import HealthResponseCounts
from ipvsagent.kernel.api import Drivers, Monitor, Rules
from ipvsagent.kernel.iptables.legacy import LegacyRules
from ipvsagent.kernel.iptables.nft import NftRules
from ipvsagent.kernel.iptables.variant import detect_variant, supports_random_fully, usable_families
from ipvsagent.kernel.modules import ModuleDriver
from ipvsagent.kernel.netlink.addresses import AddressDriver, RtnetlinkMonitor
from ipvsagent.kernel.netlink.conntrack import ConntrackDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.ipvs import IpvsDriver
from ipvsagent.kernel.netlink.nftables_monitor import NftablesMonitor
from ipvsagent.kernel.netlink.statistics import StatisticsReader
from ipvsagent.kernel.sysctls import NETWORK_SETTINGS, SysctlDriver
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.events import Event, Stop
from ipvsagent.model.objects import NodeNotice
from ipvsagent.model.state import DUMMY_INTERFACE
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.reconciler.cleanup import Cleanup
from ipvsagent.reconciler.configuration import ConfigurationRefused, Reconfigure
from ipvsagent.reconciler.loop import Reconciler
from ipvsagent.reconciler.patience import patiently
from ipvsagent.reconciler.prepare import load_ipvs, needed_from_node
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.metrics.inputs import MetricsInputs
from ipvsagent.serve.serving import Serving
from ipvsagent.source.announce import Announcer
from ipvsagent.source.api import ApiSource
from ipvsagent.source.manifests import ManifestSource
from ipvsagent.source.transport import KubernetesTransport

_CAP_NET_ADMIN = 12  # include/uapi/linux/capability.h
_LAST_EVENTS_SECONDS = 3.0  # which an agent that cannot go on has for telling why


def choose_node_name(option: str, settings: Settings, environment: Mapping[str, str]) -> str:
    """The node's name: option, `NODE_NAME`, configuration, host name; trimmed and in lower case (CFG-02).

    Raises:
        ConfigurationError: all of them are blank.
    """
    candidates = (option, environment.get("NODE_NAME", ""), settings.hostname_override, socket.gethostname())
    name = next((c.strip().lower() for c in candidates if c.strip()), "")
    if not name:
        raise ConfigurationError(["the node has no name: give `--node-name`"])
    return name


def open_drivers(settings: Settings, log: Logger) -> Drivers:
    """Open every driver in this thread's network namespace.

    Raises:
        NodeUnusable: no address family can be served, the process lacks a capability or the kernel IPVS.
    """
    require_net_admin()
    modules = ModuleDriver()
    load_ipvs(modules)
    with needed_from_node():
        rules = _open_rules(settings, log)
        ipvs, addresses, ip_sets, conntrack = IpvsDriver(), AddressDriver(), IpSetDriver(), ConntrackDriver()

    def close() -> None:
        for driver in (ipvs, addresses, ip_sets, conntrack):
            driver.close()

    return Drivers(
        ipvs=ipvs,
        addresses=addresses,
        ip_sets=ip_sets,
        rules=rules,
        sysctls=SysctlDriver(network=_mounted(NETWORK_SETTINGS)),
        modules=modules,
        conntrack=conntrack,
        close=close,
    )


def _mounted(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is unset or empty."""
    value = os.environ.get(variable, "")
    return Path(value) if value else None


def require_net_admin() -> None:
    """Say at once, in one sentence, what every operation would fail for otherwise.

    Raises:
        NodeUnusable: the process lacks the capability NET_ADMIN.
    """
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    effective = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    if not effective >> _CAP_NET_ADMIN & 1:
        raise NodeUnusable(
            "this process may not change the node's network", "run as root, or with capability NET_ADMIN"
        )


def _open_rules(settings: Settings, log: Logger) -> dict[Family, Rules]:
    variant = settings.iptables_variant if settings.iptables_variant != "auto" else detect_variant()
    driver = LegacyRules if variant == "legacy" else NftRules
    rules: dict[Family, Rules] = {}
    reasons = []
    for family, reason in usable_families(variant).items():
        if reason is None:
            rules[family] = driver(family)
        else:
            reasons.append(f"{family.label}: {reason}")
            log.warning("address family not served", family=family.label, reason=reason)
    if Family.IPV4 not in rules and Family.IPV6 not in rules:
        raise NodeUnusable(
            f"iptables works for no address family ({'; '.join(reasons)})", "install the package `iptables`"
        )
    log.info("iptables variant chosen", variant=variant, families=",".join(f.label for f in rules))
    return rules


def _open_monitors(settings: Settings, drivers: Drivers) -> list[Monitor[Event]]:
    """All that the kernel tells of; changes of legacy rules it tells nobody."""
    monitors: list[Monitor[Event]] = [patiently(lambda: RtnetlinkMonitor(DUMMY_INTERFACE))]
    if any(rules.variant == "nft" for rules in drivers.rules.values()):
        chains = [key for rule_set in plan_rule_sets(settings, None, drivers.rules) for key in rule_set.chain_keys]
        monitors.append(patiently(lambda: NftablesMonitor(chains)))
    return monitors


class Agent:
    """A running agent: everything between the command line and the owner thread.

    Args:
        node_name: the command line's; empty to choose it as `choose_node_name` says.
        manifests: folder that objects come from; None to follow an API server.
        kubeconfig: in the place of the configuration's.
        server: URL of the API server, in the place of the kubeconfig's.
        configuration_file: followed while the agent runs; None if there is none.
        configuration_text: what the file held when the settings were read from it.
        flags: the command line's options, for `/flagz`.
        settings_applied: called, in the owner thread, when new settings have come into force.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        node_name: str,
        manifests: Path | None,
        kubeconfig: str = "",
        server: str = "",
        configuration_file: Path | None,
        configuration_text: str | None = None,
        log: Logger,
        flags: Mapping[str, str] | None = None,
        settings_applied: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._settings = settings
        name = choose_node_name(node_name, settings, os.environ)
        drivers = open_drivers(settings, log)
        self.reconciler = Reconciler(
            drivers,
            settings=settings,
            node_name=name,
            families=tuple(drivers.rules),
            random_fully=supports_random_fully(),
            log=log,
        )
        self.reconciler.settings_applied = settings_applied
        with needed_from_node():
            self._monitors = _open_monitors(settings, drivers)
        self._monitor_threads = [threading.Thread(target=self._follow, args=(m,), daemon=True) for m in self._monitors]
        self._source: ManifestSource | ApiSource
        self._requests: RequestCounts | None = None
        self._announcer: Announcer | None = None
        if manifests is not None:
            self._source = ManifestSource(manifests, self.reconciler.put)
        else:
            transport = KubernetesTransport(kubeconfig or settings.kubeconfig, server)
            self._requests = transport.requests
            self._source = ApiSource(transport, name, self.reconciler.put)
            self.reconciler.departures.ask = self._source.ask_for_node
            self._announcer = Announcer(transport, name, log)
            self.reconciler.announce = self._announcer.announce
        self.health_responses = HealthResponseCounts()
        self._metrics: Callable[[], tuple[str, bytes]] | None = None
        self._closing = [drivers.close]  # what is left when all threads have ended
        self._serving = Serving(
            ServingInputs(
                status=lambda: self.reconciler.status,
                progress=self.reconciler.progress,
                settings=lambda: self.reconciler.settings,
                silence_seconds=self._source.silence_seconds if isinstance(self._source, ApiSource) else None,
                started_at=dt.datetime.now(dt.UTC),
                families=tuple(drivers.rules),
                flags=tuple(sorted((flags or {}).items())),
                metrics=self._answer_metrics,
                health_responses=self.health_responses,
            ),
            log,
            report=self._announcer.announce if self._announcer else lambda _: None,
        )
        self.reconciler.published = self._serving.update
        self._configuration = configuration_file and ConfigurationWatcher(
            configuration_file,
            known=configuration_text,
            loaded=self._configuration_loaded,
            refused=self._configuration_refused,
        )
        log.info("starting", version=__version__, node=name)

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT end `run`; to be called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())

    def stop(self) -> None:
        """Make `run` return; may be called from any thread and from a signal handler."""
        self.reconciler.put(Stop())

    def _answer_metrics(self) -> tuple[str, bytes]:
        """Answer a scrape; the metrics server is one thread, so the first one prepares it without a race."""
        if self._metrics is None:
            self._metrics = self.metrics()
        return self._metrics()

    def metrics(self) -> Callable[[], tuple[str, bytes]]:
        """What answers `/metrics`, from any thread of this network namespace: content type and text.

        Raises:
            KernelError: the sockets for the kernel's counts could not be opened.
        """
        from ipvsagent.serve.metrics.exposition import Metrics  # takes 0.1 s, for those who serve metrics

        reader = StatisticsReader(real_servers=self._settings.real_server_metrics)
        self._closing.append(reader.close)
        reconciler = self.reconciler
        inputs = MetricsInputs(
            counters=reconciler.counters,
            version=__version__,
            families=reconciler.families,
            read_statistics=reader.read,
            port_names=reconciler.port_names,
            status=lambda: reconciler.status,
            silence_seconds=self._source.silence_seconds if isinstance(self._source, ApiSource) else None,
            health_responses=self.health_responses,
            requests=self._requests,
            ask_for_counts=reconciler.ask_for_counts,
            settings=lambda: reconciler.settings,
        )
        return Metrics(inputs).render

    def run(self) -> None:
        """Prepare the node, follow the objects and keep the kernel in step until `stop`.

        Raises:
            NodeUnusable: the node lacks something that nothing can be done without.
            SourceError: the folder of manifests cannot be read, or there is no access to an API server.
        """
        self._protect_from_oom()
        try:
            # Before any connection is made: the first rules switch connection tracking on, and a connection that is
            # open then may be taken for another one and hang.
            self.reconciler.start()
            self._serving.start()
            for thread in self._monitor_threads:
                thread.start()
            self._source.start()
            if self._announcer:
                self._announcer.announce(NodeNotice("Starting", f"ipvsagent {__version__} starts", warning=False))
                self._announcer.start()
            if self._configuration:
                self._configuration.start()
            self.reconciler.run()
        except NodeUnusable as error:
            self._tell_before_the_end(error)
            raise
        finally:
            self._end_threads()
        self._log.info("stopped; the kernel state stays in place")

    def _tell_before_the_end(self, error: NodeUnusable) -> None:
        if self._announcer:
            self._announcer.announce(NodeNotice("FailedToStart", "; ".join(str(error).splitlines())))
            self._announcer.start()
            self._announcer.finish(_LAST_EVENTS_SECONDS)

    def _end_threads(self) -> None:
        self._serving.stop()
        self._source.stop()
        if self._announcer:
            self._announcer.stop()
        if self._configuration and self._configuration.is_alive():
            self._configuration.stop()
        for monitor in self._monitors:
            monitor.close()
        for thread in self._monitor_threads:
            if thread.is_alive():
                thread.join()
        for close in self._closing:
            close()

    def _protect_from_oom(self) -> None:
        try:
            Path("/proc/self/oom_score_adj").write_text(str(self._settings.oom_score_adjust), encoding="ascii")
        except OSError as error:
            self._log.warning("oom_score_adj not set", error=error)  # SYS-13: goes on

    def _follow(self, monitor: Monitor[Event]) -> None:
        while events := monitor.read():
            for event in events:
                self.reconciler.put(event)

    def _configuration_loaded(self, loaded: LoadedConfiguration) -> None:
        for warning in loaded.warnings:
            self._log.warning("configuration", warning=warning)
        self.reconciler.put(Reconfigure(loaded.settings))

    def _configuration_refused(self, reason: str) -> None:
        self.reconciler.put(ConfigurationRefused(reason))


def clean_node(settings: Settings, *, all_virtual_servers: bool, dry_run: bool) -> Cleanup:
    """Remove our state from this node, in whichever iptables variant it stands.

    Raises:
        NodeUnusable: the process lacks a capability.
    """
    require_net_admin()
    cleanup = Cleanup(
        _ipvs_if_any(),
        AddressDriver(),
        IpSetDriver(),
        rules=_installed_rules(),
        rule_sets={r.family: r for r in plan_rule_sets(settings, None, Family)},
        exclude=settings.exclude_networks,
        all_virtual_servers=all_virtual_servers,
        dry_run=dry_run,
    )
    cleanup.run()
    return cleanup


def _ipvs_if_any() -> IpvsDriver | None:
    try:
        return IpvsDriver()
    except NotSupported:
        return None


def _installed_rules() -> list[Rules]:
    """Drivers of every variant whose program is installed; looking through them changes and loads nothing."""
    drivers: list[Rules] = []
    for family in Family:
        drivers += [LegacyRules(family), NftRules(family)]
    return drivers
