"""The ipsets, over nfnetlink."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import groupby

from pyroute2.netlink import NETLINK_NETFILTER, NLM_F_CREATE, NLM_F_EXCL
from pyroute2.netlink.nfnetlink import ipset as constants

from ipvsagent.errors import (
    AcknowledgementsLost,
    AlreadyExists,
    Busy,
    InvalidRequest,
    KernelError,
    NotFound,
    NotSupported,
    SetFull,
    kernel_error,
)
from ipvsagent.kernel.api import Results
from ipvsagent.kernel.netlink.codecs import ipsets as codec
from ipvsagent.kernel.netlink.sockets import LOST, Batch, Message, NetlinkSocket
from ipvsagent.model.ops import AddEntry, EntryOperation
from ipvsagent.model.state import ObservedSet, SetEntry, SetSpec

_FIRST_OWN_NUMBER = 4096  # IPSET_ERR_PRIVATE
_NO_IPSETS = "the kernel has no ipsets (module `ip_set`, `CONFIG_IP_SET`)"

_MEANINGS = {  # enum ipset_errno of include/uapi/linux/netfilter/ipset/ip_set.h
    4097: "the kernel speaks another version of the ipset protocol",
    4099: "no more ipsets can be made (module option `ip_set max_sets`)",
    4102: "the ipsets are of different types",
    4104: "the prefix length is not allowed",
    4105: "the netmask is not allowed",
    4106: "the address family does not fit the ipset",
    4107: "the ipset has no timeouts",
    4109: "an IPv4 address is needed",
    4110: "an IPv6 address is needed",
    4111: "the ipset has no counters",
    4112: "the ipset has no comments",
}

_Run = list[int]
"""Places in a batch of operations that share a message."""


class IpSetDriver:
    """The ipsets of the creating thread's network namespace."""

    def __init__(self) -> None:
        # The request that an error answer repeats has the number of the failed entry: so no NETLINK_CAP_ACK.
        self._netlink = NetlinkSocket(NETLINK_NETFILTER, capped_answers=False)
        self._revisions: dict[tuple[str, int | None], int] = {}

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def list_sets(self) -> list[ObservedSet]:
        """As in `api.IpSets`."""
        request = _message(constants.IPSET_CMD_LIST, codec.encode_list(headers_only=True))
        try:
            payloads = self._netlink.dump(request, operation="list ipsets")
        except InvalidRequest as error:  # nfnetlink's answer for a subsystem that is absent
            raise NotSupported("list ipsets", "", error.errno, _NO_IPSETS) from error
        return [codec.decode_set(payload) for payload in payloads]

    def list_entries(self, spec: SetSpec) -> list[SetEntry]:
        """As in `api.IpSets`."""
        request = _message(constants.IPSET_CMD_LIST, codec.encode_list(spec.name))
        payloads = self._netlink.dump(request, operation="list ipset", subject=spec.name)
        return [entry for payload in payloads for entry in codec.decode_entries(payload, spec)]

    def create(self, spec: SetSpec) -> None:
        """As in `api.IpSets`."""
        request = _message(
            constants.IPSET_CMD_CREATE, codec.encode_create(spec, self._revision(spec)), NLM_F_CREATE | NLM_F_EXCL
        )
        self._request(request, "create ipset", spec.name)

    def destroy(self, name: str) -> None:
        """As in `api.IpSets`."""
        # Without NLM_F_EXCL the kernel ignores a missing set.
        request = _message(constants.IPSET_CMD_DESTROY, codec.encode_name(name), NLM_F_EXCL)
        self._request(request, "destroy ipset", name)

    def swap(self, first: str, second: str) -> None:
        """As in `api.IpSets`."""
        request = _message(constants.IPSET_CMD_SWAP, codec.encode_swap(first, second))
        self._request(request, "swap ipsets", f"{first} and {second}")

    def apply(self, operations: Sequence[EntryOperation]) -> Results:
        """As in `api.IpSets`.

        Operations on the same set keep their order; sets do not depend on one another.
        """
        results: Results = [None] * len(operations)
        # The first entry that fails ends its message. The later operations on its set are sent again, one entry in each
        # message, so there are at most two rounds. Adding an entry again does no harm.
        again = self._round(operations, _runs(operations), results)
        self._round(operations, [[index] for index in again], results)
        return results

    def _round(self, operations: Sequence[EntryOperation], runs: Sequence[_Run], results: Results) -> list[int]:
        """Send each run as one message and store the results.

        Returns:
            The operations to send again: those after a failed entry of the same set.
        """
        batch = Batch()
        for run in runs:
            batch.add(*_run_message(operations, run))
        failures = self._netlink.execute_batch(batch)
        cut_short: set[str] = set()
        again: list[int] = []
        for place, run in enumerate(runs):
            number, answer = failures.get(place, (0, b""))
            set_name = operations[run[0]].entry.set_name
            if set_name in cut_short:
                again += run
                continue
            line = codec.decode_line_number(answer) if number > 0 else 0
            if not 1 <= line <= len(run):  # the message as a whole
                for index in run:
                    results[index] = _error(str(operations[index]), number) if number else None
                continue
            for index in run[: line - 1]:
                results[index] = None
            failed = run[line - 1]
            results[failed] = _error(str(operations[failed]), number)
            if len(run) > 1:
                cut_short.add(set_name)
                again += run[line:]
        return again

    def _revision(self, spec: SetSpec) -> int:
        key = (spec.type.value, spec.family)
        if key not in self._revisions:
            request = _message(constants.IPSET_CMD_TYPE, codec.encode_type_query(spec))
            try:
                answer = self._netlink.ask(request, operation="find ipset type", subject=spec.type.value)
            except KernelError as error:
                raise _type_error(spec, error) from error
            self._revisions[key] = codec.decode_revision(answer)
        return self._revisions[key]

    def _request(self, message: Message, operation: str, subject: str) -> None:
        number = self._netlink.execute([message])[0]
        if number:
            raise _error(operation, number, subject)


