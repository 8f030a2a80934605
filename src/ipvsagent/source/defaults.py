"""What an API server fills in, for objects that have not been through one: those from files (DEV-61).

The defaults of the fields that are read, after the API's own rules (`SetDefaults_Service`, `SetDefaults_EndpointPort`,
and what the storage of Services derives from cluster IPs). Defaults that hold for objects of the API as well, such as
those of policies and conditions, are filled in where the field is decoded. A number or an address that an API server
would choose cannot be filled in; it is reported.
"""

from __future__ import annotations

from ipvsagent.model.address import Address
from ipvsagent.source import wire
from ipvsagent.source.problems import Problems

_CHOSEN_BY_SERVER = "is not given, and no API server has chosen one"


def fill_in(found: wire.WireObject, problems: Problems) -> None:
    """Fill in the defaults; a problem is added for each field that only an API server can choose."""
    match found:
        case wire.Service():
            if found.spec is not None:
                _fill_in_service(found.spec, problems)
        case wire.EndpointSlice():
            for port in found.ports or ():
                port.name = port.name or ""
        case wire.Node():
            pass


def _fill_in_service(spec: wire.ServiceSpec, problems: Problems) -> None:
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
    """The family of an address; text that is no address is reported where it is decoded."""
    try:
        return Address.parse(text).family.label
    except ValueError:
        return "IPv6" if ":" in text else "IPv4"


def _report_missing_ports(spec: wire.ServiceSpec, problems: Problems) -> None:
    if spec.type == "NodePort":
        for index, port in enumerate(spec.ports or ()):
            if not port.node_port:
                problems.add(f"spec.ports[{index}].nodePort", f"{_CHOSEN_BY_SERVER}; no node port is served")
    if spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local" and not spec.health_check_node_port:
        problems.add("spec.healthCheckNodePort", f"{_CHOSEN_BY_SERVER}; no health check is served")
