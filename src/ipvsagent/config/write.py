"""Write settings as text: a configuration file, its JSON Schema, and the tables of the reference.

All texts are made from the table of settings (`config.types`).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable

import yaml

from ipvsagent.config.fields import Field
from ipvsagent.config.reader import IDLE_FIELDS, OUR_API_VERSION, OUR_KIND
from ipvsagent.config.trees import put
from ipvsagent.config.types import FIELDS, Settings

_HEAD = f"apiVersion: {OUR_API_VERSION}\nkind: {OUR_KIND}\n"
_WIDTH = 100


def default_configuration() -> str:
    """Write a complete `AgentConfiguration` with all defaults, each field explained in a comment."""
    return _HEAD + "".join(_lines(FIELDS, Settings(), explained=True))


def configuration_of(settings: Settings) -> str:
    """Write the shortest `AgentConfiguration` that gives these settings: the fields that differ from the defaults."""
    defaults = Settings()
    return _HEAD + "".join(_lines((f for f in FIELDS if f.plain(settings) != f.plain(defaults)), settings))


def configuration_tree(settings: Settings) -> dict[str, object]:
    """Return a complete `AgentConfiguration` as plain values."""
    tree: dict[str, object] = {"apiVersion": OUR_API_VERSION, "kind": OUR_KIND}
    for field in FIELDS:
        put(tree, field.path, field.plain(settings))
    return tree


def json_schema() -> str:
    """Write the JSON Schema of an `AgentConfiguration`."""
    sections: dict[str, dict[str, object]] = {
        "": {"apiVersion": {"const": OUR_API_VERSION}, "kind": {"const": OUR_KIND}}
    }
    for field in FIELDS:
        section, name = _split(field.path)
        schema = {"description": field.words, **field.form.schema, "default": field.plain(Settings())}
        sections.setdefault(section, {})[name] = schema
    for path in IDLE_FIELDS:
        section, name = _split(path)
        sections[section][name] = {"description": "Accepted; has no effect."}
    top = sections.pop("")
    for section, properties in sections.items():
        # The names of feature gates are free: those of kube-proxy are accepted.
        free = section == "featureGates"
        top[section] = {"type": "object", "properties": properties, "additionalProperties": free}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": OUR_KIND,
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": top,
        "additionalProperties": False,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def reference_table(*, ours: bool) -> str:
    """Write a Markdown table of the fields that only our kind has, or of the fields that both kinds have."""
    lines = ["| Field | Default | Allowed | Change | What it does |", "|---|---|---|---|---|"]
    for field in FIELDS:
        if field.ours is ours:
            change = "restart" if field.restart else "live"
            shown = _flow(field.plain(Settings()))
            lines.append(f"| `{field.path}` | `{shown}` | {field.form.allowed} | {change} | {field.words} |")
    return "\n".join(lines) + "\n"


def _lines(fields: Iterable[Field], settings: Settings, *, explained: bool = False) -> Iterable[str]:
    """Yield the lines of a file: fields in the order of the table, those of one section together."""
    sections: dict[str, list[Field]] = {}
    for field in fields:
        section, name = _split(field.path)
        sections.setdefault(section or name, []).append(field)
    for section, members in sections.items():
        indent = "  " if members[0].path != section else ""
        if explained and indent:
            yield "\n"
        if indent:
            yield f"{section}:\n"
        for field in members:
            if explained:
                yield from _comment(field, indent)
            yield f"{indent}{_split(field.path)[1]}: {_flow(field.plain(settings))}\n"


def _comment(field: Field, indent: str) -> Iterable[str]:
    words = f"{field.words} Allowed: {field.form.allowed}."
    if field.restart:
        words += " A change takes effect after a restart."
    if not indent:
        yield "\n"
    for line in textwrap.wrap(words, _WIDTH, break_on_hyphens=False):
        yield f"{indent}# {line}\n"


def _flow(value: object) -> str:
    """Write a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _split(path: str) -> tuple[str, str]:
    section, _, name = path.rpartition(".")
    return section, name
