"""Reading plain YAML values field by field, collecting every problem with its path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import TypeVar

from ipvsagent.model.address import Address, Network
from ipvsagent.yaml_text import TruthWord

T = TypeVar("T")

_SOCKET_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns))")
LONGEST_SECONDS = 2**31 - 1
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Findings:
    """What was found wrong with a file: problems refuse it, warnings do not."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []


class Section:
    """One mapping of the file; remembers which fields were asked for, so that the others can be named.

    Every method takes a field's name and answers its value, or the default if it is absent, null or wrong.
    """

    def __init__(self, value: object, path: str, findings: Findings) -> None:
        self._path = path
        self._findings = findings
        self._known: set[str] = set()
        self._fields: dict[str, object] = {}
        self._sections: dict[str, Section] = {}
        if isinstance(value, dict):
            self._fields = {str(k): v for k, v in value.items()}
        elif value is not None:
            findings.problems.append(f"{path or 'the file'}: must be a mapping, not {_kind(value)}")

    def section(self, name: str) -> Section:
        """A mapping below this one; empty if it is absent."""
        if name not in self._sections:
            self._sections[name] = Section(self._take(name), self._at(name), self._findings)
        return self._sections[name]

    def text(self, name: str, default: str = "", allowed: Collection[str] = ()) -> str:
        """A string, perhaps one of a few."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self._wrong(name, f"must be a string, not {_kind(value)}")
            return default
        value = str(value)
        if allowed and value not in allowed:
            self.wrong(name, f"`{value}` is not allowed{near_miss(value, allowed)}; allowed: {_words(allowed)}")
            return default
        return value

    def switch(self, name: str, default: str, allowed: Collection[str]) -> str:
        """One of several words, two of them ``on`` and ``off``, which YAML takes for true and false without quotes."""
        value = _truth(self._fields.get(name))
        if value is not None:
            self._known.add(name)
            return "on" if value else "off"
        return self.text(name, default, allowed)

    def boolean(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._take(name)
        truth = _truth(value)
        if truth is not None:
            return truth
        if value is not None:
            self._wrong(name, f"must be true or false, not {_kind(value)}")
        return default

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number within limits."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self._wrong(name, f"must be a whole number, not {_kind(value)}")
            return default
        if not low <= value <= high:
            self._wrong(name, f"{value} is outside {low}..{high}")
            return default
        return value

    def seconds(self, name: str, default: float) -> float:
        """A duration as Go writes it, such as ``1m30s``."""
        value = self._take(name)
        if value is None:
            return default
        seconds = parse_duration(value) if isinstance(value, str) else None
        if seconds is None:
            self._wrong(name, f"must be a duration such as `1m30s` or `0s`, not {_kind(value)}")
            return default
        if seconds < 0:
            self._wrong(name, f"`{value}` is negative")
            return default
        if seconds > LONGEST_SECONDS:
            self._wrong(
                name, f"`{str(value)[:32]}` is longer than {LONGEST_SECONDS}s, which is all that the kernel takes"
            )
            return default
        return seconds

    def whole_seconds(self, name: str, default: int = 0) -> int:
        """A duration in whole seconds, rounded up, so that a positive one never becomes 0."""
        return -int(-self.seconds(name, default) // 1)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong(name, f"must be a list of strings, not {_kind(value)}")
            return ()
        odd = [v for v in value if not isinstance(v, str)]
        if odd:
            self._wrong(name, f"must be a list of strings; {_kind(odd[0])} is not one")
            return ()
        return tuple(str(v) for v in value)

    def networks(self, name: str) -> tuple[Network, ...]:
        """A list of CIDRs."""
        return self.parsed_networks(name, self.texts(name))

    def parsed_networks(self, name: str, texts: Collection[str]) -> tuple[Network, ...]:
        """CIDRs from texts that were read already; an address without a length is refused."""
        found = []
        for text in texts:
            network = self._parse(name, text, Network.parse)
            if network is not None and "/" not in text:
                self._wrong(name, f"`{text}` is not a CIDR; it lacks a prefix length")
            elif network is not None:
                found.append(network)
        return tuple(found)

    def address(self, name: str) -> Address | None:
        """An IP address; None if it is absent or blank."""
        text = self.text(name)
        return self._parse(name, text, Address.parse) if text else None

    def socket_address(self, name: str, default_address: Address, default_port: int) -> tuple[Address, int]:
        """``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or an address alone; absent or blank means the defaults."""
        text = self.text(name)
        if not text:
            return default_address, default_port
        try:
            return parse_socket_address(text, default_port)
        except ValueError:
            self._wrong(
                name,
                f"`{text}` is not an address with a port such as `0.0.0.0:{default_port}` or `[::]:{default_port}`",
            )
            return default_address, default_port

    def take(self, name: str) -> object:
        """The plain value, for a field with a form of its own."""
        return self._take(name)

    def wrong(self, name: str, reason: str) -> None:
        """Refuse a field."""
        self._wrong(name, reason)

    def ignore(self, *names: str) -> list[str]:
        """Know fields without reading them; answer the paths of those that are set to more than Go's zero value."""
        return [self._at(n) for n in names if not is_zero(self._take(n))]

    def unknown(self) -> list[str]:
        """What was never asked for, here and below, as ``path: is not a known field; did you mean …``."""
        found = [
            f"{self._at(n)}: is not a known field{near_miss(n, self._known)}"
            for n in self._fields
            if n not in self._known
        ]
        return found + [words for section in self._sections.values() for words in section.unknown()]

    def known(self) -> list[str]:
        """The paths of all fields that were asked for, here and below, sections themselves left out."""
        own = [self._at(n) for n in self._known if n not in self._sections]
        return own + [path for section in self._sections.values() for path in section.known()]

    def ignore_rest(self) -> None:
        """Know every field of this mapping: names are free here."""
        self._known.update(self._fields)

    def _take(self, name: str) -> object:
        self._known.add(name)
        return self._fields.get(name)

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _wrong(self, name: str, reason: str) -> None:
        self._findings.problems.append(f"{self._at(name)}: {reason}")

    def _parse(self, name: str, text: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(text)
        except ValueError as error:
            self._wrong(name, str(error))
            return None


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration; None if it is none. ``0`` needs no unit."""
    negative = text.startswith("-")
    rest = text.lstrip("+-") if len(text) - len(text.lstrip("+-")) <= 1 else ""
    if rest == "0":
        return 0.0
    position, seconds = 0, 0.0
    while position < len(rest):
        part = _DURATION.match(rest, position)
        if part is None:
            return None
        seconds += float(part[1]) * _UNIT_SECONDS[part[2]]
        position = part.end()
    if not rest:
        return None
    return -seconds if negative else seconds


def parse_socket_address(text: str, default_port: int) -> tuple[Address, int]:
    """Read an address with a port, or alone.

    Raises:
        ValueError: neither, or the port lies outside 1-65535.
    """
    found = _SOCKET_ADDRESS.fullmatch(text)
    if found is None:
        return Address.parse(text), default_port
    address, port = Address.parse(found[1] or found[2]), int(found[3])
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is outside 1-65535")
    return address, port


def format_duration(seconds: float) -> str:
    """A Go duration that `parse_duration` reads as exactly these seconds."""
    if seconds != int(seconds):
        milliseconds = f"{seconds * 1000:g}ms"
        exact = parse_duration(milliseconds) == seconds
        return milliseconds if exact else f"{Decimal(repr(seconds)):f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def near_miss(word: str, candidates: Collection[str]) -> str:
    """``; did you mean `x``` where a candidate is close, else nothing."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`" if close else ""


def is_zero(value: object) -> bool:
    """Whether a value is what Go writes for a field that nobody set."""
    match value:
        case dict():
            return all(is_zero(v) for v in value.values())
        case str():
            return value in ("", "0", "0s")
        case _:
            return not value


def _truth(value: object) -> bool | None:
    """The boolean of a value, words without quotes such as ``on`` included; None if it is none."""
    if isinstance(value, TruthWord):
        return value.truth
    return value if isinstance(value, bool) else None


def _words(allowed: Collection[str]) -> str:
    return ", ".join(a or '""' for a in allowed)


def _kind(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float() | str():
            return f"`{value}`"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case None:
            return "null"
        case _:
            return type(value).__name__
