"""Wiring: connects drivers, sources, servers and the owner thread. It decides no Service semantics."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ipvsagent import __version__
from ipvsagent.config.load import LoadedConfiguration
from ipvsagent.config.node_name import choose_node_name
from ipvsagent.config.types import Settings
from ipvsagent.config.watch import ConfigurationWatcher
from ipvsagent.drivers import installed_rules, ipvs_if_any, open_drivers, open_monitors
from ipvsagent.errors import NodeUnusable
from ipvsagent.instrumentation.api_requests import RequestCounts
from ipvsagent.instrumentation.health_responses import HealthResponseCounts
from ipvsagent.kernel.api import Drivers, Monitor
from ipvsagent.kernel.iptables.variant import supports_random_fully
from ipvsagent.kernel.netlink.addresses import AddressDriver
from ipvsagent.kernel.netlink.ipsets import IpSetDriver
from ipvsagent.kernel.netlink.statistics import StatisticsReader
from ipvsagent.log import Logger
from ipvsagent.model.address import Family
from ipvsagent.model.events import Event, Stop
from ipvsagent.model.objects import Announced, NodeNotice, ObjectKey
from ipvsagent.planner.plan import plan_rule_sets
from ipvsagent.reconciler.cleanup import Cleanup
from ipvsagent.reconciler.loop import Listeners, Reconciler
from ipvsagent.reconciler.mailbox import ConfigurationRefused, Mailbox, Reconfigure
from ipvsagent.reconciler.published import Published
from ipvsagent.requirements import needed_from_node, require_net_admin
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.metrics.inputs import MetricsInputs
from ipvsagent.serve.serving import Serving
from ipvsagent.source.api import ApiSource
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.event_recorder import EventRecorder
from ipvsagent.source.manifests import ManifestSource
from ipvsagent.source.transport import KubernetesTransport

_LAST_EVENTS_SECONDS = 3.0  # for an agent that cannot start to report the reason


def own_pod(environment: Mapping[str, str]) -> ObjectKey | None:
    """Return the agent's pod from the variables `POD_NAMESPACE` and `POD_NAME`; None if they are not set."""
    namespace, name = environment.get("POD_NAMESPACE", ""), environment.get("POD_NAME", "")
    return ObjectKey(namespace, name) if namespace and name else None


