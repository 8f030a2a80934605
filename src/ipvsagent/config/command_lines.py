"""Find kube-proxy's flags in command lines: a container's command, a shell line, a unit file, a file of flags."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePath

_PROGRAMS = ("kube-proxy", "kube-proxy.exe")
_ALL_IN_ONE = ("hyperkube", "km")  # programs that include kube-proxy, as `hyperkube proxy`
_OPERATORS = "|&;<>"
_REDIRECTION = re.compile(r"(?<!\S)\d*(?:>>?|<)&?\s*\S+")
_SUBSTITUTION = re.compile(r"\$\([^()\n]*\)|`[^`\n]*`|\$\{[^{}\n]*\}")
_COMMENT = re.compile(r"(?<!\S)#.*$")
_BLANK = "\0"  # stands for a blank inside a substitution
_K3S_FLAG = "--kube-proxy-arg"
_ASSIGNMENT = re.compile(r"^Exec\w+=[-@:+!]*", re.MULTILINE)


def flags_in_command(words: Sequence[str]) -> list[str] | None:
    """Return the words after kube-proxy in a container's command.

    Returns:
        None if the command does not name kube-proxy. Words that are shell commands are searched, too.
    """
    programs = [i for i, word in enumerate(words) if _is_program(words, i)]
    if programs:
        # The words before belong to a program that starts kube-proxy, such as kOps' go-runner.
        return list(words[programs[-1] + 1 :])
    found = [flags for word in words if re.search(r"\s", word) and (flags := flags_in_script(word)) is not None]
    return found[-1] if found else None


def flags_in_script(text: str) -> list[str] | None:
    """Return the words after kube-proxy in a shell script; None if it does not run kube-proxy."""
    best: list[str] | None = None
    for words in _commands(text):
        programs = [i for i in range(len(words)) if _is_program(words, i)]
        if programs and not best:
            best = words[programs[-1] + 1 :]
            if not any(word.startswith("-") for word in best):
                best = []  # perhaps a test such as `[ -x kube-proxy ]`; another command may follow
    return best


def flags_in_text(text: str) -> list[str] | None:
    """Return the flags in a text that is not a YAML object: a file of flags, a unit file, a file of variables.

    Returns:
        None if there are none.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]
    if lines and all(line.lstrip().startswith("-") for line in lines):
        return [word for line in lines for word in _commands(line)[0]]
    flags = flags_in_script(_ASSIGNMENT.sub("", text))
    if flags:
        return flags
    # Variables such as KUBE_PROXY_ARGS="--proxy-mode=ipvs".
    values = re.findall(r"^\s*(?:export\s+)?KUBE_?PROXY\w*=(.*)$", _without_continuations(text), re.MULTILINE)
    found = [word for value in values for line in _commands(value)[:1] for quoted in line for word in quoted.split()]
    return found if any(word.startswith("-") for word in found) else None


def k3s_flags_in_text(text: str) -> list[str]:
    """Return the values of ``--kube-proxy-arg`` in a command line of k3s or RKE2, such as that of a unit file."""
    found = []
    for words in _commands(text.replace("\n", " ") if "\\\n" not in text else text):
        for index, word in enumerate(words):
            name, equals, value = word.partition("=")
            if name == _K3S_FLAG and equals:
                found.append(value)
            elif word == _K3S_FLAG and index + 1 < len(words):
                found.append(words[index + 1])
    return found


def _is_program(words: Sequence[str], index: int) -> bool:
    name = PurePath(words[index]).name
    if name in _PROGRAMS:
        return True
    return name in ("proxy", "kube-proxy") and index > 0 and PurePath(words[index - 1]).name in _ALL_IN_ONE


def _without_continuations(text: str) -> str:
    return text.replace("\\\r\n", " ").replace("\\\n", " ")


def _commands(text: str) -> list[list[str]]:
    """Split a shell script into commands and words; quotes and substitutions are kept together."""
    text = _SUBSTITUTION.sub(lambda found: re.sub(r"\s", _BLANK, found[0]), _without_continuations(text))
    commands = [_words(_COMMENT.sub("", line)) for line in text.splitlines()]
    return [command for line in commands for command in line] or [[]]


def _words(line: str) -> list[list[str]]:
    lexer = shlex.shlex(_REDIRECTION.sub(" ", line), posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    try:
        for token in lexer:
            if token and set(token) <= set(_OPERATORS):
                commands.append([])
            else:
                commands[-1].append(token.replace(_BLANK, " "))
    except ValueError:  # an unclosed quote: not a shell command
        return [[]]
    return commands
