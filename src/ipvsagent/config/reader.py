"""Convert a configuration file's plain values to settings, using the table of settings (`config.types`).

The fields are read in the order of the file, and all problems are collected. A null is the same as an absent field.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ipvsagent.config.fields import Field, with_values
from ipvsagent.config.trees import is_zero
from ipvsagent.config.types import FIELDS, Settings
from ipvsagent.config.values import LocalDetectionMode, SocketAddress
from ipvsagent.config.words import WrongValue, near_miss, shown
from ipvsagent.model.address import Address, Family

IDLE_FIELDS = (
    "clientConnection.acceptContentTypes",
    "clientConnection.contentType",
    "clientConnection.qps",
    "clientConnection.burst",
)
"""Accepted in both kinds, without effect."""

OUR_API_VERSION = "ipvsagent.io/v1alpha1"
OUR_KIND = "AgentConfiguration"

HEAD = ("apiVersion", "kind")
_FREE_SECTIONS = ("featureGates",)
"""Sections whose other names are accepted, without effect."""


@dataclass(slots=True)
class Findings:
    """The problems and warnings about a file.

    Args:
        problems: reasons to reject the file.
        unknown: unknown fields, each with the most similar known field.
        idle: paths of fields without effect that are set to something other than Go's zero value.
    """

    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


def read_settings(
    tree: Mapping[str, object],
    findings: Findings,
    *,
    fields: Collection[Field] = FIELDS,
    idle: Collection[str] = (),
) -> Settings:
    """Read all fields of a file.

    Args:
        tree: the whole file.
        findings: receives the problems and warnings.
        fields: the fields that this kind of file has.
        idle: further fields or whole sections that are accepted without effect and reported as such.

    Returns:
        The settings; not valid if a problem was found.
    """
    known = {f.path: f for f in fields}
    names = {*known, *IDLE_FIELDS, *idle, *HEAD}
    values: dict[str, object] = {}
    for path, value in _leaves(tree, names, findings):
        if path in idle:
            findings.idle += [] if is_zero(value) else [path]
        elif path in known and value is not None:
            try:
                read = known[path].form.read(value)
            except WrongValue as error:
                findings.problems += [f"{path}: {reason}" for reason in error.reasons]
                continue
            if read is not None:
                values[path] = read
    settings = with_values(Settings(), _moved_defaults(tree) | values)
    findings.problems += [problem for rule in _RULES for problem in rule(settings)]
    return settings


def _leaves(tree: Mapping[str, object], names: Collection[str], findings: Findings) -> Iterator[tuple[str, object]]:
    """Yield the known fields of a file with their paths; report the others."""
    sections = {path.partition(".")[0] for path in names if "." in path}
    top = [name for name in names if "." not in name] + sorted(sections)
    for name, value in tree.items():
        if name in sections:
            if value is not None and not isinstance(value, dict):
                findings.problems.append(f"{name}: must be a mapping, not {shown(value)}")
                continue
            below = [path.partition(".")[2] for path in names if path.startswith(f"{name}.")]
            for inner, leaf in (value or {}).items():
                if inner in below:
                    yield f"{name}.{inner}", leaf
                elif name not in _FREE_SECTIONS:
                    findings.unknown.append(f"{name}.{inner}: is not a known field{near_miss(inner, below)}")
        elif name in top:
            yield name, value
        else:
            findings.unknown.append(f"{name}: is not a known field{near_miss(name, top)}")


_IN_IPV6 = {"0.0.0.0": "::", "127.0.0.1": "::1"}


def _moved_defaults(tree: Mapping[str, object]) -> dict[str, object]:
    """Return IPv6 defaults for the servers' addresses if `bindAddress` is IPv6, including `::` (CFG-04, CFG-05)."""
    try:
        family = Address.parse(str(tree.get("bindAddress"))).family
    except ValueError:
        return {}
    if family is Family.IPV4:
        return {}
    moved = {f.path: f.default for f in FIELDS if isinstance(f.default, SocketAddress)}
    return {
        path: SocketAddress(Address.parse(_IN_IPV6[str(default.address)]), default.port)
        for path, default in moved.items()
        if isinstance(default, SocketAddress)
    }


def _periods(settings: Settings) -> Iterator[str]:
    least, period = settings.min_sync_period_seconds, settings.sync_period_seconds
    if least > period:
        yield f"ipvs.minSyncPeriod: {least:g}s is longer than syncPeriod ({period:g}s)"


def _local_detection(settings: Settings) -> Iterator[str]:
    detection = settings.local_detection
    needed = {
        LocalDetectionMode.BRIDGE_INTERFACE: ("bridgeInterface", detection.bridge_interface),
        LocalDetectionMode.INTERFACE_NAME_PREFIX: ("interfaceNamePrefix", detection.interface_name_prefix),
    }
    name, value = needed.get(detection.mode, ("", "unused"))
    if not value:
        yield f"detectLocal.{name}: must be set with detectLocalMode {detection.mode}"


_RULES: tuple[Callable[[Settings], Iterator[str]], ...] = (_periods, _local_detection)
"""Checks that involve several fields."""
