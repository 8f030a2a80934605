"""A client of the API server that shows what the server saw of it, and kubeconfigs for it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from apiserver.certificates import Authority
from apiserver.server import ApiServer
from ipvsagent.errors import SourceError
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.transport import KubernetesTransport

NO_SERVICE_ACCOUNT = Path("/nonexistent")
Json = dict[str, Any]


def write(path: Path, cluster: Json, user: Json | None = None) -> Path:
    """Write a kubeconfig with one context."""
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    clusters, users = [{"name": "c", "cluster": cluster}], [{"name": "u", "user": user or {}}]
    path.write_text(json.dumps({"clusters": clusters, "users": users, "contexts": [context], "current-context": "x"}))
    return path


def data(content: bytes) -> str:
    """As the fields whose names end in `-data` want it."""
    return base64.b64encode(content).decode()


def read(path: Path) -> str:
    """A file's content, as a field `-data`."""
    return data(path.read_bytes())


class Client:
    """A transport, and what the server saw of its last request."""

    def __init__(self, server: ApiServer, kubeconfig: Path | str = "", master: str = "", **options: Any) -> None:
        self.warnings: list[str] = []
        self._server = server
        given: dict[str, Any] = {"environment": {}, "service_account": NO_SERVICE_ACCOUNT, **options}
        self.access = ApiAccess(str(kubeconfig), master, warn=self.warnings.append, **given)
        self._transport = KubernetesTransport(self.access)

    def ask(self) -> int:
        """Make a request; answer its status."""
        with self._transport.get("/version", {}, read_timeout_seconds=10.0) as answer:
            answer.read()
            return answer.status

    def header(self, name: str) -> list[str]:
        """Values of a header of a new request."""
        self.ask()
        return [value for key, value in self._server.headers[-1] if key == name]

    def name(self) -> str:
        """Common name of the client certificate that a new request is made with."""
        self.ask()
        return self._server.client_names[-1]

    def close(self) -> None:
        """End its connections."""
        self._transport.close()


def reason(server: ApiServer, kubeconfig: Path | str = "", master: str = "", **options: Any) -> str:
    """Why a request is not possible."""
    with pytest.raises(SourceError) as caught:
        Client(server, kubeconfig, master, **options).ask()
    return str(caught.value)


def trusting(server: ApiServer, authority: Authority, **more: object) -> Json:
    """A cluster whose server is trusted."""
    return {"server": server.url, "certificate-authority": str(authority.certificate), **more}


def service_account(folder: Path, authority: Authority, token: str) -> Path:
    """A pod's service account."""
    account = folder / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(token)
    (account / "ca.crt").write_bytes(authority.certificate.read_bytes())
    return account
