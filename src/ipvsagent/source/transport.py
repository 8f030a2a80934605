"""One HTTP request to the API server at a time, through the `kubernetes` package's configuration and connections.

The package finds the cluster (service account, kubeconfig), keeps tokens fresh, runs exec plugins and speaks TLS
and proxies. Its generated models are not used: answers are read as bytes. `kubernetes` costs 0.3 s and 20 MB to
import, so it is imported only when an API server is really used.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from ipvsagent.errors import SourceError
from ipvsagent.instrumentation.api_requests import NO_ANSWER, RequestCounts

JSON = "application/json"
CONNECT_TIMEOUT_SECONDS = 10.0
POST_TIMEOUT_SECONDS = 10.0


class Answer(Protocol):
    """An HTTP answer whose body is still to be read."""

    @property
    def status(self) -> int:
        """HTTP status code."""

    @property
    def retry_after_seconds(self) -> float | None:
        """The server's Retry-After in seconds, if it gave one."""

    def read(self) -> bytes:
        """The whole body.

        Raises:
            SourceError: the connection broke.
        """

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they come, without line ends; an unfinished last line comes, too.

        Raises:
            SourceError: the connection broke.
        """


class Transport(Protocol):
    """Sends requests."""

    def get(
        self, path: str, query: Mapping[str, str], *, read_timeout_seconds: float, accept: str = JSON
    ) -> AbstractContextManager[Answer]:
        """Send a request; the context gives the answer and ends the connection.

        Args:
            accept: media type to ask for.

        Raises:
            SourceError: no answer came.
        """

    def post(self, path: str, body: bytes) -> int:
        """Send JSON and return the status code; the answer's body is thrown away.

        Raises:
            SourceError: no answer came.
        """

    def renew(self) -> None:
        """Read the configuration again, after the server refused the credentials."""

    def close(self) -> None:
        """End all connections for good; pending reads fail, and so does every later request."""


class KubernetesTransport:
    """The transport of the `kubernetes` package.

    Args:
        kubeconfig: path; empty for the service account of the pod, else the default kubeconfig.
        server: URL that replaces the configuration's, as kube-proxy's ``--master``.

    Attributes:
        requests: how all of them went; for any thread.
    """

    def __init__(self, kubeconfig: str = "", server: str = "") -> None:
        self._kubeconfig = kubeconfig
        self._server = server
        self.requests = RequestCounts()
        self._client = self._connect()
        self._lock = threading.Lock()
        self._open: set[Any] = set()  # responses that are being read, guarded by the lock
        self._closed = False

    def get(
        self, path: str, query: Mapping[str, str], *, read_timeout_seconds: float, accept: str = JSON
    ) -> AbstractContextManager[Answer]:
        """As in `Transport`."""
        return self._request("GET", f"{path}?{urlencode(query)}", read_timeout_seconds, accept=accept)

    def post(self, path: str, body: bytes) -> int:
        """As in `Transport`."""
        with self._request("POST", path, POST_TIMEOUT_SECONDS, body) as answer:
            answer.read()
            return answer.status

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._client.configuration.host)

    def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send JSON; return the status code and the answer's body.

        Raises:
            SourceError: no answer came.
        """
        with self._request("POST", path, POST_TIMEOUT_SECONDS, body) as answer:
            return answer.status, answer.read()

    def renew(self) -> None:
        """As in `Transport`."""
        old, self._client = self._client, self._connect()
        old.rest_client.close()

    def close(self) -> None:
        """As in `Transport`."""
        with self._lock:
            self._closed = True
            for response in self._open:
                # Wakes the thread that reads it, which then closes it; one that was read to its end has let go already.
                with contextlib.suppress(RuntimeError, ValueError):
                    response.shutdown()
        self._client.rest_client.close()

    @contextmanager
    def _request(
        self, method: str, path: str, read_timeout_seconds: float, body: bytes | None = None, accept: str = JSON
    ) -> Iterator[Answer]:
        from urllib3.exceptions import HTTPError

        client = self._client
        began = time.monotonic()
        headers: dict[str, str] = {"Accept": accept, "User-Agent": client.user_agent}
        if body is not None:
            headers["Content-Type"] = JSON
        try:
            client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
            response = client.rest_client.pool_manager.request(
                method,
                f"{client.configuration.host}{path}",
                body=body,
                headers=headers,
                timeout=_timeout(read_timeout_seconds),
                preload_content=False,
                retries=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            self._note(client, method, NO_ANSWER, began)
            raise SourceError(f"API server {client.configuration.host}: {error}") from error
        self._note(client, method, str(response.status), began)
        try:
            with self._lock:
                if self._closed:
                    raise SourceError("the connection to the API server is closed")
                self._open.add(response)
            yield _HttpAnswer(response)
        finally:
            with self._lock:
                self._open.discard(response)
            response.close()

    def _note(self, client: Any, method: str, code: str, began: float) -> None:
        host = urlsplit(client.configuration.host).netloc.rpartition("@")[2]  # without a user's name
        self.requests.note(host, method, code, time.monotonic() - began)

    def _connect(self) -> Any:
        from kubernetes import client, config  # its loaders have no types

        configuration = client.Configuration()
        load_kubeconfig: Callable[..., None] = config.load_kube_config
        load_service_account: Callable[..., None] = config.load_incluster_config
        try:
            if self._kubeconfig:
                load_kubeconfig(self._kubeconfig, client_configuration=configuration)
            elif Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
                load_service_account(configuration)
            else:
                load_kubeconfig(client_configuration=configuration)
        except (config.ConfigException, OSError, ValueError) as error:
            raise SourceError(
                f"no access to an API server: {error}\nhint: give `--kubeconfig FILE`, or `--manifests DIR` without one"
            ) from error
        if self._server:
            configuration.host = self._server.rstrip("/")
        configuration.keep_alive = True  # a dead connection must not look like a quiet cluster
        return client.ApiClient(configuration)


class _HttpAnswer:
    def __init__(self, response: Any) -> None:
        self._response = response
        self.status = int(response.status)

    @property
    def retry_after_seconds(self) -> float | None:
        value = self._response.headers.get("Retry-After", "")
        return float(value) if value.isdigit() else None

    def read(self) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            return bytes(self._response.read(decode_content=True))
        except (HTTPError, OSError) as error:
            raise SourceError(f"the connection to the API server broke: {error}") from error

    def lines(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for chunk in self._chunks():
                *complete, rest = (rest + chunk).split(b"\n")
                yield from complete
        except (HTTPError, OSError) as error:
            raise SourceError(f"the connection to the API server broke: {error}") from error
        if rest:
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        """What arrives, when it arrives: a watch must not wait for a buffer to fill."""
        if self._response.chunked:
            yield from self._response.stream(None, decode_content=True)
            return
        while chunk := self._response.read1(1 << 16, decode_content=True):
            yield chunk


def _timeout(read_timeout_seconds: float) -> Any:
    from urllib3.util import Timeout

    return Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=read_timeout_seconds)
