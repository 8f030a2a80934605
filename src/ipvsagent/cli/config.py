"""``ipvsagent config``: print, check and convert configuration files, without root and without a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ipvsagent.config.documents import Document, find_configuration
from ipvsagent.config.load import LoadedConfiguration, read_configuration
from ipvsagent.config.write import configuration_of, default_configuration, json_schema
from ipvsagent.errors import ConfigurationError


def run(options: argparse.Namespace) -> int:
    """Run the action in `options.action`.

    Raises:
        ConfigurationError: the file is not valid; names every problem.
    """
    match options.action:
        case "default":
            sys.stdout.write(default_configuration())
        case "schema":
            sys.stdout.write(json_schema())
        case "check":
            document, loaded = _load(options.file)
            _warn(loaded)
            print(f"{_name(options.file)}: valid{f' ({document.origin})' if document.origin else ''}")
        case _:
            _, loaded = _load(options.file)
            _warn(loaded)
            sys.stdout.write(configuration_of(loaded.settings))
    return 0


def _load(path: str) -> tuple[Document, LoadedConfiguration]:
    name = _name(path)
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    where = name
    try:
        document = find_configuration(text)
        where = f"{name}, {document.origin}" if document.origin else name
        loaded = read_configuration(document.value)
    except ConfigurationError as error:
        raise ConfigurationError([f"{where}: {problem}" for problem in error.problems]) from error
    return document, LoadedConfiguration(loaded.settings, (*document.warnings, *loaded.warnings))


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _warn(loaded: LoadedConfiguration) -> None:
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
