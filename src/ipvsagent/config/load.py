"""From a configuration file to settings: our own kind, or kube-proxy's as it is (CFG rules)."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ipvsagent.config.fields import read_common, read_scheduler
from ipvsagent.config.reader import Findings, Section
from ipvsagent.config.types import ESTIMATION_MODES, LOG_FORMATS, LOG_LEVELS, ExternalAddresses, Logging, Settings
from ipvsagent.errors import ConfigurationError
from ipvsagent.yaml_text import YamlError, parse_yaml

OUR_API_VERSION = "ipvsagent.io/v1alpha1"
OUR_KIND = "AgentConfiguration"
KUBE_PROXY_API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KUBE_PROXY_KIND = "KubeProxyConfiguration"

_VERBOSITY_OF_OBJECTS = 4
SCHEDULER_FLAGS = {"flag-1": 0x8, "flag-2": 0x10, "flag-3": 0x20}


class LoadedConfiguration(Struct, frozen=True):
    """Usable settings and what an operator should know of the file.

    Args:
        text: of the file that they were read from; None if they come from elsewhere.
    """

    settings: Settings
    warnings: tuple[str, ...] = ()
    text: str | None = None


def load_configuration(path: Path) -> LoadedConfiguration:
    """Read a configuration file.

    Raises:
        ConfigurationError: it cannot be read or used; every problem is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    try:
        return replace(parse_configuration(text), text=text)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from error


def parse_configuration(text: str) -> LoadedConfiguration:
    """Read a configuration from YAML text; empty text gives the defaults.

    Raises:
        ConfigurationError: every problem, with the path of its field and what is allowed.
    """
    values = parse_documents(text)
    if len(values) > 1:
        raise ConfigurationError([f"does not parse: holds {len(values)} YAML documents; allowed: one"])
    return read_configuration(values[0] if values else None)


def parse_documents(text: str) -> list[object]:
    """Read the YAML documents of a text; empty ones are left out.

    Raises:
        ConfigurationError: the text is not YAML.
    """
    try:
        return [value for _, value in parse_yaml(text, mark_truth_words=True) if value is not None]
    except YamlError as error:
        where = f"line {error.line}: " if error.line else ""
        raise ConfigurationError([f"does not parse: {where}{error.reason}"]) from error


def read_configuration(value: object) -> LoadedConfiguration:
    """Read a configuration from plain YAML values; None gives the defaults.

    Raises:
        ConfigurationError: every problem, with the path of its field and what is allowed.
    """
    if value is None:
        return LoadedConfiguration(Settings())
    findings = Findings()
    top = Section(value, "", findings)
    kind, version = top.text("kind"), top.text("apiVersion")
    settings = Settings()
    if (version, kind) == (OUR_API_VERSION, OUR_KIND):
        settings = read_ours(top, findings)
    elif (version, kind) == (KUBE_PROXY_API_VERSION, KUBE_PROXY_KIND):
        settings = _read_kube_proxy(top, findings)
    elif not findings.problems:
        findings.problems.append(
            f"kind `{kind}` of apiVersion `{version}` is not known; allowed: {OUR_KIND} of {OUR_API_VERSION}, "
            f"{KUBE_PROXY_KIND} of {KUBE_PROXY_API_VERSION}"
        )
    if findings.problems:
        raise ConfigurationError(findings.problems)
    return LoadedConfiguration(settings, tuple(findings.warnings))


def read_ours(top: Section, findings: Findings) -> Settings:
    """Our own kind: unknown fields are errors."""
    ipvs, iptables = top.section("ipvs"), top.section("iptables")
    flags = _flags(ipvs)
    variant = iptables.text("variant", "auto", ("auto", "legacy", "nft"))
    real_server_metrics = top.boolean("realServerMetrics")
    strict_local = top.boolean("strictLocalPolicy")
    ipv6_forwarding = top.boolean("ipv6Forwarding")
    drain_timeout = ipvs.seconds("drainTimeout", Settings().drain_timeout_seconds)
    automatic_timeouts = ipvs.boolean("automaticTimeouts", True)
    estimation = ipvs.switch("estimation", Settings().estimation, ESTIMATION_MODES)
    external = top.section("externalAddresses")
    logging = top.section("logging")
    settings = read_common(top, ipvs, iptables)
    settings = replace(
        settings,
        scheduler_fallback=read_scheduler(ipvs, "schedulerFallback", ""),
        external_addresses=ExternalAddresses(
            external.networks("allowedExternalIPs"), external.networks("allowedLoadBalancerIPs")
        ),
        service_networks=top.networks("serviceCIDRs"),
        logging=Logging(logging.text("format", "text", LOG_FORMATS), logging.text("level", "info", LOG_LEVELS)),
        scheduler_flags=flags,
        timeouts=replace(settings.timeouts, automatic=automatic_timeouts),
        iptables_variant=variant,
        strict_local_policy=strict_local,
        ipv6_forwarding=ipv6_forwarding,
        real_server_metrics=real_server_metrics,
        drain_timeout_seconds=drain_timeout,
        estimation=estimation,
    )
    findings.problems += top.unknown()
    return settings


def _flags(ipvs: Section) -> int | None:
    """`ipvs.schedulerFlags`: a list of flag-1, flag-2, flag-3 in ipvsadm's words (DEV-16)."""
    if ipvs.take("schedulerFlags") is None:
        return None
    bits = 0
    for word in ipvs.texts("schedulerFlags"):
        if word not in SCHEDULER_FLAGS:
            ipvs.wrong("schedulerFlags", f"`{word}` is not a flag; allowed: {', '.join(SCHEDULER_FLAGS)}")
        bits |= SCHEDULER_FLAGS.get(word, 0)
    return bits


def _read_kube_proxy(top: Section, findings: Findings) -> Settings:
    """kube-proxy's kind: unknown fields are warnings (CFG-50), those without effect are named once."""
    mode = top.text("mode")
    if mode != "ipvs":
        shown = f"`{mode}`" if mode else "empty, which means iptables,"
        findings.problems.append(
            f"mode: {shown} is not what this agent does: it serves Services through IPVS alone; allowed: ipvs, which "
            "takes the node's Services over from kube-proxy with connections open"
        )
    ipvs, iptables = top.section("ipvs"), top.section("iptables")
    idle = top.ignore(
        *("nftables", "winkernel", "windowsRunAsService", "portRange", "enableProfiling"),
        *("showHiddenMetricsForVersion", "configSyncPeriod"),
    )
    idle += iptables.ignore("syncPeriod", "minSyncPeriod", "localhostNodePorts")
    logging = top.section("logging")
    idle += logging.ignore("flushFrequency", "vmodule", "options")
    settings = replace(read_common(top, ipvs, iptables), logging=_kube_proxy_logging(logging))
    if idle:
        findings.warnings.append(f"fields without effect here: {', '.join(idle)}")
    findings.warnings += top.unknown()
    return settings


def _kube_proxy_logging(section: Section) -> Logging:
    """`logging.format` and `logging.verbosity`; from 4 on, kube-proxy tells of single objects (CFG-12)."""
    verbosity = section.integer("verbosity", 0, 0, 2**32 - 1)
    log_format = section.text("format", "text", ("", *LOG_FORMATS)) or "text"
    return Logging(log_format, "debug" if verbosity >= _VERBOSITY_OF_OBJECTS else "info")
