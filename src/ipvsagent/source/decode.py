"""Bytes or parsed YAML in, checked model objects out; nothing that arrives raises anything.

Three outcomes: an object that can be used, perhaps with problems whose fields are ignored; one that does not
concern us (equal to a deletion); one that exists but cannot be used at all, of which a version known before stays
in force.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem
from ipvsagent.source import wire
from ipvsagent.source.decode_node import node_from_wire
from ipvsagent.source.decode_service import service_from_wire
from ipvsagent.source.decode_slice import slice_from_wire, trigger_time
from ipvsagent.source.defaults import fill_in
from ipvsagent.source.problems import Problems


class Usable(msgspec.Struct, frozen=True, gc=False):
    """An object to use; the problems name fields that are ignored.

    Args:
        triggered_at: as in `model.events.Changed`.
    """

    object: KubernetesObject
    problems: tuple[Problem, ...] = ()
    triggered_at: float = 0.0


class NotUsed(msgspec.Struct, frozen=True, gc=False):
    """An object that does not concern us: headless, of another proxy, without owner."""

    kind: Kind
    key: ObjectKey


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """An object that exists but cannot be used."""

    kind: Kind
    key: ObjectKey
    problems: tuple[Problem, ...]


DecodeResult = Usable | NotUsed | Unusable

_WIRE_TYPES: Mapping[Kind, type[wire.WireObject]] = {
    Kind.SERVICE: wire.Service,
    Kind.ENDPOINT_SLICE: wire.EndpointSlice,
    Kind.NODE: wire.Node,
}
_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in _WIRE_TYPES.items()}
_KEY_DECODER = msgspec.json.Decoder(wire.KeyOnly)
_DECODING_FAILED = (msgspec.DecodeError, UnicodeError, RecursionError)  # the last: nested without end


def decode_json(kind: Kind, data: bytes | msgspec.Raw) -> DecodeResult:
    """Decode one object from JSON."""
    try:
        found = _DECODERS[kind].decode(data)
    except _DECODING_FAILED as error:
        try:
            key = _key(kind, _KEY_DECODER.decode(data))
        except _DECODING_FAILED:
            key = ObjectKey("", "")
        return _undecodable(kind, key, str(error))
    return from_wire(kind, found)


def decode_value(kind: Kind, value: object, *, with_defaults: bool = False) -> DecodeResult:
    """Decode one object from plain values, as a YAML parser makes them.

    Args:
        with_defaults: the object has not been through an API server: what one fills in is filled in (DEV-61).
    """
    try:
        found = msgspec.convert(value, _WIRE_TYPES[kind])
    except _DECODING_FAILED as error:
        try:
            key = _key(kind, msgspec.convert(value, wire.KeyOnly))
        except _DECODING_FAILED:
            key = ObjectKey("", "")
        return _undecodable(kind, key, str(error))
    return from_wire(kind, found, with_defaults=with_defaults)


def from_wire(kind: Kind, found: wire.WireObject, *, with_defaults: bool = False) -> DecodeResult:
    """Check a wire object and make the model's of it; `with_defaults` is as in `decode_value`."""
    key = ObjectKey("" if kind is Kind.NODE else found.metadata.namespace or "default", found.metadata.name)
    problems = Problems(kind, key)
    triggered_at = 0.0
    if with_defaults:
        fill_in(found, problems)
    made: KubernetesObject | None
    match found:
        case wire.Service():
            made = service_from_wire(found, key, problems)
        case wire.EndpointSlice():
            made = slice_from_wire(found, key, problems)
            triggered_at = trigger_time(found)
        case wire.Node():
            made = node_from_wire(found, problems)
    if made is not None:
        return Usable(made, problems.found(), triggered_at)
    if problems.found():
        return Unusable(kind, key, problems.found())
    return NotUsed(kind, key)


def _key(kind: Kind, found: wire.KeyOnly) -> ObjectKey:
    metadata = found.metadata or wire.KeyMetadata()
    return ObjectKey("" if kind is Kind.NODE else metadata.namespace or "default", metadata.name)


def _undecodable(kind: Kind, key: ObjectKey, error: str) -> Unusable:
    """Turn msgspec's words ("Expected `int`, got `str` - at `$.spec.ports[0].port`") into ours."""
    what, _, where = error.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    name = str(key) if key.name else "without a name"
    return Unusable(kind, key, (Problem(kind.value, name, field, f"{_sentence(what)}; the object is not used"),))


def _sentence(text: str) -> str:
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]