class Agent:
    """A running agent: everything between the command line and the owner thread.

    Args:
        node_name: from the command line; empty to choose it with `choose_node_name`.
        manifests: folder that objects come from; None to follow an API server.
        kubeconfig: replaces the configuration's.
        server: URL of the API server; replaces the kubeconfig's.
        configuration_file: followed while the agent runs; None if there is none.
        configuration_text: the content of the file when the settings were read from it.
        flags: options of the command line, for `/flagz`.
        settings_applied: called, in the owner thread, once new settings are in force.
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
        self._closing = [drivers.close]  # to call after all threads have ended
        with needed_from_node():
            self._monitors = open_monitors(settings, drivers)
        self._monitor_threads = [threading.Thread(target=self._follow, args=(m,), daemon=True) for m in self._monitors]
        self._mailbox = Mailbox(time.monotonic)
        self._published = Published(settings)
        self._source: ManifestSource | ApiSource
        self._requests: RequestCounts | None = None
        self._event_recorder: EventRecorder | None = None
        if manifests is not None:
            self._source = ManifestSource(manifests, self._mailbox.put)
        else:
            transport = KubernetesTransport(
                ApiAccess(kubeconfig or settings.kubeconfig, server, warn=self._warn_of_access)
            )
            self._requests = transport.requests
            self._source = ApiSource(transport, name, self._mailbox.put, log)
            self._event_recorder = EventRecorder(transport, name, log, pod=own_pod(os.environ))
        self.health_responses = HealthResponseCounts()
        self._metrics: Callable[[], tuple[str, bytes]] | None = None
        self._serving = self._make_serving(flags or {})
        self._reconciler = self._make_reconciler(drivers, name, settings_applied)
        self._configuration = configuration_file and ConfigurationWatcher(
            configuration_file,
            known=configuration_text,
            loaded=self._configuration_loaded,
            refused=self._configuration_refused,
        )
        log.info("starting", version=__version__, node=name)

    def _make_serving(self, flags: Mapping[str, str]) -> Serving:
        published = self._published
        inputs = ServingInputs(
            status=lambda: published.status,
            progress=self._mailbox.progress,
            settings=lambda: published.settings,
            silence_seconds=self._silence_seconds(),
            source_faults=self._source.faults if isinstance(self._source, ApiSource) else tuple,
            started_at=dt.datetime.now(dt.UTC),
            flags=tuple(sorted(flags.items())),
            metrics=self._answer_metrics,
            health_responses=self.health_responses,
        )
        return Serving(inputs, self._log, report=self._report)

    def _make_reconciler(
        self, drivers: Drivers, node_name: str, settings_applied: Callable[[Settings], None]
    ) -> Reconciler:
        source = self._source
        listeners = Listeners(
            report=self._report,
            ask_for_node=source.ask_for_node if isinstance(source, ApiSource) else lambda _name: None,
            status_published=self._serving.update,
            settings_applied=settings_applied,
        )
        return Reconciler(
            drivers,
            self._mailbox,
            self._published,
            node_name=node_name,
            families=tuple(drivers.rules),
            random_fully=supports_random_fully(),
            log=self._log,
            listeners=listeners,
        )

    def _silence_seconds(self) -> Callable[[], float] | None:
        return self._source.silence_seconds if isinstance(self._source, ApiSource) else None

    def _report(self, item: Announced) -> None:
        """Create a Kubernetes event, if there is an API server."""
        if self._event_recorder:
            self._event_recorder.record(item)

    def stop_on_signals(self) -> None:
        """Make SIGTERM and SIGINT end `run`; call this in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())

    def stop(self) -> None:
        """Make `run` return; may be called from any thread and from a signal handler."""
        self._mailbox.put(Stop())

    def _warn_of_access(self, reason: str) -> None:
        self._log.warning("access to the API server not renewed", reason=reason)

    def _answer_metrics(self) -> tuple[str, bytes]:
        """Answer a scrape. The metrics server has one thread, so the first scrape prepares it without a lock."""
        if self._metrics is None:
            self._metrics = self.metrics()
        return self._metrics()

    def metrics(self) -> Callable[[], tuple[str, bytes]]:
        """Return the function that answers `/metrics` in any thread of this network namespace: content type and text.

        Raises:
            KernelError: the sockets for the kernel's counters could not be opened.
        """
        from ipvsagent.serve.metrics.exposition import Metrics  # takes 0.1 s, so only if metrics are served

        reader = StatisticsReader(real_servers=self._settings.real_server_metrics)
        self._closing.append(reader.close)
        reconciler, published = self._reconciler, self._published
        inputs = MetricsInputs(
            counters=reconciler.counters,
            version=__version__,
            read_statistics=reader.read,
            port_names=reconciler.port_names,
            status=lambda: published.status,
            silence_seconds=self._silence_seconds(),
            health_responses=self.health_responses,
            requests=self._requests,
            ask_for_counts=reconciler.request_counters,
            settings=lambda: published.settings,
        )
        return Metrics(inputs).render

    def run(self) -> None:
        """Prepare the node, follow the objects and keep the kernel up to date until `stop`.

        Raises:
            NodeUnusable: the node lacks something that the agent cannot work without.
            SourceError: the folder of manifests cannot be read, or there is no access to an API server.
        """
        self._protect_from_oom()
        try:
            # Before any connection is made: the first rules switch on connection tracking, and a connection that is
            # already open may then be mistaken for another one and hang.
            self._reconciler.start()
            self._serving.start()
            for thread in self._monitor_threads:
                thread.start()
            self._source.start()
            if self._event_recorder:
                self._event_recorder.record(NodeNotice("Starting", f"ipvsagent {__version__} starts", warning=False))
                self._event_recorder.start()
            if self._configuration:
                self._configuration.start()
            self._reconciler.run()
        except NodeUnusable as error:
            self._report_failed_start(error)
            raise
        finally:
            self._end_threads()
        self._log.info("stopped; the kernel state stays in place")

    def _report_failed_start(self, error: NodeUnusable) -> None:
        if self._event_recorder:
            self._event_recorder.record(NodeNotice("FailedToStart", "; ".join(str(error).splitlines())))
            self._event_recorder.start()
            self._event_recorder.finish(_LAST_EVENTS_SECONDS)

    def _end_threads(self) -> None:
        self._serving.stop()
        self._source.stop()
        if self._event_recorder:
            self._event_recorder.stop()
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
            self._log.warning("oom_score_adj not set", error=error)  # SYS-13: continue

    def _follow(self, monitor: Monitor[Event]) -> None:
        while events := monitor.read():
            for event in events:
                self._mailbox.put(event)

    def _configuration_loaded(self, loaded: LoadedConfiguration) -> None:
        for warning in loaded.warnings:
            self._log.warning("configuration", warning=warning)
        self._mailbox.put(Reconfigure(loaded.settings))

    def _configuration_refused(self, reason: str) -> None:
        self._mailbox.put(ConfigurationRefused(reason))


def clean_node(settings: Settings, *, all_virtual_servers: bool, dry_run: bool, if_agent_ran: bool = False) -> Cleanup:
    """Remove our state from this node, in both iptables variants.

    Raises:
        NodeUnusable: the process lacks a capability.
    """
    require_net_admin()
    cleanup = Cleanup(
        ipvs_if_any(),
        AddressDriver(),
        IpSetDriver(),
        rules=installed_rules(),
        rule_sets={r.family: r for r in plan_rule_sets(settings, None, Family)},
        exclude=settings.exclude_networks,
        all_virtual_servers=all_virtual_servers,
        dry_run=dry_run,
    )
    if not if_agent_ran or cleanup.agent_ran():
        cleanup.run()
    return cleanup
