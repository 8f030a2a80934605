"""Texts of addresses, networks, ports and durations as JSON Schema describes them.

The patterns use the syntax that Python, ECMAScript and Go (Helm) have in common, without look-ahead. They accept what
`config.forms` reads, but for rare spellings of embedded IPv4 addresses.
"""

from __future__ import annotations

from collections.abc import Mapping

Schema = Mapping[str, object]

_OCTET = "0*(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_GROUP = "[0-9A-Fa-f]{1,4}"
_IPV6 = "|".join(
    (
        f"({_GROUP}:){{7}}{_GROUP}",
        f"({_GROUP}:){{1,7}}:",
        *(f"({_GROUP}:){{1,{7 - after}}}(:{_GROUP}){{1,{after}}}" for after in range(1, 7)),
        f":((:{_GROUP}){{1,7}}|:)",
        rf"::ffff:{_IPV4}",
    )
)
_PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_CIDR4 = f"{_IPV4}/0*(3[0-2]|[12]?[0-9])"
_CIDR6 = f"({_IPV6})/0*(12[0-8]|1[01][0-9]|[1-9]?[0-9])"

ADDRESS = f"{_IPV4}|{_IPV6}"
"""An address of either family; put it in brackets before it becomes part of a pattern."""

_WITH_PORT = rf"({_IPV4}|\[({ADDRESS})\]):{_PORT}"
_FAMILIES: tuple[Schema, ...] = ({"pattern": f"^{_CIDR4}$"}, {"pattern": f"^{_CIDR6}$"})
_CIDR: Schema = {"type": "string", "anyOf": list(_FAMILIES)}

CIDR_LIST_SCHEMA: Schema = {"type": "array", "items": _CIDR}
CLUSTER_CIDR_SCHEMA: Schema = {
    "anyOf": [
        {"const": ""},
        {"type": "string", "pattern": f"^{_CIDR4}(,{_CIDR6})?$"},
        {"type": "string", "pattern": f"^{_CIDR6}(,{_CIDR4})?$"},
        {
            "type": "array",
            "items": _CIDR,
            "allOf": [{"contains": family, "minContains": 0, "maxContains": 1} for family in _FAMILIES],
        },
    ]
}
NODE_PORT_ADDRESSES_SCHEMA: Schema = {
    "anyOf": [
        {"type": "array", "items": {"const": "primary"}, "minItems": 1, "maxItems": 1},
        CIDR_LIST_SCHEMA,
    ]
}
SOCKET_ADDRESS_SCHEMA: Schema = {"type": "string", "pattern": f"^({ADDRESS}|{_WITH_PORT})?$"}
ADDRESS_WITH_PORT_SCHEMA: Schema = {
    "type": "string",
    "pattern": f"^{_WITH_PORT}$",
    "description": "such as 0.0.0.0:10256 or [::]:10256",
}
DURATION_SCHEMA: Schema = {
    "type": "string",
    "pattern": r"^\+?(0|([0-9]+(\.[0-9]+)?(h|ms|m|s|us|µs|ns))+)$",
    "description": "such as 1m30s or 0s",
}
