"""Reading files below a root folder."""

from __future__ import annotations

from pathlib import Path

from ipvsagent.doctor import files


def write(root: Path, path: str, text: str = "") -> None:
    """Write a file and its folders."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="ascii")


def test_processes_are_read_with_their_words(tmp_path: Path) -> None:
    """Kernel threads have no words."""
    write(tmp_path, "proc/1/cmdline", "/sbin/init\0splash\0")
    write(tmp_path, "proc/2/cmdline")
    write(tmp_path, "proc/self/cmdline", "not a number")
    write(tmp_path, "proc/30/cmdline", "/bin/k3s server")
    assert [(p.pid, p.name, p.words[1:]) for p in files.read_processes(tmp_path)] == [
        (1, "init", ("splash",)),
        (30, "k3s", ()),
    ]


def test_a_machine_is_distinguished_from_a_container(tmp_path: Path) -> None:
    """Process 2 is the kernel's."""
    assert not files.sees_host_processes(tmp_path)
    write(tmp_path, "proc/2/comm", "bash\n")
    assert not files.sees_host_processes(tmp_path)
    write(tmp_path, "proc/2/comm", "kthreadd\n")
    assert files.sees_host_processes(tmp_path)


def test_the_connection_table_is_measured(tmp_path: Path) -> None:
    """Size from one file, connections from the other."""
    net = "proc/thread-self/net"
    assert files.read_connection_table(tmp_path) == (0, 0)
    write(tmp_path, f"{net}/ip_vs", "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port\n")
    write(tmp_path, f"{net}/ip_vs_conn", "Pro FromIP\nTCP a\nTCP b\n")
    assert files.read_connection_table(tmp_path) == (4096, 2)


def test_default_routes_of_both_families_are_found(tmp_path: Path) -> None:
    """The unreachable default route on `lo` is none."""
    net, zeros = "proc/thread-self/net", "0" * 32
    write(
        tmp_path,
        f"{net}/route",
        "Iface\tDestination\tGateway\n"
        "eth0\t00000000\t013CA8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth1\t003CA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    )
    write(
        tmp_path,
        f"{net}/ipv6_route",
        f"{zeros} 00 {zeros} 00 fe80{zeros[4:]} 00000400 0 0 00000003     eth2\n"
        f"{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 00200200       lo\n",
    )
    assert files.read_default_route_links(tmp_path) == ("eth0", "eth2")


def test_settings_that_the_kernel_lacks_are_left_out(tmp_path: Path) -> None:
    """Those of interfaces come, too."""
    write(tmp_path, "proc/sys/net/ipv4/ip_forward", "1\n")
    write(tmp_path, "proc/sys/net/ipv4/conf/eth0/rp_filter", "2\n")
    assert files.read_sysctls(tmp_path, ["eth0"]) == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/eth0/rp_filter": "2",
    }


def test_networkd_files_come_in_its_order(tmp_path: Path) -> None:
    """By name; /etc hides a file of the same name; drop-ins are added."""
    write(tmp_path, "usr/lib/systemd/network/80-a.network", "vendor")
    write(tmp_path, "etc/systemd/network/80-a.network", "[Match]")
    write(tmp_path, "etc/systemd/network/80-a.network.d/x.conf", "[Link]")
    write(tmp_path, "run/systemd/network/10-b.network", "b")
    found = files.read_networkd_files(tmp_path)
    assert [(f.path, f.text) for f in found] == [
        ("/run/systemd/network/10-b.network", "b"),
        ("/etc/systemd/network/80-a.network", "[Match]\n[Link]"),
    ]


def test_network_manager_files_are_found(tmp_path: Path) -> None:
    """The main file and the folders."""
    assert files.read_network_manager_files(tmp_path) == ()
    write(tmp_path, "etc/NetworkManager/NetworkManager.conf", "a")
    write(tmp_path, "usr/lib/NetworkManager/conf.d/1.conf", "b")
    assert [f.text for f in files.read_network_manager_files(tmp_path)] == ["a", "b"]


def test_capabilities_are_a_mask(tmp_path: Path) -> None:
    """CapEff of the thread."""
    write(tmp_path, "proc/thread-self/status", "Name:\tx\nCapEff:\t0000000000001000\n")
    assert files.read_capabilities(tmp_path) == 1 << 12
