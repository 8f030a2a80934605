"""Read YAML as plain values: the one reader for manifests and for configuration files.

It builds values from libyaml's events and does not use PyYAML's constructors. Those turn timestamps into dates and
``no`` and ``on`` into booleans, and they do not limit hostile files. This reader limits nesting, and it counts the
values that aliases repeat, so that a small file cannot grow without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

MOST_NESTING = 100
MOST_NODES = 20_000_000

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TRUTH_WORDS = {"y": True, "yes": True, "on": True, "n": False, "no": False, "off": False}
_NUMBER = re.compile(
    r"(?P<decimal>[-+]?(?:0|[1-9][0-9_]{0,30}))|[-+]?(?:0o?(?P<octal>[0-7_]{1,30})|0x(?P<hex>[0-9a-fA-F_]{1,30})"
    r"|0b(?P<binary>[01_]{1,64}))"
)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")


class YamlError(Exception):
    """The text is not YAML, or uses YAML that this reader rejects.

    Args:
        line: counted from 1; 0 if unknown.
        reason: what is wrong, without a full stop.
    """

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(line, reason)


class TruthWord(str):
    """A word without quotes that is text in YAML 1.2 and a boolean in YAML 1.1, such as ``on`` or ``no``."""

    __slots__ = ()

    @property
    def truth(self) -> bool:
        """Return the boolean that YAML 1.1 reads."""
        return _TRUTH_WORDS[self.lower()]


def parse_yaml(text: str, *, mark_truth_words: bool = False) -> list[tuple[int, object]]:
    """Parse all documents.

    Args:
        mark_truth_words: read ``on``, ``no`` and the like as `TruthWord`, for a caller that knows which fields are
            booleans. Otherwise they are ordinary text.

    Returns:
        For each document the line where it begins, counted from 1, and its value. Keys are always text.

    Raises:
        YamlError: the first error.
    """
    loader = None
    try:
        loader = _Loader(text)
        return list(_Builder(loader, mark_truth_words).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise YamlError(mark.line + 1 if mark else 0, reason or "cannot be parsed") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        raise YamlError(line, f"a character is not allowed in YAML: {error.reason}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(0, str(error).replace("\n", " ")) from error
    finally:
        if loader is not None:
            loader.dispose()


class _Builder:
    """Builds values from a parser's events."""

    def __init__(self, parser: yaml.SafeLoader, mark_truth_words: bool) -> None:
        self._parser = parser
        self._mark_truth_words = mark_truth_words
        self._anchors: dict[str, tuple[object, int]] = {}
        self._nodes = 0

    def documents(self) -> Iterator[tuple[int, object]]:
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                self._anchors.clear()
                first = self._next()
                yield _line(first), self._value(first, 0)

    def _next(self) -> Event:
        event: Event = self._parser.get_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        return event

    def _value(self, event: Event, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise YamlError(_line(event), f"has more than {MOST_NODES} values, including those that aliases repeat")
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            return value
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth == MOST_NESTING:
            raise YamlError(_line(event), f"is nested more than {MOST_NESTING} levels deep")
        before = self._nodes
        built = self._mapping(depth) if isinstance(event, MappingStartEvent) else self._sequence(event, depth)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = (built, self._nodes - before + 1)
        return built

    def _alias(self, event: AliasEvent) -> object:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise YamlError(_line(event), f"alias `{event.anchor}` has no anchor before it")
        self._nodes += known[1]
        return known[0]

    def _sequence(self, start: Event, depth: int) -> list[object]:
        if not isinstance(start, SequenceStartEvent):
            raise YamlError(_line(start), "is not a value")
        items = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._value(event, depth + 1)
            if isinstance(event, ScalarEvent):
                name = event.value
            elif isinstance(key, str):  # an alias of a text
                name = key
            else:
                raise YamlError(_line(event), "a key is not text")
            value = self._value(self._next(), depth + 1)
            if name == "<<" and isinstance(event, ScalarEvent) and event.implicit[0]:
                for other in reversed(value if isinstance(value, list) else [value]):
                    merged.update(other if isinstance(other, dict) else {})
            else:
                own[name] = value
        return merged | own if merged else own

    def _scalar(self, event: ScalarEvent) -> object:
        """Return the value of a scalar, as in YAML 1.2; octal numbers also as in YAML 1.1; no dates."""
        text: str = event.value
        tag: str | None = event.tag
        if tag is None or tag == "!":
            return self._plain(text) if event.implicit[0] else text
        if tag == _TAG + "str":
            return text
        if not tag.startswith(_TAG):
            raise YamlError(_line(event), f"tag `{tag}` is not known")
        return _plain(text)

    def _plain(self, text: str) -> object:
        value = _plain(text)
        if self._mark_truth_words and isinstance(value, str) and text.lower() in _TRUTH_WORDS:
            return TruthWord(text)
        return value


def _line(event: Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 0


def _plain(text: str) -> object:
    if text in _NULLS:
        return None
    if text[0] not in "-+.0123456789":
        return _BOOLEANS.get(text, text)
    number = _NUMBER.fullmatch(text)
    if number:
        decimal, octal, hexadecimal, binary = number.groups()
        digits, base = next((d, b) for d, b in ((decimal, 10), (octal, 8), (hexadecimal, 16), (binary, 2)) if d)
        return _integer(text, digits.lstrip("+-"), base)
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str, digits: str, base: int) -> object:
    """Return the number; underscores between digits are ignored, as in Kubernetes' own YAML reader."""
    bare = digits.replace("_", "")
    if not bare:
        return text
    return -int(bare, base) if text.startswith("-") else int(bare, base)
