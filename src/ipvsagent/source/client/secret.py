"""A text that is never printed: tokens, passwords, private keys.

Code that needs the text calls `reveal`, which is easy to find in a review. Everything else (`repr`, `str`, format
strings, log fields, tracebacks, JSON) shows `HIDDEN`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import quote

HIDDEN = "<hidden>"
_SHORTEST = 4  # a shorter text would hide ordinary words


class Secret:
    """Holds a text and shows `HIDDEN` instead."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text; pass it only to a socket, a child process or a parser."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


NO_SECRET = Secret()


def hide(text: str, secrets: Iterable[Secret]) -> str:
    """Replace each secret in a received text, for example in a server's message that quotes a header."""
    for secret in sorted(secrets, key=lambda s: -len(s.reveal())):  # the longest first: one may contain another
        for shape in (secret.reveal(), quote(secret.reveal(), safe="")):
            if len(shape) >= _SHORTEST:
                text = text.replace(shape, HIDDEN)
    return text


def without_user(url: str) -> str:
    """Hide user and password of a URL or host."""
    scheme, slashes, rest = url.rpartition("//")
    before, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}{HIDDEN if before else ''}{at}{host}"
