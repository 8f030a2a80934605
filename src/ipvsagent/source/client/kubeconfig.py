"""Read kubeconfig files: parse, merge, choose the context, check what it refers to.

The rules are client-go's (docs/reference/api-access.md). This module does not connect, and opens only the files that
the chosen context refers to. Error messages contain the field, but never its value.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from ipvsagent.errors import SourceError
from ipvsagent.source.client.exec_plugin import API_VERSIONS, ExecConfig
from ipvsagent.source.client.proxies import configured_proxy
from ipvsagent.source.client.secret import NO_SECRET, Secret
from ipvsagent.yaml_text import YamlError, parse_yaml

_EXEC_EXTENSION = "client.authentication.k8s.io/exec"
_INTERACTIVE_MODES = ("Never", "IfAvailable", "Always")

T = TypeVar("T")


class _Extension(Struct):
    name: str = ""
    extension: Any = None


class _Cluster(Struct, rename="kebab"):
    server: Secret = NO_SECRET  # a URL may hold a password
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    certificate_authority_data: Secret = NO_SECRET
    proxy_url: Secret = NO_SECRET
    disable_compression: bool = False
    extensions: list[_Extension] = []


class _Variable(Struct):
    name: str = ""
    value: Secret = NO_SECRET


class _Exec(Struct, rename="camel"):
    command: str = ""
    args: list[Secret] = []
    env: list[_Variable] = []
    api_version: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class _AuthProvider(Struct):
    name: str = ""


class _User(Struct, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: Secret = NO_SECRET
    client_key: str = ""
    client_key_data: Secret = NO_SECRET
    token: Secret = NO_SECRET
    token_file: str = msgspec.field(name="tokenFile", default="")
    as_user: str = msgspec.field(name="as", default="")
    as_uid: str = ""
    as_groups: list[str] = []
    as_user_extra: dict[str, list[str]] = {}
    username: str = ""
    password: Secret = NO_SECRET
    auth_provider: _AuthProvider | None = None
    exec: _Exec | None = None


class _Context(Struct):
    cluster: str = ""
    user: str = ""


class _NamedCluster(Struct):
    name: str = ""
    cluster: _Cluster = msgspec.field(default_factory=_Cluster)


class _NamedUser(Struct):
    name: str = ""
    user: _User = msgspec.field(default_factory=_User)


class _NamedContext(Struct):
    name: str = ""
    context: _Context = msgspec.field(default_factory=_Context)


class _File(Struct, rename="kebab"):
    kind: str = ""
    api_version: str = msgspec.field(name="apiVersion", default="")
    clusters: list[_NamedCluster] = []
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []
    current_context: str = ""


class Impersonation(Struct, frozen=True):
    """The user to impersonate: `as`, `as-uid`, `as-groups`, `as-user-extra`."""

    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ClientConfig(Struct, frozen=True, kw_only=True):
    """How to reach an API server and how to authenticate, as configured. Files are named, not read.

    Args:
        server: URL, host or host:port.
        authorities: PEM; takes precedence over the file.
    """

    server: Secret = NO_SECRET
    server_name: str = ""
    insecure: bool = False
    authority_file: str = ""
    authorities: bytes = b""
    proxy: Secret | None = None
    certificate_file: str = ""
    certificate: Secret = NO_SECRET
    key_file: str = ""
    key: Secret = NO_SECRET
    token: Secret = NO_SECRET
    token_file: str = ""
    username: str = ""
    password: Secret = NO_SECRET
    impersonation: Impersonation = Impersonation()
    plugin: ExecConfig | None = None


def load_kubeconfig(paths: Iterable[Path], *, server: Secret = NO_SECRET, must_exist: bool = True) -> ClientConfig:
    """Read and merge kubeconfig files; of two entries with the same name the first counts.

    Args:
        server: replaces the server of the context's cluster; its `tls-server-name` goes with it.
        must_exist: whether a missing file is an error; otherwise it is skipped.

    Raises:
        SourceError: a file cannot be read, or the context is not valid.
    """
    clusters: dict[str, _Cluster] = {}
    users: dict[str, _User] = {}
    contexts: dict[str, _Context] = {}
    current = ""
    for path in paths:
        file = _read(path, must_exist=must_exist)
        clusters = {c.name: c.cluster for c in file.clusters} | clusters
        users = {u.name: u.user for u in file.users} | users
        contexts = {c.name: c.context for c in file.contexts} | contexts
        current = current or file.current_context
    if current and current not in contexts:
        raise SourceError(f"kubeconfig: current-context `{current}` is not one of its contexts")
    context = contexts.get(current, _Context())
    if context.cluster and context.cluster not in clusters:
        raise SourceError(f"kubeconfig: context `{current}` names the cluster `{context.cluster}`, which is missing")
    cluster = clusters.get(context.cluster, _Cluster())
    if server:
        cluster = msgspec.structs.replace(cluster, server=server, tls_server_name="")
    if not cluster.server:
        where = f"cluster `{context.cluster}` has no `server`" if current else "there is no current-context"
        raise SourceError(f"kubeconfig: {where}")
    if context.user and context.user not in users:
        raise SourceError(f"kubeconfig: context `{current}` names the user `{context.user}`, which is missing")
    return _client_config(context.cluster, cluster, context.user, users.get(context.user, _User()))


def _read(path: Path, *, must_exist: bool) -> _File:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if must_exist:
            raise SourceError(f"kubeconfig {path} does not exist") from None
        return _File()
    except OSError as error:
        raise SourceError(f"kubeconfig {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"kubeconfig {path} is not UTF-8 text") from None
    try:
        documents = parse_yaml(text)
    except YamlError as error:  # its reason may quote the file
        where = f"line {error.line} is" if error.line else "it is"
        raise SourceError(f"kubeconfig {path} does not parse: {where} not valid YAML") from None
    value = _without_nulls(documents[0][1]) if documents else None
    try:
        file = msgspec.convert(value if value is not None else {}, type=_File, dec_hook=_decode_secret)
    except msgspec.ValidationError as error:  # names types and the field, never the value
        raise SourceError(f"kubeconfig {path}: {_field(str(error))}") from None
    if file.kind not in ("", "Config") or file.api_version not in ("", "v1"):
        raise SourceError(f"{path} is not a kubeconfig (apiVersion v1, kind Config)")
    for what, names in (
        ("clusters", [c.name for c in file.clusters]),
        ("users", [u.name for u in file.users]),
        ("contexts", [c.name for c in file.contexts]),
    ):
        if len(set(names)) < len(names):
            raise SourceError(f"kubeconfig {path}: two of `{what}` have the same name")
    _resolve_paths(file, path.absolute().parent)
    return file


def _resolve_paths(file: _File, folder: Path) -> None:
    """Make relative paths absolute: they are relative to the file that names them."""

    def resolve(text: str) -> str:
        return str(folder / text) if text else ""

    for cluster in file.clusters:
        cluster.cluster.certificate_authority = resolve(cluster.cluster.certificate_authority)
    for user in file.users:
        user.user.client_certificate = resolve(user.user.client_certificate)
        user.user.client_key = resolve(user.user.client_key)
        user.user.token_file = resolve(user.user.token_file)
        if user.user.exec is not None and "/" in user.user.exec.command:  # otherwise it is searched in $PATH
            user.user.exec.command = resolve(user.user.exec.command)


def _client_config(cluster_name: str, cluster: _Cluster, user_name: str, user: _User) -> ClientConfig:
    with _inside(f"cluster `{cluster_name}`"):
        authorities = _check_cluster(cluster)
        proxy = configured_proxy(cluster.proxy_url) if cluster.proxy_url else None
    with _inside(f"user `{user_name}`"):
        _check_user(user)
        return ClientConfig(
            server=cluster.server,
            server_name=cluster.tls_server_name,
            insecure=cluster.insecure_skip_tls_verify,
            authority_file=cluster.certificate_authority,
            authorities=authorities,
            proxy=proxy,
            certificate_file=user.client_certificate,
            certificate=Secret(_bytes("client-certificate-data", user.client_certificate_data).decode("latin-1")),
            key_file=user.client_key,
            key=Secret(_bytes("client-key-data", user.client_key_data).decode("latin-1")),
            token=user.token,
            token_file=user.token_file,
            username=user.username,
            password=user.password,
            impersonation=Impersonation(
                user.as_user,
                user.as_uid,
                tuple(user.as_groups),
                tuple((k, tuple(v)) for k, v in user.as_user_extra.items()),
            ),
            plugin=_check_plugin(user.exec, cluster, authorities) if user.exec is not None else None,
        )


def _check_cluster(cluster: _Cluster) -> bytes:
    """Return the certificate authorities in the kubeconfig itself."""
    if cluster.certificate_authority and cluster.certificate_authority_data:
        raise SourceError("`certificate-authority` and `certificate-authority-data` are both set")
    if cluster.insecure_skip_tls_verify and (cluster.certificate_authority or cluster.certificate_authority_data):
        raise SourceError("`insecure-skip-tls-verify` and a certificate authority are both set")
    return _bytes("certificate-authority-data", cluster.certificate_authority_data)


def _check_user(user: _User) -> None:
    if user.auth_provider is not None:
        raise SourceError(f"`auth-provider` (`{user.auth_provider.name}`) is not supported; use an exec plugin")
    for kind in ("certificate", "key"):
        if getattr(user, f"client_{kind}") and getattr(user, f"client_{kind}_data"):
            raise SourceError(f"`client-{kind}` and `client-{kind}-data` are both set")
    if (user.client_certificate or user.client_certificate_data) and not (user.client_key or user.client_key_data):
        raise SourceError("a client certificate is set without `client-key` or `client-key-data`")
    if (user.token or user.token_file) and (user.username or user.password):
        raise SourceError("a token and `username` or `password` are both set; one way to authenticate is allowed")
    if (user.as_uid or user.as_groups or user.as_user_extra) and not user.as_user:
        raise SourceError("`as-uid`, `as-groups` or `as-user-extra` is set without `as`")


def _check_plugin(plugin: _Exec, cluster: _Cluster, authorities: bytes) -> ExecConfig:
    if not plugin.command:
        raise SourceError("`exec.command` is missing")
    if plugin.api_version not in API_VERSIONS:
        raise SourceError(f"`exec.apiVersion` is none of {', '.join(API_VERSIONS)}")
    if any(not v.name for v in plugin.env):
        raise SourceError("a variable of `exec.env` has no name")
    default = "IfAvailable" if plugin.api_version.endswith("beta1") else ""
    mode = plugin.interactive_mode or default
    if mode not in _INTERACTIVE_MODES:
        raise SourceError(f"`exec.interactiveMode` is none of {', '.join(_INTERACTIVE_MODES)}")
    if mode == "Always":
        raise SourceError("`exec.interactiveMode` is Always, but this program has no terminal")
    return ExecConfig(
        command=plugin.command,
        api_version=plugin.api_version,
        args=tuple(plugin.args),
        env=tuple((v.name, v.value) for v in plugin.env),
        install_hint=plugin.install_hint,
        cluster=_cluster_info(cluster, authorities) if plugin.provide_cluster_info else None,
    )


def _cluster_info(cluster: _Cluster, authorities: bytes) -> Mapping[str, object]:
    """Return `spec.cluster` of the plugin's input."""
    if not authorities and cluster.certificate_authority:
        authorities = read_file("certificate-authority", cluster.certificate_authority)
    info = {
        "server": cluster.server.reveal(),
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": base64.b64encode(authorities).decode(),
        "proxy-url": cluster.proxy_url.reveal(),
        "disable-compression": cluster.disable_compression,
        "config": next((e.extension for e in cluster.extensions if e.name == _EXEC_EXTENSION), None),
    }
    return {name: value for name, value in info.items() if value}


def read_file(field: str, path: str) -> bytes:
    """Read a file that a field names.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{field} {path} cannot be read: {error.strerror}") from None


def _bytes(field: str, data: Secret) -> bytes:
    try:
        return base64.b64decode("".join(data.reveal().split()), validate=True)
    except (binascii.Error, ValueError):
        raise SourceError(f"`{field}` is not base64") from None


def _decode_secret(kind: type[T], value: object) -> T:
    if kind is Secret and isinstance(value, str):
        return kind(value)  # type: ignore[call-arg]  # it is Secret, which takes a text
    raise ValueError("Expected `str`")


def _field(text: str) -> str:
    """Name the field as an operator writes it: `users[0].user.token: Expected …`."""
    what, _, where = text.partition(" - at `$.")
    return f"{where.rstrip('`')}: {what}" if where else what


def _without_nulls(value: object) -> object:
    """Drop fields whose value is null, which Go takes as not set."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


@contextmanager
def _inside(part: str) -> Iterator[None]:
    """Add the part of the kubeconfig to errors that are raised inside the block."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"kubeconfig: {part}: {error}") from None
