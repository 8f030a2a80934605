"""Which kubeconfig is read, by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apiserver.certificates import Authority
from apiserver.server import ApiServer
from faults.credentials.client import Client, reason, trusting, write


def test_several_kubeconfigs_are_merged(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """The first entry of a name counts, and paths are relative to the file that names them."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "token").write_text("right")
    (second / "ca.pem").write_bytes(authority.certificate.read_bytes())
    users = [{"name": "u", "user": {"tokenFile": "token"}}]
    (first / "k").write_text(json.dumps({"users": users, "current-context": "x", "clusters": None}))
    cluster = {"server": server.url, "certificate-authority": "ca.pem", "proxy-url": None}
    write(second / "k", cluster, {"token": "wrong"})
    paths = f"{tmp_path / 'none'}:{first / 'k'}::{second / 'k'}"
    client = Client(server, environment={"KUBECONFIG": paths})
    assert client.header("Authorization") == ["Bearer right"]


def test_the_default_kubeconfig_and_a_server_alone(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Without `$KUBECONFIG` it is `~/.kube/config`; without that, `--master` is enough."""
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube/config", trusting(server, authority), {"token": "t"})
    client = Client(server, environment={"HOME": str(tmp_path)})
    assert client.header("Authorization") == ["Bearer t"]
    assert ".kube/config does not exist, and there is no service account" in reason(server, environment={"HOME": "/n"})
    with ApiServer() as plain:
        assert Client(plain, "", f"localhost:{plain.port}", environment={"HOME": "/n"}).ask() == 200


WRONG_FILES = [
    ('{"a": ]', "does not parse: line 1 is not valid YAML"),
    ("[]", "Expected `object`"),
    ("", "there is no current-context"),
    ('{"current-context": "y"}', "current-context `y` is not one of its contexts"),
    ('{"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c"}}]}', "names the cluster `c`"),
    (
        '{"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],'
        '"clusters": [{"name": "c", "cluster": {"server": "https://a"}}]}',
        "names the user `u`, which is missing",
    ),
    ('{"clusters": [{"name": "c"}, {"name": "c"}]}', "two of `clusters` have the same name"),
    ('{"kind": "Pod"}', "is not a kubeconfig"),
]


@pytest.mark.parametrize(("text", "words"), WRONG_FILES)
def test_kubeconfigs_that_cannot_be_used(server: ApiServer, tmp_path: Path, text: str, words: str) -> None:
    """An error at start that names file and field."""
    (tmp_path / "k").write_text(text)
    assert words in reason(server, tmp_path / "k")


def test_the_kubeconfig_is_read_again_when_the_server_refuses(
    server: ApiServer, authority: Authority, tmp_path: Path
) -> None:
    """A broken one leaves the earlier one in force."""
    server.tokens = {"second"}
    client = Client(server, write(tmp_path / "k", trusting(server, authority), {"token": "first"}))
    (tmp_path / "k").write_text("{")
    assert client.ask() == 401
    assert client.header("Authorization") == ["Bearer first"]
    assert len(client.warnings) == 2
    write(tmp_path / "k", trusting(server, authority), {"token": "second"})
    assert client.ask() == 401
    assert client.ask() == 200
