"""The forms of values in a configuration file: how to read, write and describe them.

A form does not depend on a field. It reads a plain YAML value, or raises `WrongValue` with the reasons.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ipvsagent.config.durations import format_duration, go_duration, parse_duration
from ipvsagent.config.values import (
    ESTIMATION_MODES,
    SCHEDULER_FLAGS,
    SCHEDULERS,
    LocalDetectionMode,
    NodePortAddresses,
    SocketAddress,
)
from ipvsagent.config.words import WrongValue, listed, near_miss, shown
from ipvsagent.model.address import Address, Network
from ipvsagent.yaml_text import TruthWord

T = TypeVar("T")
Schema = Mapping[str, object]

LARGEST = 2**31 - 1
_DURATION_PATTERN = r"^\+?(0|([0-9]+(\.[0-9]+)?(h|ms|m|s|us|µs|ns))+)$"
_SOCKET_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_CIDR_LIST: Schema = {"type": "array", "items": {"type": "string"}}
_STRING: Schema = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """How values of one type are written.

    Args:
        allowed: the values that are allowed, in words.
        schema: the same as JSON Schema.
        read: makes the setting from a plain value that is not null; None stands for the field's default. Raises
            `WrongValue`.
        write: makes the plain value from the setting, so that `read` gives the setting back.
        write_go: as `write`, but as Kubernetes' programs write it; None if there is no difference.
        unit: the unit of the setting, with which its attribute's name ends; empty if it has none.
    """

    allowed: str
    schema: Schema
    read: Callable[[object], T | None]
    write: Callable[[T], object]
    write_go: Callable[[T], object] | None = None
    unit: str = ""


def as_text(value: object) -> str:
    """Read a string.

    Raises:
        WrongValue: the value is not a string.
    """
    if not isinstance(value, str):
        raise WrongValue(f"must be a string, not {shown(value)}")
    return str(value)


def as_texts(value: object) -> list[str]:
    """Read a list of strings.

    Raises:
        WrongValue: the value is not a list of strings.
    """
    if not isinstance(value, list):
        raise WrongValue(f"must be a list of strings, not {shown(value)}")
    for item in value:
        if not isinstance(item, str):
            raise WrongValue(f"must be a list of strings; {shown(item)} is not one")
    return [str(item) for item in value]


def as_word(value: object, allowed: Collection[str]) -> str:
    """Read one of several words.

    Raises:
        WrongValue: the value is not one of them.
    """
    word = as_text(value)
    if word not in allowed:
        raise WrongValue(f"`{word}` is not allowed{near_miss(word, allowed)}; allowed: {listed(allowed)}")
    return word


def one_of(words: Collection[str]) -> Form[str]:
    """Return the form of one of several words."""
    return Form(_words(words), _enum(words), lambda value: as_word(value, words), str)


def whole(low: int, high: int) -> Form[int]:
    """Return the form of a whole number within limits."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongValue(f"must be a whole number, not {shown(value)}")
        if not low <= value <= high:
            raise WrongValue(f"{value} is outside {low}..{high}")
        return value

    return Form(f"{low}..{high}", {"type": "integer", "minimum": low, "maximum": high}, read, int)


def socket_address(default_port: int) -> Form[SocketAddress]:
    """Return the form of ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or an address alone, which gets the default port."""

    def read(value: object) -> SocketAddress | None:
        text = as_text(value)
        try:
            return _parse_socket_address(text, default_port) if text else None
        except ValueError as error:
            examples = f"`0.0.0.0:{default_port}` or `[::]:{default_port}`"
            raise WrongValue(f"`{text}` is not an address with a port such as {examples}") from error

    return Form("address with or without a port", _STRING, read, str)


def _words(words: Collection[str]) -> str:
    return ", ".join(f"`{w}`" if w else "empty" for w in words)


def _enum(words: Collection[str]) -> Schema:
    return {"type": "string", "enum": list(words)}


def _truth(value: object) -> bool | None:
    """Return the boolean that a value means, including ``on`` without quotes; None if it is not a boolean."""
    if isinstance(value, TruthWord):
        return value.truth
    return value if isinstance(value, bool) else None


def _read_boolean(value: object) -> bool:
    truth = _truth(value)
    if truth is None:
        raise WrongValue(f"must be true or false, not {shown(value)}")
    return truth


def _read_seconds(value: object) -> float:
    seconds = parse_duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise WrongValue(f"must be a duration such as `1m30s` or `0s`, not {shown(value)}")
    if seconds < 0:
        raise WrongValue(f"`{value}` is negative")
    if seconds > LARGEST:
        raise WrongValue(f"`{str(value)[:32]}` is longer than {LARGEST}s, the kernel's maximum")
    return seconds


