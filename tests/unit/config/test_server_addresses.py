"""Where the servers listen: the fields of both kinds of configuration."""

from __future__ import annotations

import pytest

from ipvsagent.config.load import parse_configuration
from ipvsagent.errors import ConfigurationError

OURS = "apiVersion: ipvsagent.io/v1alpha1\nkind: AgentConfiguration\n"
THEIRS = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"


def problems(text: str) -> list[str]:
    """What a text is refused for."""
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text)
    return list(caught.value.problems)


@pytest.mark.parametrize("head", [OURS, THEIRS])
@pytest.mark.parametrize(
    ("value", "health", "metrics"),
    [
        ("''", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("null", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("0.0.0.0", "0.0.0.0:10256", "0.0.0.0:10249"),
        ("'::'", "[::]:10256", "[::]:10249"),
        ("192.0.2.1:9000", "192.0.2.1:9000", "192.0.2.1:9000"),
        ("'[2001:db8::1]:9000'", "[2001:db8::1]:9000", "[2001:db8::1]:9000"),
    ],
)
def test_addresses_of_the_servers(head: str, value: str, health: str, metrics: str) -> None:
    """CFG-04, CFG-05: an address alone gets the port, nothing gets the default."""
    settings = parse_configuration(head + f"healthzBindAddress: {value}\nmetricsBindAddress: {value}\n").settings
    assert (str(settings.health_listen), str(settings.metrics_listen)) == (health, metrics)


@pytest.mark.parametrize("bind_address", ["'::'", "'2001:db8::1'"])
def test_an_ipv6_bind_address_moves_the_servers_defaults(bind_address: str) -> None:
    """CFG-04, CFG-05."""
    settings = parse_configuration(THEIRS + f"bindAddress: {bind_address}\n").settings
    assert (str(settings.health_listen), str(settings.metrics_listen)) == ("[::]:10256", "[::1]:10249")


@pytest.mark.parametrize("value", ["localhost:80", ":10256", "1.2.3.4:0", "1.2.3.4:65536", "'[::1]'", "1.2.3:80"])
def test_what_is_no_address_of_a_server_is_refused(value: str) -> None:
    """CFG-04."""
    (problem,) = problems(OURS + f"healthzBindAddress: {value}\n")
    text = value.strip("'")
    assert problem == (
        f"healthzBindAddress: `{text}` is not an address with a port such as `0.0.0.0:10256` or `[::]:10256`"
    )
