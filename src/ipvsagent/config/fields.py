"""The rows of the table of settings: how to declare and list them.

`config.types` holds the table itself: the dataclass `Settings`, in which each attribute is declared by `setting`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from ipvsagent.config.forms import Form

T = TypeVar("T")
D = TypeVar("D")

_ROW = "row"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A field as its declaration describes it; see `setting`."""

    path: str
    form: Form[Any]  # of the attribute's type, which the signature of `setting` makes mypy check
    words: str
    restart: bool
    ours: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Field(Row):
    """A field of the configuration, with its place in the settings.

    Args:
        attribute: the names that lead from `Settings` to the value, such as ``timeouts.tcp_seconds``.
        default: of the setting.
    """

    attribute: str
    default: object

    def value(self, settings: object) -> object:
        """Return the field's value in these settings."""
        return cast("object", operator.attrgetter(self.attribute)(settings))

    def plain(self, settings: object) -> object:
        """Return the field's value as our file writes it."""
        return self.form.write(self.value(settings))

    def plain_go(self, settings: object) -> object:
        """Return the field's value as Kubernetes' programs print it."""
        return (self.form.write_go or self.form.write)(self.value(settings))


def setting(path: str, form: Form[T], default: T, words: str, *, restart: bool = False, ours: bool = False) -> T:
    """Declare an attribute of the settings together with its field of the configuration file.

    Args:
        path: the field's name in the file, such as ``ipvs.scheduler``.
        form: how its value is read and written; has the unit.
        default: the attribute's value if the file does not set it.
        words: what the field does, for the reference, the schema and the comments of the default file.
        restart: a change takes effect after a restart of the agent; otherwise immediately.
        ours: kube-proxy's kind has no such field.

    Returns:
        A dataclass field, declared with the default's type: mypy then checks that form, default and attribute agree.
    """
    row = Row(path, form, words, restart, ours)
    declared: T = dataclasses.field(default=default, metadata={_ROW: row})
    return declared


def fields_of(group: Any, prefix: str = "") -> Iterator[Field]:
    """Yield all fields that a dataclass and the dataclasses in it declare, in the order of declaration."""
    for attribute in dataclasses.fields(group):
        row, name = attribute.metadata.get(_ROW), f"{prefix}{attribute.name}"
        if row is None:
            yield from fields_of(getattr(group, attribute.name), f"{name}.")
        else:
            yield Field(row.path, row.form, row.words, row.restart, row.ours, name, attribute.default)


def with_values(group: D, values: Mapping[str, object]) -> D:
    """Return a copy of a dataclass with some values changed; each is named by its field's path."""
    changes: dict[str, object] = {}
    for attribute in dataclasses.fields(cast("Any", group)):
        row = attribute.metadata.get(_ROW)
        if row is None:
            changes[attribute.name] = with_values(getattr(group, attribute.name), values)
        elif row.path in values:
            changes[attribute.name] = values[row.path]
    return cast("D", dataclasses.replace(cast("Any", group), **changes))
