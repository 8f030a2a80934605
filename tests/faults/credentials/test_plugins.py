"""Credentials from a program, by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apiserver.certificates import Authority
from apiserver.server import ApiServer
from faults.credentials.client import Client, Json, read, reason, trusting, write
from ipvsagent.errors import SourceError


class Plugin:
    """A program that prints what a file holds, and keeps what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "plugin"
        self.path.write_text(
            "#!/bin/sh\n"
            f"cd {folder}\n"
            "echo run >> runs\n"
            'printf "%s" "$KUBERNETES_EXEC_INFO" > info\n'
            'printf "%s %s" "$*" "$EXTRA" > told\n'
            "cat answer\n"
        )
        self.path.chmod(0o755)

    @property
    def runs(self) -> int:
        """How often it was run."""
        runs = self.folder / "runs"
        return runs.read_text().count("run") if runs.exists() else 0

    def answers(self, version: str = "v1", **status: str) -> None:
        """Let it print credentials from now on."""
        head = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential"}
        (self.folder / "answer").write_text(json.dumps({**head, "status": status}))

    def fails(self) -> None:
        """Let it fail from now on."""
        (self.folder / "answer").unlink(missing_ok=True)

    def user(self, version: str = "v1", **more: object) -> Json:
        """A user of the kubeconfig."""
        head = {"apiVersion": f"client.authentication.k8s.io/{version}", "interactiveMode": "Never"}
        return {"exec": {**head, "command": str(self.path), **more}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """The program."""
    return Plugin(tmp_path)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_plugin_is_run_once_as_long_as_its_token_is_accepted(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin, version: str
) -> None:
    """The plugin gets its arguments, its variables and, if configured, a description of the cluster."""
    plugin.answers(version, token="abc")
    user = plugin.user(version, args=["a", "b"], env=[{"name": "EXTRA", "value": "e"}], provideClusterInfo=True)
    client = Client(server, write(tmp_path / "k", trusting(server, authority), user))
    assert client.header("Authorization") == ["Bearer abc"]
    assert client.header("Authorization") == ["Bearer abc"]
    assert plugin.runs == 1
    assert (tmp_path / "told").read_text() == "a b e"
    assert json.loads((tmp_path / "info").read_text()) == {
        "kind": "ExecCredential",
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "spec": {
            "interactive": False,
            "cluster": {"server": server.url, "certificate-authority-data": read(authority.certificate)},
        },
    }


def test_a_plugin_that_fails_is_asked_at_the_next_request(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin
) -> None:
    """And nothing is sent meanwhile: a server would take it for an anonymous client."""
    client = Client(server, write(tmp_path / "k", trusting(server, authority), plugin.user()))
    for _ in range(2):
        with pytest.raises(SourceError, match="credential plugin `plugin` failed with exit code 1"):
            client.ask()
    assert server.requests == []
    plugin.answers(token="abc")
    assert client.header("Authorization") == ["Bearer abc"]


def test_a_plugin_is_asked_when_its_credentials_expire_and_when_they_are_refused(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin
) -> None:
    """Once for all requests that were made with the refused ones."""
    now = 1_767_225_600.0  # 2026-01-01
    clock = [now]
    plugin.answers(token="first", expirationTimestamp="2026-01-01T00:10:00Z")
    client = Client(server, write(tmp_path / "k", trusting(server, authority), plugin.user()), now=lambda: clock[0])
    assert client.header("Authorization") == ["Bearer first"]
    plugin.answers(token="second", expirationTimestamp="2026-01-01T02:10:00+01:00")
    assert client.header("Authorization") == ["Bearer first"]
    clock[0] = now + 601
    assert client.header("Authorization") == ["Bearer second"]
    plugin.answers(token="third")
    server.tokens = {"third"}
    refused = client.access.current()
    assert client.ask() == 401
    assert client.ask() == 200
    client.access.refused(refused)  # by a request that was slower
    assert client.ask() == 200
    assert plugin.runs == 3


def test_a_plugin_may_answer_with_a_client_certificate(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin
) -> None:
    """Alone or with a token."""
    pair = authority.issue("ada")
    certificate = {"clientCertificateData": pair.certificate.read_text(), "clientKeyData": pair.key.read_text()}
    plugin.answers(**certificate)
    client = Client(server, write(tmp_path / "k", trusting(server, authority), plugin.user()))
    assert client.name() == "ada"
    assert client.header("Authorization") == []
    plugin.answers(token="abc", **certificate)
    client = Client(server, write(tmp_path / "k", trusting(server, authority), plugin.user()))
    assert (client.name(), client.header("Authorization")) == ("ada", ["Bearer abc"])


def test_other_credentials_count_more_than_a_plugin(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin
) -> None:
    """It is not even run."""
    pair = authority.issue("ada")
    for other in (
        {"token": "t"},
        {"username": "a", "password": "b"},
        {"client-certificate": str(pair.certificate), "client-key": str(pair.key)},
    ):
        Client(server, write(tmp_path / "k", trusting(server, authority), plugin.user() | other)).ask()
    assert plugin.runs == 0


WRONG_ANSWERS = [
    ("", "did not print an ExecCredential in JSON"),
    ("{}", "did not print an ExecCredential of apiVersion client.authentication.k8s.io/v1"),
    ('{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1"}', "did not print an ExecCred"),
    ('{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1"}', "neither a token nor a client"),
    (
        '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"clientKeyData":"x"}}',
        "a key without its certificate",
    ),
    (
        '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1",'
        '"status":{"token":"t","expirationTimestamp":"soon"}}',
        "expirationTimestamp that is not a time",
    ),
]


@pytest.mark.parametrize(("answer", "words"), WRONG_ANSWERS)
def test_answers_of_a_plugin_that_are_not_understood(
    server: ApiServer, authority: Authority, tmp_path: Path, plugin: Plugin, answer: str, words: str
) -> None:
    """The words say what is wrong, and quote nothing."""
    (tmp_path / "answer").write_text(answer)
    assert words in reason(server, write(tmp_path / "k", trusting(server, authority), plugin.user()))


def test_a_plugin_that_is_missing_or_hangs(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """The install hint is for the first; the second is ended."""
    user = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "installHint": "get\n it"}
    kubeconfig = write(tmp_path / "k", trusting(server, authority), {"exec": {**user, "command": "ipvsagent-none"}})
    assert reason(server, kubeconfig) == "the credential plugin `ipvsagent-none` is not installed; get it"
