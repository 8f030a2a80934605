"""Reloading settings: what is in force at once, what waits for a restart, what is refused; schedulers and fallbacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ipvsagent.config.types import Logging, Settings
from ipvsagent.errors import NodeUnusable
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.reconciler.mailbox import ConfigurationRefused, Reconfigure
from support.builders import endpoint_slice, service
from support.fake_node import FakeNode, new_kernel


def kernel_with_schedulers(*names: str) -> FakeKernel:
    """A kernel that has these schedulers and no others."""
    kernel = new_kernel()
    kernel.modules_available = {m for m in kernel.modules_available if not m.startswith("ip_vs_")} | {
        f"ip_vs_{name}" for name in names
    }
    return kernel


def schedulers_of(node: FakeNode) -> list[tuple[str, int]]:
    """Scheduler and flags of each virtual server in the kernel."""
    return [(v.scheduler, v.flags) for v in node.kernel.ipvs.list_virtual_servers()]


def test_a_start_with_a_scheduler_that_the_kernel_lacks_is_refused_with_the_list_of_the_others() -> None:
    """DEV-35: found at the start, not with the first Service."""
    with pytest.raises(NodeUnusable) as caught:
        FakeNode(kernel_with_schedulers("rr", "wlc"), Settings(scheduler="mh"))
    assert str(caught.value).splitlines() == [
        "scheduler `mh` is not known to this kernel",
        "hint: set `ipvs.scheduler` to an available scheduler: rr, wlc",
    ]


def test_the_fallback_takes_the_place_of_a_scheduler_that_the_kernel_lacks() -> None:
    """DEV-35, DEV-16: with its own flags, and with a warning that says so."""
    settings = Settings(scheduler="mh", scheduler_flags=0x30, scheduler_fallback="wlc")
    node = FakeNode(kernel_with_schedulers("rr", "wlc"), settings)
    node.hear_all([service()])
    assert schedulers_of(node) == [("wlc", 0)]
    assert node.told() == ["SchedulerFallback: scheduler `mh` is not known to this kernel; `wlc` is used"]
    assert node.log.lines[0] == (
        "warning: scheduler is not known to this kernel; the fallback is used "
        "scheduler=mh fallback=wlc available=rr,wlc"
    )


def test_a_fallback_that_the_kernel_lacks_too_is_refused() -> None:
    """DEV-35: the one that was asked for last is named."""
    with pytest.raises(NodeUnusable, match="scheduler `sh` is not known to this kernel"):
        FakeNode(kernel_with_schedulers("rr"), Settings(scheduler="mh", scheduler_fallback="sh"))


def test_a_reload_uses_the_fallback_and_a_change_of_anything_else_keeps_it() -> None:
    """DEV-35: in place, without a virtual server being removed."""
    node = FakeNode(kernel_with_schedulers("rr", "lc"))
    node.hear_all([service()], [endpoint_slice("10.244.0.11")])
    node.kernel.clear_log()
    settings = Settings(scheduler="mh", scheduler_fallback="lc")
    node.hear(Reconfigure(settings))
    assert node.operations() == ["change virtual server 10.96.0.10:80/TCP"]
    assert schedulers_of(node) == [("lc", 0)]
    node.kernel.clear_log()
    node.hear(Reconfigure(replace(settings, drain_timeout_seconds=10.0)))
    assert node.operations() == []
    assert node.told() == ["SchedulerFallback: scheduler `mh` is not known to this kernel; `lc` is used"]
    assert schedulers_of(node) == [("lc", 0)]


def test_a_refused_configuration_shows_in_the_status_until_a_good_one_comes() -> None:
    """DEV-35 and CFG-50: whether the file does not parse or the kernel cannot serve it."""
    node = FakeNode(kernel_with_schedulers("rr"))
    node.hear_all([service()])
    node.hear(ConfigurationRefused("foo: is not a known field"))
    assert node.status().configuration_refused == "foo: is not a known field"
    assert node.status().synchronised
    node.hear(Reconfigure(Settings(scheduler="mh")))
    reason = "scheduler `mh` is not known to this kernel; hint: set `ipvs.scheduler` to an available scheduler: rr"
    assert node.status().configuration_refused == reason
    assert schedulers_of(node) == [("rr", 0)]
    node.hear(Reconfigure(Settings()))
    assert node.status().configuration_refused == ""
    refusals = ("foo: is not a known field", reason)
    assert node.told() == [
        f"ConfigurationRefused: the new configuration is refused, the old one stays in force: {r}" for r in refusals
    ]
    assert [line for line in node.log.lines if line.startswith("error: ")] == [
        "error: new configuration refused; the old one stays in force reason=foo: is not a known field",
        f"error: new configuration refused; the old one stays in force reason={reason}",
    ]


def test_fields_that_need_a_restart_are_named_and_the_others_of_the_same_change_are_in_force() -> None:
    """CFG-02, CFG-09, CFG-14: nothing is ignored in silence; what is taken back no longer waits."""
    node = FakeNode()
    node.hear_all([service()])
    changed = Settings(
        scheduler="lc", hostname_override="other", iptables_variant="nft", kubeconfig="/k", oom_score_adjust=0
    )
    node.hear(Reconfigure(changed))
    names = ("hostnameOverride", "oomScoreAdj", "clientConnection.kubeconfig", "iptables.variant")
    assert node.status().waiting_for_restart == names
    assert f"warning: fields of the new configuration need a restart fields={', '.join(names)}" in node.log.lines
    assert schedulers_of(node) == [("lc", 0)]
    node.hear(Reconfigure(replace(Settings(), iptables_variant="legacy")))
    assert node.status().waiting_for_restart == ("iptables.variant",)
    node.hear(Reconfigure(Settings()))
    assert node.status().waiting_for_restart == ()


def test_listeners_get_settings_in_force_and_no_refused_ones() -> None:
    """CFG-12: the form of log lines follows the configuration in force."""
    node = FakeNode(kernel_with_schedulers("rr"))
    node.hear_all()
    json_lines = Settings(logging=Logging("json", "debug"))
    node.hear(Reconfigure(json_lines), Reconfigure(json_lines), Reconfigure(Settings(scheduler="mh")))
    assert node.applied == [json_lines]
