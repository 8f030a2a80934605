"""The defaults that an API server sets, for objects that do not come from one: those in files (DEV-61).

The defaults follow the API's own rules (`SetDefaults_Service`, `SetDefaults_EndpointPort`, and what the storage of
Services derives from cluster IPs), for the fields that are read. Defaults that also apply to objects of an API server,
such as those of policies and conditions, are set by the decoder of the field. A number or an address that an API
server would choose has no default; it is reported.
"""

from __future__ import annotations

from ipvsagent.model.address import Address
from ipvsagent.source import api_types
from ipvsagent.source.problems import Problems

_CHOSEN_BY_SERVER = "is not set, and no API server has chosen one"


def fill_in(found: api_types.ApiObject, problems: Problems) -> None:
    """Set the defaults; add a problem for each field that only an API server can choose."""
    match found:
        case api_types.Service():
            if found.spec is not None:
                _fill_in_service(found.spec, problems)
        case api_types.EndpointSlice():
            for port in found.ports or ():
                port.name = port.name or ""
        case api_types.Node():
            pass


def _fill_in_service(spec: api_types.ServiceSpec, problems: Problems) -> None:
    if spec.type == "ExternalName":
        return
    if not spec.clusterIP and spec.clusterIPs:
        spec.clusterIP = spec.clusterIPs[0]
    if not spec.clusterIP:
        problems.add("spec.clusterIP", f"{_CHOSEN_BY_SERVER}; the Service is not used")
        return
    if spec.clusterIP == "None":
        return
    if spec.clusterIPs:
        families = spec.ip_families or []
        spec.ip_families = families + [_family(text) for text in spec.clusterIPs[len(families) :]]
    _report_missing_ports(spec, problems)


def _family(text: str) -> str:
    """Return the family of an address; text that is not an address is reported when it is decoded."""
    try:
        return Address.parse(text).family.label
    except ValueError:
        return "IPv6" if ":" in text else "IPv4"


def _report_missing_ports(spec: api_types.ServiceSpec, problems: Problems) -> None:
    if spec.type == "NodePort":
        for index, port in enumerate(spec.ports or ()):
            if not port.node_port:
                problems.add(f"spec.ports[{index}].nodePort", f"{_CHOSEN_BY_SERVER}; no node port is served")
    if spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local" and not spec.health_check_node_port:
        problems.add("spec.healthCheckNodePort", f"{_CHOSEN_BY_SERVER}; no health check is served")
