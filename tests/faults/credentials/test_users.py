"""Tokens, passwords, certificates and service accounts, by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from apiserver.certificates import Authority
from apiserver.server import ApiServer
from faults.credentials.client import Client, Json, data, read, reason, service_account, trusting, write
from ipvsagent.errors import SourceError


def test_a_token_file_is_read_again_and_trimmed(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """While it is empty or gone, its last content stays in use."""
    token = tmp_path / "token"
    token.write_text("first\n")
    client = Client(server, write(tmp_path / "k", trusting(server, authority), {"tokenFile": "token"}))
    assert client.header("Authorization") == ["Bearer first"]
    token.write_text(" second \r\n")
    assert client.header("Authorization") == ["Bearer second"]
    token.write_text("\n")
    assert client.header("Authorization") == ["Bearer second"]
    token.unlink()
    assert client.header("Authorization") == ["Bearer second"]


def test_a_token_file_counts_more_than_a_token(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """The token is for as long as the file was never readable."""
    user = {"token": "fixed", "tokenFile": "token"}
    client = Client(server, write(tmp_path / "k", trusting(server, authority), user))
    assert client.header("Authorization") == ["Bearer fixed"]
    (tmp_path / "token").write_text("rotated")
    assert client.header("Authorization") == ["Bearer rotated"]


def test_a_missing_token_file_is_an_error_at_start(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """As are an empty one, and a missing certificate or authority."""
    for user, words in (
        ({"tokenFile": "token"}, "token file"),
        ({"client-certificate": "a", "client-key": "b"}, "client-certificate"),
    ):
        text = reason(server, write(tmp_path / "k", trusting(server, authority), user))
        assert "no access to an API server" in text
        assert f"{words} {tmp_path}/" in text
        assert "No such file or directory" in text
    (tmp_path / "token").write_text(" \n")
    text = reason(server, write(tmp_path / "k", trusting(server, authority), {"tokenFile": "token"}))
    assert "token is empty" in text
    assert "nowhere.pem cannot be read" in reason(
        server, write(tmp_path / "k", {"server": server.url, "certificate-authority": "nowhere.pem"})
    )


def test_user_and_password(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Also in the server's URL."""
    user = {"username": "ada", "password": "p:ß"}
    client = Client(server, write(tmp_path / "k", trusting(server, authority), user))
    assert client.header("Authorization") == [f"Basic {base64.b64encode('ada:p:ß'.encode()).decode()}"]
    url = server.url.replace("https://", "https://ada:p%3Aw@")
    client = Client(server, write(tmp_path / "k", trusting(server, authority) | {"server": url}))
    assert client.header("Authorization") == [f"Basic {base64.b64encode(b'ada:p:w').decode()}"]
    assert client.access.url == server.url


