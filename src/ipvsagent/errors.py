"""All errors that this product raises, as one tree.

A class exists where a caller acts differently; library errors are wrapped at the edge of the room that
calls the library, with ``from``.

    AgentError
    ├── ConfigurationError      settings that cannot be used: every problem at once (exit code 2)
    ├── SourceError             the API server or folder that objects come from cannot be read
    ├── NodeUnusable            this node lacks what the agent cannot work without (exit code 1)
    └── KernelError             the kernel, or a tool that talks to it, rejected an operation
        ├── AlreadyExists       EEXIST: the object to add exists
        ├── NotFound            ESRCH, ENOENT, ENODEV, EADDRNOTAVAIL: the object to change or remove does not exist
        ├── NotPermitted        EPERM, EACCES: the process lacks a capability
        ├── NotSupported        the kernel lacks the module or the feature
        ├── InvalidRequest      EINVAL, ERANGE: a retry cannot succeed
        ├── SetFull             an ipset has reached its `maxelem`
        ├── Busy                EBUSY, EAGAIN, EINTR, or an object that is in use: retry later
        ├── AcknowledgementsLost   the kernel's answers are missing: the state must be read again
        ├── DumpInterrupted     the table changed while it was listed: list it again
        ├── ToolMissing         a program (iptables, say) is not installed
        └── ToolFailed          a program ended with an error
"""

from __future__ import annotations

import errno as errno_names
from collections.abc import Sequence


class AgentError(Exception):
    """Base of every error in this tree."""


class ConfigurationError(AgentError):
    """The configuration cannot be used.

    Args:
        problems: one sentence each, naming the field and what is allowed; never empty.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class SourceError(AgentError):
    """The folder or the API server that objects come from cannot be read."""


class NodeUnusable(AgentError):
    """This node lacks something that the agent cannot work without.

    Args:
        fact: what is wrong.
        remedy: what to do about it.
    """

    def __init__(self, fact: str, remedy: str) -> None:
        self.fact = fact
        self.remedy = remedy
        super().__init__(f"{fact}\nhint: {remedy}")


class KernelError(AgentError):
    """An operation on the kernel failed.

    Args:
        operation: what was tried, as a verb phrase such as ``add virtual server``.
        subject: the object it was tried on, as text.
        errno: the kernel's errno, or 0 if there is none.
        detail: further text, such as a tool's output.
    """

    def __init__(self, operation: str, subject: str = "", errno: int = 0, detail: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.errno = errno
        self.detail = detail
        what = f"{operation} {subject}".rstrip()
        why = detail or errno_names.errorcode.get(errno, f"error {errno}" if errno else type(self).__name__)
        super().__init__(f"{what}: {why}")


class AlreadyExists(KernelError):
    """EEXIST."""


class NotFound(KernelError):
    """ESRCH, ENOENT, ENODEV or EADDRNOTAVAIL."""


class NotPermitted(KernelError):
    """EPERM or EACCES."""


class NotSupported(KernelError):
    """The kernel lacks the module, family or feature."""


class InvalidRequest(KernelError):
    """EINVAL or ERANGE; a retry cannot succeed."""


class SetFull(KernelError):
    """An ipset holds `maxelem` entries already."""


class Busy(KernelError):
    """EBUSY, EAGAIN, EINTR, or the object is in use."""


class AcknowledgementsLost(KernelError):
    """The kernel's answers are missing (ENOBUFS, or a batch that the kernel cut short)."""


class DumpInterrupted(KernelError):
    """The kernel marked a listing as inconsistent (NLM_F_DUMP_INTR)."""


class ToolMissing(KernelError):
    """A program that the driver starts is not installed."""


class ToolFailed(KernelError):
    """A program that the driver started ended with an error."""


_BY_ERRNO: dict[int, type[KernelError]] = {
    errno_names.EEXIST: AlreadyExists,
    errno_names.ESRCH: NotFound,
    errno_names.ENOENT: NotFound,
    errno_names.ENODEV: NotFound,
    errno_names.EADDRNOTAVAIL: NotFound,
    errno_names.EPERM: NotPermitted,
    errno_names.EACCES: NotPermitted,
    errno_names.EOPNOTSUPP: NotSupported,
    errno_names.EPROTONOSUPPORT: NotSupported,
    errno_names.EAFNOSUPPORT: NotSupported,
    errno_names.EINVAL: InvalidRequest,
    errno_names.ERANGE: InvalidRequest,
    errno_names.EBUSY: Busy,
    errno_names.EAGAIN: Busy,
    errno_names.EINTR: Busy,
    errno_names.ENOBUFS: AcknowledgementsLost,
}


def kernel_error(operation: str, subject: str, errno: int, detail: str = "") -> KernelError:
    """Return an error of the class that belongs to an errno (positive); plain `KernelError` if there is none."""
    return _BY_ERRNO.get(errno, KernelError)(operation, subject, errno, detail)