def _type_error(spec: SetSpec, error: KernelError) -> KernelError:
    """Name the missing part if the kernel does not know a set type (DEV-67); else return the error as it is."""
    if isinstance(error, InvalidRequest):
        detail = _NO_IPSETS
    elif isinstance(error, NotFound) or error.errno == constants.IPSET_ERR_FIND_TYPE:
        module = "ip_set_" + spec.type.value.replace(":", "_").replace(",", "")
        detail = f"the kernel has no set type `{spec.type.value}` (module `{module}`, `CONFIG_{module.upper()}`)"
    else:
        return error
    return NotSupported(error.operation, error.subject, error.errno, detail)


def _message(command: int, payload: bytes, flags: int = 0) -> Message:
    return Message(codec.message_type(command), payload, flags)


def _runs(operations: Sequence[EntryOperation]) -> list[_Run]:
    """Group a batch by set, and split it into runs of the same kind that fit into one message."""
    by_set: dict[str, _Run] = {}
    for index, operation in enumerate(operations):
        by_set.setdefault(operation.entry.set_name, []).append(index)
    size = codec.ENTRIES_PER_MESSAGE
    runs: list[_Run] = []
    for indices in by_set.values():
        for _, alike in groupby(indices, key=lambda index: type(operations[index])):
            run = list(alike)
            runs += [run[start : start + size] for start in range(0, len(run), size)]
    return runs


def _run_message(operations: Sequence[EntryOperation], run: _Run) -> Message:
    first = operations[run[0]]
    command = constants.IPSET_CMD_ADD if isinstance(first, AddEntry) else constants.IPSET_CMD_DEL
    entries = [operations[i].entry for i in run]
    return _message(command, codec.encode_entries(first.entry.set_name, entries))


def _error(operation: str, number: int, subject: str = "") -> KernelError:
    """Map ipset's own error numbers (4096 and up), and the kernel's."""
    if number == LOST:
        return AcknowledgementsLost(operation, subject)
    match number:
        case constants.IPSET_ERR_EXIST:
            return AlreadyExists(operation, subject, number)
        case constants.IPSET_ERR_BUSY | constants.IPSET_ERR_REFERENCED:
            return Busy(operation, subject, number, "the set is in use")
        case constants.IPSET_ERR_EXIST_SETNAME2:
            return kernel_error(operation, subject, errno.ENOENT)
        case constants.IPSET_ERR_FIND_TYPE:
            return NotSupported(operation, subject, number, "the kernel does not know the set's type or its revision")
        case constants.IPSET_ERR_INVALID_CIDR | constants.IPSET_ERR_TYPE_MISMATCH:
            return InvalidRequest(operation, subject, number, _MEANINGS[number])
        case constants.IPSET_ERR_TYPE_SPECIFIC:  # IPSET_ERR_HASH_FULL
            return SetFull(operation, subject, number, "the set is full")
        case _:
            return kernel_error(operation, subject, number, _MEANINGS.get(number, _unknown(number)))


def _unknown(number: int) -> str:
    return f"the kernel's ipsets refuse it with number {number}" if number > _FIRST_OWN_NUMBER else ""
