"""Configurations as trees of plain values: store a value, and detect unset values."""

from __future__ import annotations


def put(tree: dict[str, object], path: str, value: object) -> None:
    """Put a value into a tree of mappings at a path such as ``ipvs.scheduler``."""
    *sections, name = path.split(".")
    for section in sections:
        below = tree.setdefault(section, {})
        if isinstance(below, dict):  # always: no path leads through a value
            tree = below
    tree[name] = value


def is_zero(value: object) -> bool:
    """Return whether a value is what Go writes for an unset field."""
    match value:
        case dict():
            return all(is_zero(v) for v in value.values())
        case str():
            return value in ("", "0", "0s")
        case _:
            return not value