def test_client_certificates_as_files_and_data(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """The kubeconfig may name files or hold their content."""
    pair = authority.issue("ada")
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    assert Client(server, write(tmp_path / "k", trusting(server, authority), user)).name() == "ada"
    user = {"client-certificate-data": read(pair.certificate), "client-key-data": read(pair.key)}
    assert Client(server, write(tmp_path / "k", trusting(server, authority), user)).name() == "ada"


def test_client_certificate_files_are_followed(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """A new pair means new connections; half of a pair changes nothing."""
    first, second = authority.issue("first"), authority.issue("second")
    certificate, key = tmp_path / "c.pem", tmp_path / "c.key"
    certificate.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.key.read_bytes())
    user = {"client-certificate": "c.pem", "client-key": "c.key"}
    client = Client(server, write(tmp_path / "k", trusting(server, authority), user))
    assert client.name() == "first"
    certificate.write_bytes(second.certificate.read_bytes())
    assert client.name() == "first"
    key.write_bytes(second.key.read_bytes())
    assert client.name() == "second"
    certificate.unlink()
    assert client.name() == "second"


def test_certificates_that_do_not_belong_to_their_keys(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Said when the first request is made."""
    pair, other = authority.issue("ada"), authority.issue("bob")
    for user in (
        {"client-certificate-data": read(pair.certificate), "client-key-data": read(other.key)},
        {"client-certificate-data": data(b"none"), "client-key-data": read(pair.key)},
    ):
        text = reason(server, write(tmp_path / "k", trusting(server, authority), user))
        assert text == "the client certificate or its key cannot be read (PEM), or they do not match"


def test_impersonation(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """All four fields become headers; keys of extra values are escaped."""
    user = {"token": "t", "as": "ada", "as-uid": "7", "as-groups": ["g1", "g2"]}
    extra = {"as-user-extra": {"acme.com/a b": ["1", "2"]}}
    client = Client(server, write(tmp_path / "k", trusting(server, authority), user | extra))
    assert client.header("Impersonate-User") == ["ada"]
    assert client.header("Impersonate-Uid") == ["7"]
    assert client.header("Impersonate-Group") == ["g1", "g2"]
    assert client.header("Impersonate-Extra-acme.com%2Fa%20b") == ["1", "2"]


def test_credentials_are_never_sent_in_clear(tmp_path: Path) -> None:
    """Neither token nor impersonation, and no plugin is asked."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/nonexistent"}
    with ApiServer() as server:
        for user in ({"token": "t", "as": "ada"}, {"exec": plugin}, {"username": "a", "password": "b"}):
            client = Client(server, write(tmp_path / "k", {"server": server.url}, user))
            assert client.header("Authorization") == []
            assert client.header("Impersonate-User") == []


CONTRADICTIONS = [
    ({"token": "t", "username": "a"}, "a token and `username` or `password` are both set"),
    ({"client-certificate": "a", "client-certificate-data": "YQ=="}, "are both set"),
    ({"client-certificate-data": "YQ=="}, "without `client-key`"),
    ({"client-certificate-data": "?", "client-key-data": "YQ=="}, "`client-certificate-data` is not base64"),
    ({"as-groups": ["g"]}, "without `as`"),
    ({"auth-provider": {"name": "oidc"}}, "`auth-provider` (`oidc`) is not supported; use an exec plugin"),
    ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, "`exec.command` is missing"),
    ({"exec": {"command": "a", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}, "`exec.apiVersion` is none"),
    ({"exec": {"command": "a", "apiVersion": "client.authentication.k8s.io/v1"}}, "`exec.interactiveMode` is none"),
    ({"token": 7}, "users[0].user.token: Expected `str`"),
]


@pytest.mark.parametrize(("user", "words"), CONTRADICTIONS, ids=lambda value: str(value)[:40])
def test_users_that_contradict_themselves(
    server: ApiServer, authority: Authority, tmp_path: Path, user: Json, words: str
) -> None:
    """An error at start that names the field."""
    assert words in reason(server, write(tmp_path / "k", trusting(server, authority), user))


def test_the_pods_service_account(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Its token rotates; `--master` takes another server for the same account."""
    account = service_account(tmp_path, authority, "first\n")
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    client = Client(server, environment=environment, service_account=account)
    assert client.header("Authorization") == ["Bearer first"]
    (account / "token").write_text("second")
    assert client.header("Authorization") == ["Bearer second"]
    client = Client(server, "", f"localhost:{server.port}", service_account=account)
    assert client.header("Authorization") == ["Bearer second"]


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_a_service_account_without_the_servers_address(
    server: ApiServer, authority: Authority, tmp_path: Path, missing: str
) -> None:
    """The variable that is missing is named."""
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"} | {missing: ""}
    account = service_account(tmp_path, authority, "t")
    assert f"${missing} is not set" in reason(server, environment=environment, service_account=account)


def test_a_service_account_without_authority_trusts_those_of_the_system(
    server: ApiServer, authority: Authority, tmp_path: Path
) -> None:
    """The agent warns about it."""
    account = service_account(tmp_path, authority, "t")
    (account / "ca.crt").unlink()
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    client = Client(server, environment=environment, service_account=account)
    assert client.warnings == [f"{account / 'ca.crt'} does not exist; the authorities of the system are used"]
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ask()
