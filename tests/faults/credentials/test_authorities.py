"""Which servers are trusted, by the rules of docs/reference/api-access.md, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from apiserver.certificates import Authority, Pair
from apiserver.server import ApiServer
from faults.credentials.client import Client, Json, data, reason, service_account, write
from ipvsagent.errors import SourceError


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
