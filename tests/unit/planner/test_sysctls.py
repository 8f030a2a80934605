"""Which kernel settings a node needs, by configuration and kernel."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Conntrack, Settings
from ipvsagent.planner.sysctls import plan_sysctls

NO_LIMITS = Conntrack(max_per_core=0, tcp_established_seconds=0, tcp_close_wait_seconds=0)


def _planned(settings: Settings, kernel: str = "6.1.0-56-amd64", cpus: int = 4) -> list[str]:
    return [f"{s.key}={s.value}" for s in plan_sysctls(settings, kernel_release=kernel, cpus=cpus)]


def test_what_every_node_needs_comes_first_and_in_order() -> None:
    """SYS-01, SYS-03 to SYS-05; without limits and strictARP there is nothing else."""
    assert _planned(Settings(conntrack=NO_LIMITS)) == [
        "net/ipv4/vs/conntrack=1",
        "net/ipv4/vs/conn_reuse_mode=1",
        "net/ipv4/vs/expire_nodest_conn=1",
        "net/ipv4/vs/expire_quiescent_template=1",
        "net/ipv4/ip_forward=1",
    ]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("3.10.0-1160.el7.x86_64", []),
        ("4.0.9", []),
        ("4.1.0", ["net/ipv4/vs/conn_reuse_mode=0"]),
        ("5.8.18-100.fc31", ["net/ipv4/vs/conn_reuse_mode=0"]),
        ("5.9.0", ["net/ipv4/vs/conn_reuse_mode=1"]),
        ("5.10.0-28-amd64", ["net/ipv4/vs/conn_reuse_mode=1"]),
        ("6.1.0-56-amd64", ["net/ipv4/vs/conn_reuse_mode=1"]),
    ],
)
def test_reuse_of_connections_is_set_as_the_kernel_needs_it(kernel: str, expected: list[str]) -> None:
    """SYS-02, DEV-38: 0 below 5.9; from there 1, actively, so that an old 0 does not stay."""
    assert [s for s in _planned(Settings(), kernel) if "reuse" in s] == expected


@pytest.mark.parametrize(
    ("strict", "expected"),
    [(True, ["net/ipv4/conf/all/arp_ignore=1", "net/ipv4/conf/all/arp_announce=2"]), (False, [])],
)
def test_strict_arp_alone_touches_arp(strict: bool, expected: list[str]) -> None:
    """SYS-06, SYS-07: nothing is put back where it is off."""
    assert [s for s in _planned(Settings(strict_arp=strict)) if "arp" in s] == expected


@pytest.mark.parametrize(
    ("per_core", "least", "cpus", "expected"),
    [
        (32768, 131072, 2, ["131072"]),
        (32768, 131072, 8, ["262144"]),
        (32768, 131072, 64, ["1048576"]),
        (600000, 2000000, 2, ["1048576"]),
        (1, 2000000, 2, ["2000000"]),
        (0, 131072, 8, []),
    ],
)
def test_the_table_of_connections_grows_with_the_cpus(
    per_core: int, least: int, cpus: int, expected: list[str]
) -> None:
    """SYS-09, CFG-41: the minimum does not lift the bound of 1048576; 0 a core leaves the kernel's value."""
    settings = Settings(conntrack=Conntrack(max_per_core=per_core, min=least))
    planned = [s for s in _planned(settings, cpus=cpus) if "nf_conntrack_max" in s]
    assert planned == [f"net/netfilter/nf_conntrack_max={value}" for value in expected]


@pytest.mark.parametrize(("present", "right"), [("32767", False), ("32768", True), ("65536", True)])
def test_the_hash_table_of_connections_has_a_bucket_for_four_at_least(present: str, right: bool) -> None:
    """SYS-09, SYS-14: a larger one is left alone."""
    planned = {s.key: s for s in plan_sysctls(Settings(), kernel_release="6.1.0", cpus=1)}
    most, buckets = planned["net/netfilter/nf_conntrack_max"], planned["net/netfilter/nf_conntrack_buckets"]
    assert (most.value, buckets.value) == (131072, 32768)
    assert buckets.is_met_by(present) is right


@pytest.mark.parametrize(("present", "right"), [("65536", False), ("131072", True), ("131073", True), ("x", False)])
def test_the_table_of_connections_is_never_made_smaller(present: str, right: bool) -> None:
    """DEV-90: an administrator or the kernel of a large machine had a reason for a larger one."""
    planned = {s.key: s for s in plan_sysctls(Settings(), kernel_release="6.1.0", cpus=1)}
    assert planned["net/netfilter/nf_conntrack_max"].is_met_by(present) is right


@pytest.mark.parametrize(("wanted", "served", "expected"), [(True, True, ["1"]), (True, False, []), (False, True, [])])
def test_ipv6_is_forwarded_where_it_is_served_and_asked_for(wanted: bool, served: bool, expected: list[str]) -> None:
    """DEV-31."""
    planned = plan_sysctls(Settings(ipv6_forwarding=wanted), kernel_release="6.1.0", cpus=1, serves_ipv6=served)
    assert [str(s.value) for s in planned if s.key == "net/ipv6/conf/all/forwarding"] == expected


def test_timeouts_of_connection_tracking_are_set_where_they_are_given() -> None:
    """SYS-10 to SYS-12: those of TCP by default, those of UDP and the liberal mode on demand."""
    names = ("timeout", "liberal")
    assert [s for s in _planned(Settings()) if any(n in s for n in names)] == [
        "net/netfilter/nf_conntrack_tcp_timeout_established=86400",
        "net/netfilter/nf_conntrack_tcp_timeout_close_wait=3600",
    ]
    given = Conntrack(0, 0, 7, 0, udp_seconds=40, udp_stream_seconds=200, tcp_be_liberal=True)
    assert [s for s in _planned(Settings(conntrack=given)) if any(n in s for n in names)] == [
        "net/netfilter/nf_conntrack_tcp_timeout_established=7",
        "net/netfilter/nf_conntrack_udp_timeout=40",
        "net/netfilter/nf_conntrack_udp_timeout_stream=200",
        "net/netfilter/nf_conntrack_tcp_be_liberal=1",
    ]
