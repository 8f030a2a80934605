"""`make reference`: give the chart the fields of the configuration.

Each field of the agent is a value below `config` in the chart's values.yaml and values.schema.json. Its schema comes
from the table of the configuration. A new field gets its default and its words in values.yaml; what is there already
stays, since the chart has its own defaults and words.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ipvsagent.config.fields import Field
from ipvsagent.config.patterns import ADDRESS_WITH_PORT_SCHEMA
from ipvsagent.config.types import FIELDS, Settings

CHART = Path(__file__).parents[1] / "charts" / "ipvsagent"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
_WIDTH = 120
_NARROWER = {  # the templates take the port from these two
    "healthzBindAddress": ADDRESS_WITH_PORT_SCHEMA,
    "metricsBindAddress": {"anyOf": [{"const": ""}, ADDRESS_WITH_PORT_SCHEMA]},
}


def with_missing_values(text: str, fields: Sequence[Field]) -> str:
    """Return a values.yaml to which the fields that it lacks are added, each at the end of its section."""
    for field in fields:
        section, _, name = field.path.rpartition(".")
        whole = _below(yaml.compose(text, yaml.SafeLoader), "config")
        group = _below(whole, section) if section else whole
        if group is not None and _below(group, name) is not None:
            continue
        lines = text.splitlines()
        indent = "    " if section else "  "
        added = list(_lines(field, name, indent))
        if group is None:
            added.insert(0, f"  {section}:")
        end = _last_line(group or whole) + 1
        text = "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"
    return text


def with_schemas(text: str, fields: Sequence[Field]) -> str:
    """Return a values.schema.json whose part for the configuration has the schemas of the fields (DEV-88)."""
    whole = json.loads(text)
    for field in fields:
        section, _, name = field.path.rpartition(".")
        group: dict[str, Any] = whole["properties"]["config"]
        if section:
            new = {"type": "object", "properties": {}, "additionalProperties": False}
            group = group["properties"].setdefault(section, new)
        group["properties"][name] = dict(_NARROWER.get(field.path, field.form.schema))
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _lines(field: Field, name: str, indent: str) -> Iterator[str]:
    for number, words in enumerate(textwrap.wrap(field.words, _WIDTH - 9, break_on_hyphens=False)):
        yield f"{indent}# {'' if number else '-- '}{words}"
    yield f"{indent}{name}: {json.dumps(field.plain(Settings()))}"


def _below(node: yaml.Node | None, name: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def _last_line(node: yaml.Node | None) -> int:
    """Return the number of the last line of a mapping, counted from 0; its own end mark lies behind comments."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    return node.end_mark.line if node else 0


def main() -> None:
    """Write both files, where they change."""
    for path, complete in ((VALUES, with_missing_values), (SCHEMA, with_schemas)):
        text = path.read_text(encoding="utf-8")
        new = complete(text, FIELDS)
        if new != text:
            print(path.name)
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
