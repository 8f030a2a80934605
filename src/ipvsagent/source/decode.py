"""From bytes, or from parsed YAML, to model objects; nothing that arrives raises.

An object comes out in one of three ways: `Usable`, with problems for the parts that are left out; `NotUsed`, when
it is none of ours; `Unusable`, when it cannot be decoded.

The types are checked by msgspec, all at once and quickly. Where a check fails, `_TOLERABLE` says how much must go
so that the rest can be used: a Service with one port too odd to read keeps its others. Fields outside that table,
such as the cluster IP, decide what the object is; a wrong type there rejects the object.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from ipvsagent.model.objects import Kind, ObjectKey
from ipvsagent.source.decode_checks import quote
from ipvsagent.source.decode_node import decode_node
from ipvsagent.source.decode_result import DecodeResult, Findings, NotUsed, Rejection, Unusable, Usable
from ipvsagent.source.decode_service import decode_service
from ipvsagent.source.decode_slice import decode_slice
from ipvsagent.source.decode_wire import WIRE_TYPES, WireMetadata, WireNode, WireObject, WireService, WireSlice

__all__ = ["DecodeResult", "NotUsed", "Unusable", "Usable", "decode", "decode_json"]

MOST_REPAIRS = 64
"""Parts of one object that may have a wrong type; each costs another look at the whole object."""

_TOLERABLE: dict[Kind, tuple[tuple[re.Pattern[str], str], ...]] = {
    kind: tuple((re.compile(pattern), consequence) for pattern, consequence in rows)
    for kind, rows in {
        Kind.SERVICE: (
            (r"spec\.ports\[\d+\]\.nodePort", "this node port is ignored"),
            (r"spec\.ports\[\d+\]", "this port is ignored"),
            (r"spec\.externalIPs\[\d+\]", "this external IP is ignored"),
            (r"spec\.externalIPs", "external IPs are ignored"),
            (r"spec\.loadBalancerSourceRanges\[\d+\]", "this source range is ignored"),
            (r"spec\.sessionAffinityConfig", "the default is used"),
            (r"spec\.healthCheckNodePort", "it is ignored"),
            (r"status\.loadBalancer\.ingress\[\d+\]", "this load balancer IP is ignored"),
            (r"status", "load balancer IPs are ignored"),
            (r"metadata\.(creationTimestamp|deletionTimestamp|generation)", "it is ignored"),
        ),
        Kind.ENDPOINT_SLICE: (
            (r"endpoints\[\d+\]", "this endpoint is ignored"),
            (r"ports\[\d+\]", "this port is ignored"),
            (r"metadata\.(creationTimestamp|deletionTimestamp|generation)", "it is ignored"),
        ),
        Kind.NODE: (
            (r"status\.addresses\[\d+\]", "this node address is ignored"),
            (r"spec\.taints", "taints are ignored"),
            (r"spec\.podCIDRs?", "pod CIDRs are ignored"),
            (r"metadata\.(creationTimestamp|generation)", "it is ignored"),
        ),
    }.items()
}

_WORDS = {
    "int": "a whole number",
    "float": "a fractional number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_MISMATCH = re.compile(r"Expected `([a-z]+)(?: \| null)?`, got `([a-z]+)`")
_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(.*)`$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def decode_json(kind: Kind, data: bytes | msgspec.Raw) -> DecodeResult:
    """Decode one object from JSON."""
    try:
        return _finish(kind, msgspec.json.decode(data, type=WIRE_TYPES[kind]), [])
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _unreadable(kind, f"cannot be read as JSON: {error}")
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _unreadable(kind, f"cannot be read as JSON: {error}")
    return decode(kind, tree)


def decode(kind: Kind, tree: object) -> DecodeResult:
    """Decode one object from what a JSON or YAML parser made of it; `tree` stays as it is."""
    dropped: list[tuple[str, str]] = []
    while True:
        try:
            return _finish(kind, msgspec.convert(tree, WIRE_TYPES[kind]), dropped)
        except msgspec.ValidationError as error:
            message = str(error)
        except (TypeError, RecursionError) as error:
            return _unreadable(kind, f"cannot be read: {error}")
        path, reason = _explain(message, tree)
        unit, consequence = _tolerable(kind, path)
        if not unit or len(dropped) == MOST_REPAIRS:
            return _findings(kind, tree, dropped).rejected(
                Rejection(path, f"{reason}; this {kind.value} is not used as it stands")
            )
        dropped.append((path, f"{reason}; {consequence}"))
        tree = _without(tree, _steps(unit))


def _finish(kind: Kind, wire: WireObject, dropped: list[tuple[str, str]]) -> DecodeResult:
    metadata = wire.metadata or WireMetadata()
    key = _key(kind, metadata.namespace, metadata.name)
    findings = Findings(kind, key)
    for field, reason in dropped:
        findings.add(field, reason)
    try:
        _check_key(key)
        found = _model_object(wire, metadata, findings)
    except Rejection as rejection:
        return findings.rejected(rejection)
    return NotUsed(kind, key) if found is None else Usable(found, findings.problems())


def _model_object(wire: WireObject, metadata: WireMetadata, findings: Findings) -> Any:
    match wire:
        case WireService():
            return decode_service(wire, metadata, findings)
        case WireSlice():
            return decode_slice(wire, metadata, findings)
        case WireNode():
            return decode_node(wire, metadata, findings)
        case _:
            assert_never(wire)


def _key(kind: Kind, namespace: str | None, name: str | None) -> ObjectKey:
    """The key; a manifest without a namespace means `default`, and Nodes have none."""
    return ObjectKey("" if kind is Kind.NODE else sys.intern(namespace or "default"), name or "")


def _check_key(key: ObjectKey) -> None:
    if not key.name:
        raise Rejection("metadata.name", "is missing; this object is not used")
    for field, text in (("metadata.namespace", key.namespace), ("metadata.name", key.name)):
        if len(text) > 253 or "/" in text or " " in text or not text.isprintable():
            raise Rejection(field, f"{quote(text)} is not a name; this object is not used")


def _unreadable(kind: Kind, reason: str) -> Unusable:
    return Findings(kind, ObjectKey("", "")).rejected(Rejection("", reason))


def _findings(kind: Kind, tree: object, dropped: list[tuple[str, str]]) -> Findings:
    """Findings for an object that has the wrong shape, under its name as far as it can be made out."""
    metadata = tree.get("metadata") if isinstance(tree, Mapping) else None
    texts = (metadata.get(f) if isinstance(metadata, Mapping) else None for f in ("namespace", "name"))
    namespace, name = (t if isinstance(t, str) else None for t in texts)
    findings = Findings(kind, _key(kind, namespace, name))
    for field, reason in dropped:
        findings.add(field, reason)
    return findings


def _explain(message: str, tree: object) -> tuple[str, str]:
    """Path and reason from msgspec's message about the tree."""
    at = _PATH.search(message)
    mismatch = _MISMATCH.match(message)
    path = at[1] if at else ""
    if mismatch is None:
        return path, "has a key that is not text"
    expected, got = (_WORDS.get(word, word) for word in mismatch.groups())
    value: Any = tree
    for step in _steps(path):
        value = value[step]
    shown = f"{quote(value)} is" if isinstance(value, str | int | float) else "is"
    return path, f"{shown} {got}, not {expected}"


def _steps(path: str) -> list[Any]:
    """Keys and indices of a path such as ``spec.ports[0].port``."""
    return [m[1] or int(m[2]) for m in _STEP.finditer(path)]


def _tolerable(kind: Kind, path: str) -> tuple[str, str]:
    for pattern, consequence in _TOLERABLE[kind]:
        match = pattern.match(path)
        if match:
            return match[0], consequence
    return "", ""


def _without(tree: Any, steps: list[Any]) -> Any:
    """A copy of the tree with null at that path; what lies beside it is shared, not copied.

    Args:
        steps: keys and indices; msgspec named the path, so it exists.
    """
    if not steps:
        return None
    first, *rest = steps
    copy: Any = dict(tree) if isinstance(tree, Mapping) else list(tree)
    copy[first] = _without(copy[first], rest)
    return copy