def _read_whole_seconds(value: object) -> int:
    """Round up, so that a positive duration never becomes 0."""
    return -int(-_read_seconds(value) // 1)


def _parse_socket_address(text: str, default_port: int) -> SocketAddress:
    found = _SOCKET_ADDRESS.fullmatch(text)
    if found is None:
        return SocketAddress(Address.parse(text), default_port)
    port = int(found[3])
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is outside 1-65535")
    return SocketAddress(Address.parse(found[1] or found[2]), port)


def _read_bind_address(value: object) -> Address | None:
    """Read an address; an unspecified address means the same as none."""
    text = as_text(value)
    try:
        address = Address.parse(text) if text else None
    except ValueError as error:
        raise WrongValue(str(error)) from error
    return None if address is None or address.is_unspecified else address


def _networks(texts: Collection[str]) -> tuple[Network, ...]:
    """Parse CIDRs; reject an address without a prefix length."""
    networks, reasons = [], []
    for text in texts:
        try:
            network = Network.parse(text)
        except ValueError as error:
            reasons.append(str(error))
            continue
        networks.append(network)
        if "/" not in text:
            reasons.append(f"`{text}` is not a CIDR; it lacks a prefix length")
    if reasons:
        raise WrongValue(*reasons)
    return tuple(networks)


def _network_texts(networks: tuple[Network, ...]) -> list[str]:
    return [str(n) for n in networks]


def _read_cluster_cidr(value: object) -> tuple[Network, ...]:
    """Read one CIDR per family, comma-separated or as a list (CFG-38)."""
    if isinstance(value, list):
        networks = _networks(as_texts(value))
    else:
        text = as_text(value)
        networks = _networks(text.split(",") if text else ())
    if len({n.family for n in networks}) < len(networks):
        raise WrongValue("holds two CIDRs of one family; allowed: one of each")
    return networks


def _read_node_port_addresses(value: object) -> NodePortAddresses:
    texts = as_texts(value)
    if "primary" not in texts:
        return NodePortAddresses(_networks(texts))
    if len(texts) > 1:
        raise WrongValue("`primary` must be the only element")
    return NodePortAddresses(primary=True)


def _read_scheduler(value: object) -> str | None:
    """Read a scheduler; empty means the default (CFG-20, VS-02)."""
    name = as_text(value)
    if name and name not in SCHEDULERS:
        raise WrongValue(f"`{name}` is not a scheduler{near_miss(name, SCHEDULERS)}; allowed: {listed(SCHEDULERS)}")
    return name or None


def _read_flags(value: object) -> int:
    """Read a list of ipvsadm's words for scheduler flags (DEV-16)."""
    words = as_texts(value)
    allowed = listed(SCHEDULER_FLAGS)
    wrong = [f"`{word}` is not a flag; allowed: {allowed}" for word in words if word not in SCHEDULER_FLAGS]
    if wrong:
        raise WrongValue(*wrong)
    bits = 0
    for word in words:
        bits |= SCHEDULER_FLAGS[word]
    return bits


def _write_flags(bits: int | None) -> list[str] | None:
    return None if bits is None else [word for word, bit in SCHEDULER_FLAGS.items() if bits & bit]


def _read_estimation(value: object) -> str:
    """Read a mode; ``on`` and ``off`` may be booleans, because many YAML writers omit the quotes."""
    truth = _truth(value)
    if truth is not None:
        return "on" if truth else "off"
    return as_word(value, ESTIMATION_MODES)


def _read_local_mode(value: object) -> LocalDetectionMode | None:
    word = as_word(value, ("", *LocalDetectionMode))
    return LocalDetectionMode(word) if word else None


TEXT: Form[str] = Form("text", _STRING, as_text, str)
BOOLEAN: Form[bool] = Form("true, false", {"type": "boolean"}, _read_boolean, bool)
BIND_ADDRESS: Form[Address | None] = Form(
    "address", _STRING, _read_bind_address, lambda address: "0.0.0.0" if address is None else str(address)
)
_DURATION = "duration such as `1m30s`"
_DURATION_SCHEMA: Schema = {"type": "string", "pattern": _DURATION_PATTERN}
DURATION: Form[float] = Form(_DURATION, _DURATION_SCHEMA, _read_seconds, format_duration, go_duration, "seconds")
PERIOD: Form[float] = Form(
    _DURATION, _DURATION_SCHEMA, lambda value: _read_seconds(value) or None, format_duration, go_duration, "seconds"
)
"""A duration of which 0 means the default."""
WHOLE_SECONDS: Form[int] = Form(
    _DURATION, _DURATION_SCHEMA, _read_whole_seconds, format_duration, go_duration, "seconds"
)
CIDRS: Form[tuple[Network, ...]] = Form(
    "list of CIDRs", _CIDR_LIST, lambda value: _networks(as_texts(value)), _network_texts
)
CLUSTER_CIDR: Form[tuple[Network, ...]] = Form(
    "one CIDR per family, comma-separated without blanks, or a list of them",
    {"anyOf": [_STRING, _CIDR_LIST]},
    _read_cluster_cidr,
    lambda networks: ",".join(_network_texts(networks)),
)
NODE_PORT_ADDRESSES: Form[NodePortAddresses] = Form(
    "list of CIDRs, or exactly `[primary]`",
    _CIDR_LIST,
    _read_node_port_addresses,
    lambda setting: ["primary"] if setting.primary else _network_texts(setting.networks),
)
SCHEDULER: Form[str] = Form(_words(("", *SCHEDULERS)), _enum(("", *SCHEDULERS)), _read_scheduler, str)
SCHEDULER_FLAG_WORDS: Form[int | None] = Form(
    "list of " + ", ".join(f"`{word}`" for word in SCHEDULER_FLAGS),
    {"type": ["array", "null"], "items": _enum(SCHEDULER_FLAGS)},
    _read_flags,
    _write_flags,
)
ESTIMATION: Form[str] = Form(
    _words(ESTIMATION_MODES),
    {"enum": [*ESTIMATION_MODES, True, False]},  # what YAML 1.1 makes of `on` and `off` without quotes
    _read_estimation,
    str,
)
LOCAL_MODE: Form[LocalDetectionMode] = Form(
    _words(("", *LocalDetectionMode)), _enum(("", *LocalDetectionMode)), _read_local_mode, str
)
