"""The kernel's rate estimation: on, off, or by the size of the node; rounds for whoever asks."""

from __future__ import annotations

import pytest

from ipvsagent.config.types import Settings
from ipvsagent.config.values import ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW
from ipvsagent.errors import NotPermitted
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.fake.journal import Journal
from ipvsagent.kernel.fake.kernel import FakeSysctls
from ipvsagent.model.events import Changed, Deleted
from ipvsagent.model.objects import Kind
from ipvsagent.planner.estimation import plan_estimation
from ipvsagent.reconciler.mailbox import Reconfigure
from ipvsagent.reconciler.node.rate_estimation import (
    ROUND_SECONDS,
    RUN_ESTIMATION,
    SECONDS_BETWEEN_ROUNDS,
    RateEstimation,
)
from support.builders import endpoint_slice, key, port, service
from support.fake_node import FakeNode, SilentLogger, new_kernel

MANY = ESTIMATION_OFF_ABOVE + 1


class Scene:
    """An estimation on a fake kernel."""

    def __init__(self, present: str = "1") -> None:
        self.kernel = new_kernel()
        self.kernel.sysctls.values[RUN_ESTIMATION] = present
        self.log = SilentLogger()
        self.counters = Counters()
        self.now = 100.0
        self.estimation = RateEstimation(self.kernel.sysctls, self.counters, self.log)

    def tick(self, mode: str = "auto", virtual_servers: int = 10, after: float = 0.0) -> str:
        """Let time pass; answer what the kernel has then."""
        self.now += after
        self.estimation.tick(mode, virtual_servers, self.now)
        return self.kernel.sysctls.values[RUN_ESTIMATION]


@pytest.mark.parametrize(
    ("mode", "runs", "virtual_servers", "wanted"),
    [
        ("on", False, 100_000, True),
        ("off", True, 0, False),
        ("auto", True, 5000, True),
        ("auto", True, 5001, False),
        ("auto", False, 4000, False),
        ("auto", False, 3999, True),
    ],
)
def test_what_is_wanted(mode: str, runs: bool, virtual_servers: int, wanted: bool) -> None:
    """Between 4000 and 5000 virtual servers, `auto` leaves it as it is."""
    assert plan_estimation(mode, runs=runs, virtual_servers=virtual_servers) is wanted


def test_auto_does_not_flap_between_its_two_numbers() -> None:
    """Each number of virtual servers on the way up and down writes at most one change."""
    scene = Scene()
    way = [ESTIMATION_ON_BELOW, ESTIMATION_OFF_ABOVE, MANY, ESTIMATION_OFF_ABOVE, ESTIMATION_ON_BELOW, MANY]
    assert [scene.tick(virtual_servers=n) for n in way] == ["1", "1", "0", "0", "0", "0"]
    assert scene.tick(virtual_servers=ESTIMATION_ON_BELOW - 1) == "1"
    assert [str(entry) for entry in scene.kernel.log] == [f"write {RUN_ESTIMATION} 0", f"write {RUN_ESTIMATION} 1"]
    assert len(scene.log.lines) == 2


def test_a_start_between_the_numbers_leaves_what_an_earlier_process_set() -> None:
    """A restart changes nothing."""
    assert Scene(present="0").tick(virtual_servers=4500) == "0"
    assert Scene(present="1").tick(virtual_servers=4500) == "1"


def test_counts_that_are_asked_for_take_one_round_at_a_time() -> None:
    """A round lasts three seconds, and there is at most one in thirty; without a question there is none."""
    scene = Scene()
    assert scene.tick("off") == "0"
    assert scene.tick("off", after=1000) == "0"
    scene.estimation.ask()
    assert scene.tick("off") == "1"
    assert scene.estimation.next_time() == scene.now + ROUND_SECONDS
    scene.estimation.ask()
    assert scene.tick("off", after=ROUND_SECONDS - 0.1) == "1"
    assert scene.tick("off", after=0.1) == "0"
    assert scene.tick("off", after=SECONDS_BETWEEN_ROUNDS - ROUND_SECONDS - 0.1) == "0"
    assert scene.tick("off", after=0.2) == "1"


def test_counts_are_known_when_estimation_ran_until_now_or_a_round_is_over() -> None:
    """Before that, it is unknown since when they were not updated."""
    scene = Scene(present="1")
    scene.tick("off")
    assert scene.counters.estimation_rounds
    scene = Scene(present="0")
    known = []
    for after in (0.0, 0.0, ROUND_SECONDS):
        scene.tick("off", after=after)
        scene.estimation.ask()
        known.append(scene.counters.estimation_rounds)
    assert known == [False, False, True]


def test_counts_are_those_of_the_kernel_when_estimation_is_on_again() -> None:
    """No round is needed any more."""
    scene = Scene(present="1")
    scene.tick("off")
    scene.tick("on")
    assert not scene.counters.estimation_rounds


def test_what_somebody_else_changed_is_put_right_at_the_next_look() -> None:
    """As other settings are."""
    scene = Scene()
    scene.tick("on")
    scene.kernel.sysctls.values[RUN_ESTIMATION] = "0"
    scene.estimation.look_again()
    assert scene.tick("on") == "1"


@pytest.mark.parametrize(("mode", "lines"), [("auto", 0), ("on", 0), ("off", 1)])
def test_a_kernel_without_the_switch_is_reported_once_if_it_matters(mode: str, lines: int) -> None:
    """Before Linux 5.15; it runs there."""
    scene = Scene()
    del scene.kernel.sysctls.values[RUN_ESTIMATION]
    for _ in range(3):
        scene.estimation.tick(mode, MANY, scene.now)
        scene.estimation.look_again()
    assert len(scene.log.lines) == lines
    assert RUN_ESTIMATION not in scene.kernel.sysctls.values
    assert not scene.counters.estimation_rounds


class _ReadOnly(FakeSysctls):
    """Settings that cannot be written."""

    def write(self, key: str, value: str) -> None:
        raise NotPermitted("write kernel setting", f"{key}={value}")


def test_a_setting_that_cannot_be_written_is_reported_once_and_its_counts_are_not_used() -> None:
    """Services are served without it."""
    log, counters = SilentLogger(), Counters()
    sysctls = _ReadOnly(Journal())
    sysctls.values[RUN_ESTIMATION] = "0"
    estimation = RateEstimation(sysctls, counters, log)
    for now in (1.0, 2.0, 3.0):
        estimation.ask()
        estimation.tick("off", 10, now)
        assert not counters.estimation_rounds
        estimation.look_again()
    assert len(log.lines) == 1
    assert "kernel setting not written" in log.lines[0]


def test_a_reload_applies_it_live_and_the_size_of_the_node_counts() -> None:
    """DEV-45: the owner thread alone writes it."""
    node = FakeNode()
    web = service("shop/web", ports=[port(80)])
    node.hear_all([web], [endpoint_slice("10.244.0.11")])
    values = node.kernel.sysctls.values
    assert values[RUN_ESTIMATION] == "1"
    node.hear(Reconfigure(Settings(estimation="off")))
    assert values[RUN_ESTIMATION] == "0"
    node.reconciler.request_counters()
    node.hear(Changed(service("shop/web", ports=[port(81)])))
    assert values[RUN_ESTIMATION] == "1"
    node.settle()
    assert values[RUN_ESTIMATION] == "0"
    assert node.status().waiting_for_restart == ()
    node.hear(Reconfigure(Settings()))
    assert values[RUN_ESTIMATION] == "1"
    node.hear(Deleted(Kind.SERVICE, key("shop/web")))
    assert values[RUN_ESTIMATION] == "1"
