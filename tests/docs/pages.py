"""Markdown pages as tests see them: links, and blocks of commands with what is said about running them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>console|bash)\n(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    """One command and what it is said to print; nothing where the page does not show it."""

    text: str
    output: str


class Block(NamedTuple):
    """A fenced block of commands.

    Args:
        line: of the fence, from 1.
        mark: the comment above it; empty if there is none.
    """

    page: Path
    line: int
    mark: str
    commands: tuple[Command, ...]

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of commands of a page; a command begins with ``$ ``, other lines are its output."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.end("indent")) + 1, m["mark"] or "", _commands(m["body"], m["indent"]))
        for m in _BLOCK.finditer(text)
    ]


def _commands(body: str, indent: str) -> tuple[Command, ...]:
    commands: list[Command] = []
    for line in body.splitlines():
        plain = line.removeprefix(indent)
        if plain.startswith("$ "):
            commands.append(Command(plain[2:], ""))
        else:
            assert commands, f"a block of commands begins with `$ `, not with {plain!r}"
            text, output = commands[-1]
            commands[-1] = Command(text, f"{output}{plain}\n")
    return tuple(commands)


def links(page: Path) -> list[str]:
    """The targets of all links of a page, those to other hosts left out."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    return [target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target)]
