"""Drivers that fail on demand: every operation of a kernel, one by one, is a place where something can go wrong.

A batch is passed on an operation at a time, so that each of its operations is a place of its own. After each of them
`Watch` looks whether something is gone that is needed before and after.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable, Sequence
from typing import Any, cast

from ipvsagent.errors import AcknowledgementsLost, DumpInterrupted, KernelError, SetFull, kernel_error
from ipvsagent.kernel.api import Drivers, Results
from ipvsagent.kernel.fake.kernel import FakeKernel
from ipvsagent.model.ops import AddEntry, one_by_one
from oracle.facts import KernelFacts, of_kernel


class Fault(enum.Enum):
    """What goes wrong."""

    NOT_PERMITTED = errno.EPERM
    BUSY = errno.EBUSY
    NO_MEMORY = errno.ENOMEM
    NO_BUFFERS = errno.ENOBUFS
    INTERRUPTED = errno.EINTR
    ANSWER_LOST = "the operation is carried out, but nobody says so"
    BATCH_CUT = "this operation and the rest of its batch are neither carried out nor answered"
    DUMP_INTERRUPTED = "the listing is incomplete"
    SET_FULL = "the set has no room"

    def error(self, label: str) -> KernelError:
        """The error that a caller sees."""
        match self:
            case Fault.ANSWER_LOST | Fault.BATCH_CUT:
                return AcknowledgementsLost(label)
            case Fault.DUMP_INTERRUPTED:
                return DumpInterrupted(label)
            case Fault.SET_FULL:
                return SetFull(label)
            case _:
                return kernel_error(label, "", self.value)


ERRNOS = (Fault.NOT_PERMITTED, Fault.BUSY, Fault.NO_MEMORY, Fault.NO_BUFFERS, Fault.INTERRUPTED)


class Killed(BaseException):
    """SIGKILL, seen from inside."""


class Place:
    """One operation: how it is called, and which faults can befall it."""

    def __init__(self, label: str, faults: tuple[Fault, ...]) -> None:
        self.label = label
        self.faults = faults


class Faults:
    """Counts the operations of a run and lets one of them fail.

    Attributes:
        places: every operation since `begin`, in order; filled by a run without a fault.
        struck: how often the fault came.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.struck = 0
        self._active = False
        self._at = -1
        self._fault: Fault | None = None
        self._lasting = ""
        self._last = False

    def begin(self, at: int = -1, fault: Fault | None = None, *, lasting: bool = False) -> None:
        """Count from here on.

        Args:
            at: the operation that fails, from 0; -1 for none.
            fault: None kills the agent before that operation.
            lasting: every repetition of that operation fails, too, until `end`.
        """
        self.places, self.struck, self._lasting = [], 0, ""
        self._at, self._fault, self._last, self._active = at, fault, lasting, True

    def fail_always(self, label: str, fault: Fault) -> None:
        """Let every operation that is called so fail, until `end`."""
        self._lasting, self._fault, self._last = label, fault, True

    def end(self) -> None:
        """All is well again."""
        self._active, self._lasting = False, ""

    def meet(self, place: Place) -> Fault | None:
        """Tell whether this operation fails; `Killed` if the agent ends here."""
        if not self._active:
            return None
        number = len(self.places)
        self.places.append(place)
        if number != self._at and place.label != self._lasting:
            return None
        self.struck += 1
        if self._fault is None:
            raise Killed
        if self._last:
            self._lasting = place.label
        return self._fault if self._fault in place.faults else None


