"""Decode bytes or parsed YAML into checked model objects; no input raises an exception.

There are three outcomes: a usable object, perhaps with problems whose fields are ignored; an object that is not for
this proxy (the same as a deletion); an object that exists but is not usable: its last usable version stays in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem
from ipvsagent.source import api_types
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
    """An object that is not for this proxy: headless, for another proxy, or without a Service."""

    kind: Kind
    key: ObjectKey


class Unusable(msgspec.Struct, frozen=True, gc=False):
    """An object that exists but cannot be used."""

    kind: Kind
    key: ObjectKey
    problems: tuple[Problem, ...]


DecodeResult = Usable | NotUsed | Unusable

_WIRE_TYPES: Mapping[Kind, type[api_types.ApiObject]] = {
    Kind.SERVICE: api_types.Service,
    Kind.ENDPOINT_SLICE: api_types.EndpointSlice,
    Kind.NODE: api_types.Node,
}
_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in _WIRE_TYPES.items()}
_KEY_DECODER = msgspec.json.Decoder(api_types.KeyOnly)
_DECODING_FAILED = (msgspec.DecodeError, UnicodeError, RecursionError)  # the last: nested too deeply


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
        with_defaults: set the API server's defaults, because the object does not come from one (DEV-61).
    """
    try:
        found = msgspec.convert(value, _WIRE_TYPES[kind])
    except _DECODING_FAILED as error:
        try:
            key = _key(kind, msgspec.convert(value, api_types.KeyOnly))
        except _DECODING_FAILED:
            key = ObjectKey("", "")
        return _undecodable(kind, key, str(error))
    return from_wire(kind, found, with_defaults=with_defaults)


def from_wire(kind: Kind, found: api_types.ApiObject, *, with_defaults: bool = False) -> DecodeResult:
    """Check a wire object and convert it to a model object; `with_defaults` as in `decode_value`."""
    key = ObjectKey("" if kind is Kind.NODE else found.metadata.namespace or "default", found.metadata.name)
    problems = Problems(kind, key)
    triggered_at = 0.0
    if with_defaults:
        fill_in(found, problems)
    made: KubernetesObject | None
    match found:
        case api_types.Service():
            made = service_from_wire(found, key, problems)
        case api_types.EndpointSlice():
            made = slice_from_wire(found, key, problems)
            triggered_at = trigger_time(found)
        case api_types.Node():
            made = node_from_wire(found, problems)
    if made is not None:
        return Usable(made, problems.found(), triggered_at)
    if problems.found():
        return Unusable(kind, key, problems.found())
    return NotUsed(kind, key)


def _key(kind: Kind, found: api_types.KeyOnly) -> ObjectKey:
    metadata = found.metadata or api_types.KeyMetadata()
    return ObjectKey("" if kind is Kind.NODE else metadata.namespace or "default", metadata.name)


def _undecodable(kind: Kind, key: ObjectKey, error: str) -> Unusable:
    """Rewrite msgspec's message ("Expected `int`, got `str` - at `$.spec.ports[0].port`") in our form."""
    what, _, where = error.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    name = str(key) if key.name else "without a name"
    return Unusable(kind, key, (Problem(kind.value, name, field, f"{_sentence(what)}; the object is not used"),))


def _sentence(text: str) -> str:
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]
