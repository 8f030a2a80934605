"""What decoding one object comes to, and the collector of problems found on the way."""

from __future__ import annotations

from msgspec import Struct

from ipvsagent.model.objects import Kind, KubernetesObject, ObjectKey, Problem

MOST_PROBLEMS = 20
"""Problems that are reported of one object; a slice with 1000 bad endpoints must not flood what reports them."""


class Usable(Struct, frozen=True):
    """The object, without those parts that `problems` names."""

    object: KubernetesObject
    problems: tuple[Problem, ...] = ()


class NotUsed(Struct, frozen=True):
    """The object is well but none of ours, as a headless Service is; equal to its deletion."""

    kind: Kind
    key: ObjectKey


class Unusable(Struct, frozen=True):
    """The object exists but cannot be used at all; a version known before is to stay in force.

    Invariant: `problems` is not empty.
    """

    kind: Kind
    key: ObjectKey
    problems: tuple[Problem, ...]


DecodeResult = Usable | NotUsed | Unusable


class Rejection(Exception):
    """Ends the decoding of an object that cannot be used; never leaves `source.decode`.

    Args:
        field: path of the field at fault; empty for the object as a whole.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(field, reason)


class Findings:
    """Problems of one object, in the order in which they were found."""

    def __init__(self, kind: Kind, key: ObjectKey) -> None:
        self.kind = kind
        self.key = key
        self._name = str(key) if key.name else "(without a name)"
        self._problems: list[Problem] = []
        self._count = 0

    def add(self, field: str, reason: str) -> None:
        """Note a problem.

        Args:
            field: path such as ``spec.ports[0].nodePort``.
            reason: what is wrong and what follows from it.
        """
        self._count += 1
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(Problem(self.kind.value, self._name, field, reason))

    def problems(self) -> tuple[Problem, ...]:
        """What was noted; the last one counts those left out."""
        if self._count == len(self._problems):
            return tuple(self._problems)
        rest = Problem(
            self.kind.value, self._name, "", f"has {self._count - len(self._problems)} more such problems"
        )
        return (*self._problems, rest)

    def rejected(self, rejection: Rejection) -> Unusable:
        """The result for an object that cannot be used; what was noted before comes along."""
        last = Problem(self.kind.value, self._name, rejection.field, rejection.reason)
        return Unusable(self.kind, self.key, (*self.problems(), last))
