"""Loading the configuration for a command."""

from __future__ import annotations

import sys
from pathlib import Path

from ipvsagent.config.load import LoadedConfiguration, load_configuration
from ipvsagent.config.types import Settings


def load(path: Path | None) -> LoadedConfiguration:
    """Load a configuration file and print its warnings; return the defaults without a file.

    Raises:
        ConfigurationError: the file is not valid.
    """
    if path is None:
        return LoadedConfiguration(Settings())
    loaded = load_configuration(path)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded


def load_settings(path: Path | None) -> Settings:
    """Load a configuration file like `load`, and return only the settings.

    Raises:
        ConfigurationError: the file is not valid.
    """
    return load(path).settings
