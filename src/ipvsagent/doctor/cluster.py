"""Requests to the API server: its latency, permissions, and the addresses of nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from ipvsagent.doctor.checks.cluster import PERMISSIONS
from ipvsagent.doctor.snapshot import Permission
from ipvsagent.errors import SourceError
from ipvsagent.model.address import Address
from ipvsagent.model.objects import Kind, ObjectKey
from ipvsagent.source import api_types
from ipvsagent.source.annotations import wishes_of
from ipvsagent.source.problems import Problems
from ipvsagent.source.transport import KubernetesTransport

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_TIMEOUT_SECONDS = 10.0
_PAGE = 500

T = TypeVar("T")


class _ListMetadata(Struct, frozen=True):
    continue_: str = msgspec.field(name="continue", default="")


class _Page(Struct, Generic[T]):
    items: list[T]
    metadata: _ListMetadata = _ListMetadata()


class _ServiceMetadata(Struct):
    name: str = ""
    namespace: str = ""
    annotations: api_types.ServiceAnnotations | None = None


class _Service(Struct):
    metadata: _ServiceMetadata


class _ReviewStatus(Struct):
    allowed: bool = False


class _Review(Struct):
    status: _ReviewStatus


def has_access(kubeconfig: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether access to an API server is configured, without importing the client."""
    default = Path(environment.get("HOME", "/")) / ".kube/config"
    return bool(kubeconfig or environment.get("KUBECONFIG")) or _SERVICE_ACCOUNT_TOKEN.exists() or default.exists()


def measure(transport: KubernetesTransport) -> float:
    """Return how many seconds a small request takes, including the connection.

    Raises:
        SourceError: the API server does not answer, rejects this client, or reports an internal error.
    """
    before = time.monotonic()
    with transport.get("/version", {}, read_timeout_seconds=_TIMEOUT_SECONDS) as answer:
        answer.read()
        status = answer.status
    if status == 401 or status >= 500:
        reason = "it does not accept the credentials" if status == 401 else "it is not healthy"
        raise SourceError(f"API server {transport.server} answers {status}: {reason}")
    return time.monotonic() - before


def ask_permissions(transport: KubernetesTransport) -> tuple[Permission, ...]:
    """Return the permissions that this client does not have.

    Raises:
        SourceError: the request failed.
    """
    return tuple(p for p in PERMISSIONS if not _is_allowed(transport, p))


def list_node_addresses(transport: KubernetesTransport) -> dict[str, tuple[Address, ...]]:
    """Return the addresses of all nodes by name.

    Raises:
        SourceError: the request failed.
    """
    return {node.metadata.name: _addresses(node) for node in _list(transport, "nodes", api_types.Node)}


def list_service_schedulers(transport: KubernetesTransport) -> dict[str, tuple[str, ...]]:
    """Return the Services that request a scheduler, by scheduler (DEV-15); leave out unknown schedulers.

    Raises:
        SourceError: the request failed.
    """
    found: dict[str, list[str]] = {}
    for service in _list(transport, "services", _Service):
        if service.metadata.annotations is None:
            continue
        key = ObjectKey(service.metadata.namespace, service.metadata.name)
        scheduling = wishes_of(service.metadata.annotations, Problems(Kind.SERVICE, key)).scheduling
        if scheduling is not None and scheduling.scheduler:
            found.setdefault(scheduling.scheduler, []).append(str(key))
    return {scheduler: tuple(sorted(keys)) for scheduler, keys in found.items()}


def _list(transport: KubernetesTransport, resource: str, kind: type[T]) -> Iterator[T]:
    """Yield all objects of a resource of the core group, page by page."""
    query = {"limit": str(_PAGE)}
    while True:
        with transport.get(f"/api/v1/{resource}", query, read_timeout_seconds=_TIMEOUT_SECONDS) as answer:
            body = answer.read()
            if answer.status != 200:
                raise SourceError(f"listing {resource} failed with status {answer.status}")
        page = _decode(body, _Page[kind])  # type: ignore[valid-type]  # a generic of a value
        yield from page.items
        if not page.metadata.continue_:
            return
        query["continue"] = page.metadata.continue_


def _is_allowed(transport: KubernetesTransport, permission: Permission) -> bool:
    attributes = {"group": permission.group, "resource": permission.resource, "verb": permission.verb}
    request = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    status, body = transport.ask(_REVIEWS, msgspec.json.encode(request))
    if status not in (200, 201):
        raise SourceError(f"checking permissions failed with status {status}")
    return _decode(body, _Review).status.allowed


def _addresses(node: api_types.Node) -> tuple[Address, ...]:
    found = []
    for item in (node.status.addresses if node.status else None) or ():
        try:
            found.append(Address.parse(item.address))
        except ValueError:
            continue  # it may be a host name
    return tuple(found)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise SourceError(f"the API server's answer cannot be decoded: {error}") from error