class Watch:
    """Looks after each operation whether all that is needed throughout is there."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._needed: frozenset[str] = frozenset()
        self._keys: set[str] = set()
        self._rules: object = None
        self.losses: list[str] = []

    def protect(self, before: KernelFacts, after: KernelFacts) -> None:
        """From here on, what stands in both must never be missing; the rules neither."""
        self._needed = frozenset(before.lines() & after.lines())
        self._keys = before.virtual_servers.keys() & after.virtual_servers.keys()
        self._rules = self._rules_now() if before.lines() else None
        self.losses = []

    def look(self, label: str) -> None:
        """Compare, after an operation that wrote something."""
        if not self._needed:
            return
        now = of_kernel(self._kernel)
        missing = (self._needed - now.lines()) | (self._keys - now.virtual_servers.keys())
        if missing:
            self.losses.append(f"after `{label}`: {sorted(missing)[0]} is gone")
        if self._rules is not None and self._rules_now() != self._rules:
            self.losses.append(f"after `{label}`: rules differ")

    def _rules_now(self) -> object:
        return [driver.snapshot() for driver in self._kernel.rules.values()]


READING = ("list_", "find_", "count_", "read", "matches", "timeouts", "available_")
FILES = ("sysctls", "modules")


class FaultyDriver:
    """Passes calls on to a driver, one operation at a time, except where one fails."""

    def __init__(self, name: str, driver: object, faults: Faults, watch: Watch) -> None:
        self._name = name
        self._driver = driver
        self._faults = faults
        self._watch = watch

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._driver, method)
        if not callable(found):
            return found
        if method == "apply" and self._name == "addresses":
            return self._apply_addresses
        if method == "apply" and self._name == "ipvs":
            return lambda items: self._batch([*one_by_one(items)], lambda one: found([one])[0])
        if method in ("apply", "delete"):
            return lambda items: self._batch(items, lambda one: found([one])[0])
        return lambda *arguments: self._call(method, found, arguments)

    def _apply_addresses(self, link_name: str, operations: Sequence[object]) -> Results:
        driver = cast("Any", self._driver)
        self._call("list_link", lambda name: driver.apply(name, []), (link_name,))
        return self._batch(operations, lambda one: driver.apply(link_name, [one])[0])

    def _call(self, method: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        label = f"{self._name}: {method} {' '.join(_text(a) for a in arguments)}".rstrip()
        reads = method.startswith(READING)
        possible: tuple[Fault, ...]
        if reads:
            possible = (*ERRNOS, Fault.DUMP_INTERRUPTED)
        else:
            possible = ERRNOS if self._name in FILES else (*ERRNOS, Fault.ANSWER_LOST)
        fault = self._faults.meet(Place(label, possible))
        if fault not in (None, Fault.ANSWER_LOST):
            raise fault.error(label)
        result = call(*arguments)
        if not reads:
            self._watch.look(label)
        if fault is Fault.ANSWER_LOST:
            raise fault.error(label)
        return result

    def _batch(self, items: Sequence[object], carry_out: Callable[[object], KernelError | None]) -> Results:
        results: Results = []
        cut: Fault | None = None
        for item in items:
            label = f"{self._name}: {item}"
            possible: tuple[Fault, ...] = (*ERRNOS, Fault.ANSWER_LOST, Fault.BATCH_CUT)
            if isinstance(item, AddEntry):
                possible = (*possible, Fault.SET_FULL)
            fault = cut or self._faults.meet(Place(label, possible))
            if fault is Fault.BATCH_CUT:
                cut = fault
            if fault not in (None, Fault.ANSWER_LOST):
                results.append(fault.error(label))
                continue
            result = carry_out(item)
            self._watch.look(label)
            results.append(result if fault is None else fault.error(label))
        return results


def faulty(drivers: Drivers, faults: Faults, watch: Watch) -> Drivers:
    """Put faults between an agent and its drivers."""

    def wrapped(name: str, driver: object) -> Any:
        return FaultyDriver(name, driver, faults, watch)

    return Drivers(
        wrapped("ipvs", drivers.ipvs),
        wrapped("addresses", drivers.addresses),
        wrapped("ip_sets", drivers.ip_sets),
        {family: wrapped(f"rules {family.label}", rules) for family, rules in drivers.rules.items()},
        wrapped("sysctls", drivers.sysctls),
        wrapped("modules", drivers.modules),
        wrapped("conntrack", drivers.conntrack),
    )


def _text(argument: object) -> str:
    return str(getattr(argument, "name", "") or getattr(argument, "label", "") or argument)[:60]
