"""The kernel's rate estimation: on, off, or on for a moment when metrics are scraped.

The kernel's estimator adds up the counters of each virtual server over all CPUs every two seconds; while it is off,
the counters that the kernel lists do not change. So if it is off, a scrape switches it on for one round: counters are
one scrape old, and the estimator runs at most a tenth of the time.
"""

from __future__ import annotations

from ipvsagent.errors import KernelError, NotFound
from ipvsagent.instrumentation.counters import Counters
from ipvsagent.kernel.api import Sysctls
from ipvsagent.log import Logger
from ipvsagent.planner.estimation import plan_estimation

RUN_ESTIMATION = "net/ipv4/vs/run_estimation"

ROUND_SECONDS = 3.0
"""How long the estimator runs for one round: a round takes two seconds and starts with some delay."""

SECONDS_BETWEEN_ROUNDS = 30.0
"""Minimum time from the start of one round to the start of the next."""

_ON, _OFF = "1", "0"


class RateEstimation:
    """Switches the estimator; only `ask` may be called from other threads than the owner thread."""

    def __init__(self, sysctls: Sysctls, counters: Counters, log: Logger) -> None:
        self._sysctls = sysctls
        self._counters = counters
        self._log = log
        self._asked = False
        self._runs: bool | None = None  # permanently; None before the first tick
        self._present = ""  # the kernel's value; empty: must be read
        self._absent = False
        self._round_ends: float | None = None
        self._next_round = 0.0
        self._warned = ""

    def ask(self) -> None:
        """Request current counters; may be called from any thread."""
        self._asked = True

    def look_again(self) -> None:
        """Read the kernel's setting at the next tick: another program may have changed it."""
        self._present = ""

    def next_time(self) -> float | None:
        """Return when the current round ends; None if there is none."""
        return self._round_ends

    def tick(self, mode: str, virtual_servers: int, now: float) -> None:
        """Update the kernel's setting.

        Args:
            mode: as configured.
            virtual_servers: number of virtual servers on this node.
            now: monotonic seconds.
        """
        try:
            self._tick(mode, virtual_servers, now)
        except NotFound:
            self._miss_switch(mode)
        except KernelError as error:
            self._round_ends = None
            self._counters.estimation_rounds = False
            self._warn("kernel setting not written", error)

    def _tick(self, mode: str, virtual_servers: int, now: float) -> None:
        if self._absent:
            self._miss_switch(mode)
            return
        if not self._present:
            self._present = self._sysctls.read(RUN_ESTIMATION)
        before = self._present != _OFF if self._runs is None else self._runs
        runs = plan_estimation(mode, runs=before, virtual_servers=virtual_servers)
        if runs != self._runs:
            self._change(runs, mode, virtual_servers, now)
        if runs:
            self._write(_ON)
        else:
            self._run_rounds(now)

    def _change(self, runs: bool, mode: str, virtual_servers: int, now: float) -> None:
        was_running = self._present != _OFF
        self._write(_ON if runs else _OFF)
        self._round_ends, self._next_round = None, now
        # If the estimator ran until now, the counters are current.
        self._counters.estimation_rounds = not runs and was_running
        if self._runs is not None or was_running != runs:
            self._log.info(
                "kernel's rate estimation switched",
                estimation="on" if runs else "off, except for rounds that scrapes request",
                mode=mode,
                virtual_servers=virtual_servers,
            )
        self._runs = runs

    def _run_rounds(self, now: float) -> None:
        if self._round_ends is not None:
            if now >= self._round_ends:
                self._round_ends = None
                self._counters.estimation_rounds = True
        elif self._asked and now >= self._next_round:
            self._asked = False
            self._round_ends, self._next_round = now + ROUND_SECONDS, now + SECONDS_BETWEEN_ROUNDS
        self._write(_OFF if self._round_ends is None else _ON)

    def _write(self, value: str) -> None:
        if self._present != value:
            self._sysctls.write(RUN_ESTIMATION, value)
            self._present, self._warned = value, ""

    def _miss_switch(self, mode: str) -> None:
        """Warn in mode `off` if this kernel cannot switch the estimator; the other modes work without a switch."""
        self._absent = True
        if mode == "off":
            self._warn("this kernel cannot switch rate estimation off", f"no {RUN_ESTIMATION}")

    def _warn(self, message: str, reason: object) -> None:
        if self._warned != str(reason):
            self._warned = str(reason)
            self._log.warning(message, key=RUN_ESTIMATION, error=reason)
