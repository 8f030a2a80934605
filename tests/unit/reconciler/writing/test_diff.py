"""Which operations one virtual server needs (DEV-04: make before break)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ipvsagent.model.address import Protocol
from ipvsagent.model.ops import (
    AddRealServer,
    AddRealServers,
    AddVirtualServer,
    ChangeRealServer,
    ChangeVirtualServer,
    RemoveRealServer,
    RemoveVirtualServer,
)
from ipvsagent.model.state import RealServer, VirtualServer, VirtualServerKey
from ipvsagent.reconciler.writing.diff import ServerChange, diff_virtual_server
from support.builders import address

WEB = VirtualServerKey(Protocol.TCP, address("10.96.0.10"), 80)
DNS = VirtualServerKey(Protocol.UDP, address("10.96.0.10"), 53)
ONE, TWO = RealServer(address("10.244.0.11"), 8080, 1), RealServer(address("10.244.0.12"), 8080, 1)
QUIET = RealServer(ONE.address, 8080, 0)


def diff(held: VirtualServer | None, wanted: VirtualServer | None) -> ServerChange:
    """Compare under the key of either."""
    one_of_both = held or wanted
    assert one_of_both is not None
    return diff_virtual_server(one_of_both.key, held, wanted)


def web(*servers: RealServer, scheduler: str = "rr", flags: int = 0) -> VirtualServer:
    """A virtual server for TCP."""
    return VirtualServer(WEB, scheduler, flags, 0, servers)


def test_a_new_virtual_server_is_added_with_all_its_real_servers_in_one_operation() -> None:
    """VS-01."""
    wanted = web(ONE, TWO)
    assert diff(None, wanted).operations == [AddVirtualServer(wanted), AddRealServers(WEB, (ONE, TWO))]
    assert diff(None, web()).operations == [AddVirtualServer(web())]


def test_a_virtual_server_that_nobody_wants_is_removed_by_one_operation() -> None:
    """VS-08: its real servers go with it."""
    change = diff(web(ONE), None)
    assert change.operations == [RemoveVirtualServer(WEB)]
    assert change.after is None


def test_what_is_held_already_needs_no_operation_and_the_ledger_shares_the_desired_value() -> None:
    """SYN-11."""
    wanted = web(ONE, TWO)
    change = diff(web(TWO, ONE), wanted)
    assert change.operations == []
    assert change.after is wanted


def test_real_servers_are_added_before_others_drain() -> None:
    """GT-03: a surplus real server gets weight 0, keeps its connections, and is in the ledger."""
    change = diff(web(ONE), web(TWO))
    assert change.operations == [AddRealServer(WEB, TWO), ChangeRealServer(WEB, QUIET)]
    assert change.draining == (QUIET,)
    assert change.after == web(TWO, QUIET)


def test_a_real_server_that_drains_already_is_left_alone() -> None:
    """GT-03."""
    change = diff(web(TWO, QUIET), web(TWO))
    assert (change.operations, change.draining) == ([], (QUIET,))


def test_real_servers_of_udp_are_removed_at_once() -> None:
    """GT-02."""
    held, wanted = VirtualServer(DNS, "rr", 0, 0, (ONE,)), VirtualServer(DNS, "rr", 0, 0, (TWO,))
    change = diff(held, wanted)
    assert change.operations == [AddRealServer(DNS, TWO), RemoveRealServer(DNS, ONE.address, 8080)]
    assert change.draining == ()


def test_settings_and_weights_change_in_place_and_settings_come_first() -> None:
    """DEV-47: never by removing and adding."""
    wanted = web(replace(ONE, weight=5), scheduler="wrr")
    assert diff(web(ONE), wanted).operations == [
        ChangeVirtualServer(wanted),
        ChangeRealServer(WEB, replace(ONE, weight=5)),
    ]


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_a_hash_may_fall_back_before_a_weight_goes_and_no_longer_after_it_returns(scheduler: str) -> None:
    """DEV-16."""
    begin = diff(web(ONE, TWO, scheduler=scheduler), web(TWO, scheduler=scheduler))
    draining = web(TWO, QUIET, scheduler=scheduler, flags=0x8)
    assert begin.operations == [ChangeVirtualServer(draining), ChangeRealServer(WEB, QUIET)]
    wanted = web(ONE, TWO, scheduler=scheduler)
    assert diff(draining, wanted).operations == [ChangeRealServer(WEB, ONE), ChangeVirtualServer(wanted)]


def test_with_no_other_real_server_a_hash_has_nothing_to_fall_back_to() -> None:
    """DEV-16."""
    assert diff(web(ONE, scheduler="sh"), web(scheduler="sh")).operations == [ChangeRealServer(WEB, QUIET)]
