"""Access to a real TLS server by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.certificates import Authority, Pair
from apiserver.proxy import Proxy
from apiserver.server import ApiServer
from ipvsagent.errors import SourceError
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.transport import KubernetesTransport

NO_SERVICE_ACCOUNT = Path("/nonexistent")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues the certificates of server and clients."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Pair:
    """The server's certificate."""
    return authority.issue("server", "IP:127.0.0.1,IP:::1,DNS:localhost,DNS:api.example")


@pytest.fixture
def server(authority: Authority, certificate: Pair) -> Iterator[ApiServer]:
    """A TLS server that asks clients for certificates and accepts everybody."""
    with ApiServer(certificate.both, client_authority=authority.certificate) as running:
        yield running


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


# -- server and authorities ------------------------------------------------------------------------------------


def test_certificate_authority_as_file_data_and_bundle(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """One of several authorities is enough; what else stands in the file is passed over."""
    other = Authority(tmp_path, "other").certificate.read_bytes()
    bundle = b"# f\xc3\xbcr alle\n" + other + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    bundle += authority.certificate.read_bytes()
    (tmp_path / "bundle.pem").write_bytes(bundle)
    for cluster in (
        {"certificate-authority": str(authority.certificate)},
        {"certificate-authority": "bundle.pem"},  # relative to the kubeconfig
        {"certificate-authority-data": data(bundle)},
    ):
        assert Client(server, write(tmp_path / "k", {"server": server.url, **cluster})).ask() == 200


def test_an_intermediate_authority_may_be_trusted_alone(tmp_path: Path) -> None:
    """As Go does, whoever issued it."""
    intermediate = Authority(tmp_path, "intermediate", Authority(tmp_path, "root"))
    with ApiServer(intermediate.issue("server").both) as server:
        cluster = {"server": server.url, "certificate-authority": "intermediate.pem"}
        assert Client(server, write(tmp_path / "k", cluster)).ask() == 200


def test_an_unknown_authority_and_another_name_are_refused(
    server: ApiServer, authority: Authority, tmp_path: Path
) -> None:
    """The words say which of the two it is."""
    Authority(tmp_path, "other")
    cluster = {"server": server.url, "certificate-authority": "other.pem"}
    assert "CERTIFICATE_VERIFY_FAILED: self-signed certificate in certificate chain" in reason(
        server, write(tmp_path / "k", cluster)
    )
    assert "CERTIFICATE_VERIFY_FAILED" in reason(server, write(tmp_path / "k", {"server": server.url}))
    cluster = {"server": server.url, "certificate-authority": str(authority.certificate), "tls-server-name": "else"}
    assert "Hostname mismatch" in reason(server, write(tmp_path / "k", cluster))


def test_an_authority_file_is_followed_and_its_last_good_content_stays(
    server: ApiServer, authority: Authority, tmp_path: Path
) -> None:
    """A file that is replaced counts at the next connection; one that is removed does not break anything."""
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(Authority(tmp_path, "other").certificate.read_bytes())
    client = Client(server, write(tmp_path / "k", {"server": server.url, "certificate-authority": "ca.pem"}))
    with pytest.raises(SourceError):
        client.ask()
    trusted.write_bytes(authority.certificate.read_bytes())
    assert client.ask() == 200
    trusted.unlink()
    assert client.ask() == 200
    assert client.warnings == [
        f"certificate-authority {trusted} cannot be read: No such file or directory; its last content stays in use"
    ]


def test_insecure_skip_tls_verify(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Any certificate is accepted; with an authority beside it the configuration contradicts itself."""
    cluster: Json = {"server": server.url, "insecure-skip-tls-verify": True}
    assert Client(server, write(tmp_path / "k", cluster)).ask() == 200
    cluster["certificate-authority"] = str(authority.certificate)
    assert "`insecure-skip-tls-verify` and a certificate authority are both set" in reason(
        server, write(tmp_path / "k", cluster)
    )


def test_tls_server_name_is_what_the_certificate_must_name(
    server: ApiServer, authority: Authority, tmp_path: Path
) -> None:
    """And `--master` takes another server, to which that name does not belong."""
    cluster = {"server": server.url, "certificate-authority": str(authority.certificate)}
    assert Client(server, write(tmp_path / "k", {**cluster, "tls-server-name": "api.example"})).ask() == 200
    wrong = write(tmp_path / "k", {**cluster, "tls-server-name": "wrong.example"})
    assert "Hostname mismatch" in reason(server, wrong)
    assert Client(server, wrong, server.url).ask() == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_without_scheme_is_https_if_there_is_an_authority(
    server: ApiServer, authority: Authority, tmp_path: Path, host: str
) -> None:
    """In the kubeconfig and as `--master`."""
    trust = {"certificate-authority": str(authority.certificate)}
    kubeconfig = write(tmp_path / "k", {"server": f"{host}:{server.port}", **trust})
    assert Client(server, kubeconfig).ask() == 200
    kubeconfig = write(tmp_path / "k", {"server": "https://192.0.2.1", **trust})
    assert Client(server, kubeconfig, f"{host}:{server.port}").ask() == 200


def test_ipv6_servers(authority: Authority, certificate: Pair, tmp_path: Path) -> None:
    """As URL and as the host of a service account."""
    with ApiServer(certificate.both, host="::1") as server:
        cluster = {"server": server.url, "certificate-authority": str(authority.certificate)}
        assert Client(server, write(tmp_path / "k", cluster)).ask() == 200
        account = service_account(tmp_path, authority, "t")
        environment = {"KUBERNETES_SERVICE_HOST": "::1", "KUBERNETES_SERVICE_PORT": str(server.port)}
        assert Client(server, environment=environment, service_account=account).ask() == 200


# -- credentials -----------------------------------------------------------------------------------------------


def trusting(server: ApiServer, authority: Authority, **more: object) -> Json:
    """A cluster whose server is trusted."""
    return {"server": server.url, "certificate-authority": str(authority.certificate), **more}


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
    """No file of theirs has to stay."""
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


# -- exec plugins ----------------------------------------------------------------------------------------------


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
    """It is told its arguments, variables and, if asked for, the cluster."""
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


# -- where the configuration is ----------------------------------------------------------------------------------


def service_account(folder: Path, authority: Authority, token: str) -> Path:
    """A pod's service account."""
    account = folder / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(token)
    (account / "ca.crt").write_bytes(authority.certificate.read_bytes())
    return account


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
    """And says so."""
    account = service_account(tmp_path, authority, "t")
    (account / "ca.crt").unlink()
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}
    client = Client(server, environment=environment, service_account=account)
    assert client.warnings == [f"{account / 'ca.crt'} does not exist; the authorities of the system are used"]
    with pytest.raises(SourceError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ask()


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


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_of_the_kubeconfig(server: ApiServer, authority: Authority, tmp_path: Path, scheme: str) -> None:
    """It is used for loopback addresses, too, and whatever `NO_PROXY` says; names are resolved by the proxy."""
    with Proxy(server.port) as proxy:
        for user, host in (("", "api.example"), ("ada:p%40w@", "127.0.0.1")):
            url = f"{scheme}://{user}127.0.0.1:{proxy.port}"
            cluster = trusting(server, authority) | {"server": f"https://{host}:6443", "proxy-url": url}
            client = Client(server, write(tmp_path / "k", cluster), environment={"NO_PROXY": "*"})
            assert client.ask() == 200
            client.close()
    credentials = {"http": base64.b64encode(b"ada:p@w").decode(), "socks5": "ada:p@w"}[scheme]
    assert proxy.asked == ["api.example:6443", f"127.0.0.1:6443 {credentials}"]


def test_a_proxy_of_the_environment(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """`HTTPS_PROXY` is for https; its scheme may be left out."""
    cluster = trusting(server, authority) | {"server": "https://api.example:6443"}
    with Proxy(server.port) as proxy:
        for environment in (
            {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"},
            {"https_proxy": f"127.0.0.1:{proxy.port}", "HTTP_PROXY": "http://192.0.2.1"},
        ):
            client = Client(server, write(tmp_path / "k", cluster), environment=environment)
            assert client.ask() == 200
            client.close()
    assert proxy.asked == ["api.example:6443", "api.example:6443"]


def test_loopback_servers_and_all_proxy(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Loopback is reached directly, and `ALL_PROXY` means nothing."""
    nowhere = "http://127.0.0.1:1"
    environment = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), nowhere)
    assert Client(server, write(tmp_path / "k", trusting(server, authority)), environment=environment).ask() == 200


def test_a_proxy_that_refuses(server: ApiServer, authority: Authority, tmp_path: Path) -> None:
    """Its status is told, its words are not."""
    with Proxy(server.port, refuse_with="407 marker-of-the-proxy") as proxy:
        cluster = trusting(server, authority, **{"proxy-url": f"http://ada:secret@127.0.0.1:{proxy.port}"})
        text = reason(server, write(tmp_path / "k", cluster))
    assert text == f"API server {server.url}: the proxy did not connect: it answers 407"


@pytest.mark.parametrize("url", ["ftp://p", "socks4://p", "p:80", "http://", "http://p:x", "//p"])
def test_proxy_urls_that_cannot_be_used(server: ApiServer, authority: Authority, tmp_path: Path, url: str) -> None:
    """An error at start that does not show the URL."""
    cluster = trusting(server, authority, **{"proxy-url": url})
    text = reason(server, write(tmp_path / "k", cluster))
    assert "cluster `c`: `proxy-url` is not a URL with a host and the scheme http, https or socks5" in text
