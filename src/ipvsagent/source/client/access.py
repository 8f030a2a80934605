"""The current access to the API server: address, authorities, client certificate, headers, expiry.

The transport calls `ApiAccess.current` before each request. It uses the kubeconfig or the pod's service account, files
that rotate, and exec plugins.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import msgspec
from msgspec import Struct

from ipvsagent.errors import SourceError
from ipvsagent.source.client.exec_plugin import ExecPlugin
from ipvsagent.source.client.kubeconfig import ClientConfig, Impersonation, load_kubeconfig, read_file
from ipvsagent.source.client.proxies import environment_proxy
from ipvsagent.source.client.secret import NO_SECRET, Secret

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HINT = "\nhint: pass `--kubeconfig FILE`, or `--manifests DIR` without an API server"
_TOKEN_CHARACTERS = frozenset(map(chr, range(0x20, 0x7F)))


class Connection(Struct, frozen=True):
    """The parameters of a connection; equal values share connections.

    Args:
        url: without user and without a slash at its end.
        authorities: PEM; empty for those of the system.
        server_name: name in the server's certificate; empty for the host of the URL.
        proxy: URL of a proxy.
        certificate: PEM of the client certificate and its issuers; empty without one.
        key: PEM of its private key.
    """

    url: str
    verify: bool = True
    authorities: bytes = b""
    server_name: str = ""
    proxy: Secret | None = None
    certificate: Secret = NO_SECRET  # its file often holds the key, too
    key: Secret = NO_SECRET


class Access(Struct, frozen=True):
    """The access for one request.

    Args:
        headers: of authentication and impersonation.
        expires_at: Unix time after which it must not be used; None if unknown.
        secrets: everything that must not be printed.
    """

    connection: Connection
    headers: tuple[tuple[str, Secret], ...] = ()
    expires_at: float | None = None
    secrets: tuple[Secret, ...] = ()


class ApiAccess:
    """Determines how to reach the API server, and keeps this up to date; for any thread.

    Args:
        kubeconfig: path; empty for the pod's service account, else `$KUBECONFIG` or `~/.kube/config`.
        server: URL, host or host:port that replaces the configured one.
        now: Unix time.
        service_account: folder with `token` and `ca.crt`.
        warn: called with a sentence if something cannot be renewed and its last good version stays in use.

    Raises:
        SourceError: there is no configuration, or it is not valid.
    """

    def __init__(
        self,
        kubeconfig: str = "",
        server: str = "",
        *,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
        service_account: Path = SERVICE_ACCOUNT,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._server = Secret(server)
        self._variable: Callable[[str], str] = lambda name: environment.get(name, "")  # may hold a proxy's password
        self._now = now
        self._service_account = service_account
        self.warn = warn
        self._lock = threading.Lock()
        self._files: dict[str, Secret] = {}  # last good content by path
        self._given: Access | None = None  # the last answer
        try:
            self._config = self._load()
            self._plugin = ExecPlugin(self._config.plugin, now) if self._config.plugin else None
            self._connection(need_files=True)
            self._token(need_file=True)
        except SourceError as error:
            raise SourceError(f"no access to an API server: {error}{_HINT}") from None

    @property
    def url(self) -> str:
        """URL of the API server."""
        return server_url(self._config)[0]

    def current(self) -> Access:
        """Return the access for a request now; may run an exec plugin and wait for it.

        Raises:
            SourceError: the credentials are unavailable.
        """
        with self._lock:
            connection = self._connection()
            if connection.url.startswith("http://"):  # never send credentials without TLS
                self._given = Access(connection, secrets=_secrets(connection))
            else:
                self._given = self._authenticated(connection)
            return self._given

    def refused(self, access: Access) -> None:
        """Renew the credentials after the server answered 401: run the plugin, read the configuration again.

        Args:
            access: the refused access; nothing happens if it has already been renewed.
        """
        with self._lock:
            if access != self._given:
                return
            if self._plugin is not None:
                self._plugin.forget()
            try:
                config = self._load()
            except SourceError as error:
                self.warn(f"the configuration cannot be read again; the previous one stays in use: {error}")
                return
            if config != self._config:
                self._config = config
                self._plugin = ExecPlugin(config.plugin, self._now) if config.plugin else None

    # -- configuration -----------------------------------------------------------------------------------------

    def _load(self) -> ClientConfig:
        if self._kubeconfig:
            return load_kubeconfig([Path(self._kubeconfig)], server=self._server)
        if (self._service_account / "token").exists():
            return self._in_cluster()
        named = self._variable("KUBECONFIG")
        paths = [Path(p) for p in dict.fromkeys(named.split(os.pathsep)) if p]
        if not paths:
            paths = [Path(self._variable("HOME") or "/") / ".kube/config"]
        if not any(p.exists() for p in paths) and not self._server:
            raise SourceError(f"{', '.join(map(str, paths))} does not exist, and there is no service account")
        return load_kubeconfig(paths, server=self._server, must_exist=False)

    def _in_cluster(self) -> ClientConfig:
        host = self._variable("KUBERNETES_SERVICE_HOST")
        port = self._variable("KUBERNETES_SERVICE_PORT")
        if not self._server and not (host and port):
            missing = "KUBERNETES_SERVICE_HOST" if not host else "KUBERNETES_SERVICE_PORT"
            raise SourceError(f"there is a service account, but ${missing} is not set")
        address = f"[{host}]" if ":" in host else host
        authority = self._service_account / "ca.crt"
        if not authority.exists():
            self.warn(f"{authority} does not exist; the authorities of the system are used")
        return ClientConfig(
            server=self._server or Secret(f"https://{address}:{port}"),
            authority_file=str(authority) if authority.exists() else "",
            token_file=str(self._service_account / "token"),
        )

    # -- connection --------------------------------------------------------------------------------------------

    def _connection(self, *, need_files: bool = False) -> Connection:
        config = self._config
        url = server_url(config)[0]
        tls = url.startswith("https://")
        return Connection(
            url,
            verify=not config.insecure,
            authorities=config.authorities or self._authorities(need_files),
            server_name=config.server_name,
            proxy=config.proxy or environment_proxy(url, self._variable),
            certificate=self._certificate(need_files) if tls else NO_SECRET,
            key=self._key(need_files) if tls else NO_SECRET,
        )

    def _authorities(self, need_file: bool) -> bytes:
        return self._read("certificate-authority", self._config.authority_file, need_file).reveal().encode("latin-1")

    def _certificate(self, need_file: bool) -> Secret:
        return self._config.certificate or self._read("client-certificate", self._config.certificate_file, need_file)

    def _key(self, need_file: bool) -> Secret:
        if not (self._config.certificate or self._config.certificate_file):
            return NO_SECRET
        return self._config.key or self._read("client-key", self._config.key_file, need_file)

    # -- credentials -------------------------------------------------------------------------------------------

    def _authenticated(self, connection: Connection) -> Access:
        authorization, expires_at = self._fixed_authorization(), None
        if self._plugin is not None and not authorization and not connection.certificate:
            answer = self._plugin.credentials()
            expires_at = answer.expires_at
            if answer.token:
                authorization = _bearer(answer.token)
            if answer.certificate:
                connection = msgspec.structs.replace(connection, certificate=answer.certificate, key=answer.key)
        headers: tuple[tuple[str, Secret], ...] = (("Authorization", authorization),) if authorization else ()
        headers += _impersonation(self._config.impersonation)
        given = self._config.token, self._config.password, *(self._config.plugin.args if self._config.plugin else ())
        secrets = (*_secrets(connection), *given, authorization, Secret(authorization.reveal().partition(" ")[2]))
        return Access(connection, headers, expires_at, tuple(s for s in secrets if s))

    def _fixed_authorization(self) -> Secret:
        """Return `Authorization` from a token, a token file, or user and password; empty without them."""
        token = self._token()
        if token:
            return _bearer(token)
        user, password = self._config.username, self._config.password
        if not user and not password:
            user, password = server_url(self._config)[1]
        if not user and not password:
            return NO_SECRET
        return Secret(f"Basic {base64.b64encode(f'{user}:{password.reveal()}'.encode()).decode()}")

    def _token(self, *, need_file: bool = False) -> Secret:
        """Return the token; the last good content of a token file precedes a token in the configuration."""
        path = self._config.token_file
        if not path:
            return self._config.token
        need_file = need_file and not self._config.token
        text = self._read("token file", path, need_file).reveal().strip()
        if not text and not self._config.token:
            raise SourceError(f"token file {path} is empty")
        return Secret(text) if text else self._config.token

    def _read(self, field: str, path: str, need_file: bool) -> Secret:
        """Return the content of a file as Latin-1; its last good content if it is empty or cannot be read now."""
        if not path:
            return NO_SECRET
        try:
            content = Secret(read_file(field, path).decode("latin-1"))
        except SourceError as error:
            if need_file:
                raise
            self.warn(f"{error}; its last content stays in use")
            content = NO_SECRET
        if content.reveal().strip():
            self._files[path] = content
        return self._files.get(path, content)


def server_url(config: ClientConfig) -> tuple[str, tuple[str, Secret]]:
    """Return a server's URL without user, and separately the user with the password, as client-go does.

    Without a scheme it is https if there is an authority, a client certificate or `insecure-skip-tls-verify`.

    Raises:
        SourceError: it is not the URL of a server.
    """
    text = config.server.reveal()
    wrong = SourceError("the server is not a URL with http or https, a host or host:port")
    try:
        parts = urlsplit(text)
        if not parts.scheme or not parts.netloc:
            tls = config.authority_file or config.authorities or config.certificate_file or config.certificate
            parts = urlsplit(f"{'https' if tls or config.insecure else 'http'}://{text}")
            if parts.path not in ("", "/"):
                raise wrong
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or any(c <= " " for c in text):
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    return url, (unquote(parts.username or ""), Secret(unquote(parts.password or "")))


def _bearer(token: Secret) -> Secret:
    if not _TOKEN_CHARACTERS.issuperset(token.reveal()):
        raise SourceError("the token contains characters that are not allowed in a header")
    return Secret(f"Bearer {token.reveal()}")


def _impersonation(wanted: Impersonation) -> tuple[tuple[str, Secret], ...]:
    headers = [("Impersonate-User", wanted.user), ("Impersonate-Uid", wanted.uid)]
    headers += [("Impersonate-Group", group) for group in wanted.groups]
    headers += [(f"Impersonate-Extra-{quote(key, safe='')}", value) for key, values in wanted.extra for value in values]
    return tuple((name, Secret(value)) for name, value in headers if value)


def _secrets(connection: Connection) -> tuple[Secret, ...]:
    if connection.proxy is None:
        return ()
    parts = urlsplit(connection.proxy.reveal())
    return connection.proxy, Secret(parts.password or ""), Secret(unquote(parts.password or ""))
