"""Files of network managers."""

from __future__ import annotations

import pytest

from ipvsagent.doctor.managers import leaves_dummy_alone, networkd_owner
from ipvsagent.doctor.snapshot import ConfigurationFile

NAME = "kube-ipvs0"


@pytest.mark.parametrize(
    ("texts", "owner"),
    [
        (["[Match]\nName=*\n"], 0),
        (["[Match]\nName=eth* en*\n"], None),
        (["[Match]\nName=!eth* lo\n"], 0),
        (["[Match]\nName=kube-*\n[Link]\nUnmanaged=yes\n", "[Match]\nName=*\n"], None),
        (["[Match]\nName=eth0\n", "# all\n[Match]\nKind=dummy\n"], 1),
        (["[Match]\nName=*\nMACAddress=02:00:00:00:00:01\n"], None),
        (["[Match]\nType=ether\n"], 0),
        (["[Network]\nDHCP=yes\n"], None),
        ([], None),
    ],
)
def test_the_first_networkd_file_that_matches_decides(texts: list[str], owner: int | None) -> None:
    """As systemd.network(5) says."""
    files = [ConfigurationFile(f"/{i}", text) for i, text in enumerate(texts)]
    assert networkd_owner(files, NAME) == (None if owner is None else files[owner])


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ("[keyfile]\nunmanaged-devices=interface-name:cali*;interface-name:kube-ipvs0\n", True),
        ("[keyfile]\nunmanaged-devices=interface-name:cali*\n", False),
        ("[keyfile]\nunmanaged-devices+=type:dummy\n", True),
        ("[keyfile]\nunmanaged-devices=*\n", True),
        ("[keyfile]\n#unmanaged-devices=interface-name:kube-ipvs0\n", False),
        ("[device-kube]\nmatch-device=interface-name:kube-*\nmanaged=0\n", True),
        ("[device-kube]\nmatch-device=interface-name:kube-*\nmanaged=1\n", False),
    ],
)
def test_network_manager_is_told_to_leave_an_interface_alone(text: str, alone: bool) -> None:
    """As NetworkManager.conf(5) says."""
    assert leaves_dummy_alone([ConfigurationFile("/a", text)], NAME) is alone
