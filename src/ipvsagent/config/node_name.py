"""The name of this node."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from ipvsagent.config.types import Settings
from ipvsagent.errors import ConfigurationError


def choose_node_name(option: str, settings: Settings, environment: Mapping[str, str]) -> str:
    """Return the node's name: option, `NODE_NAME`, configuration, host name; trimmed and in lower case (CFG-02).

    Raises:
        ConfigurationError: all of them are blank.
    """
    candidates = (*_given_names(option, settings, environment), socket.gethostname())
    name = next((c.strip().lower() for c in candidates if c.strip()), "")
    if not name:
        raise ConfigurationError(["the node has no name: pass `--node-name`"])
    return name


def is_host_name_only(option: str, settings: Settings, environment: Mapping[str, str]) -> bool:
    """Whether no name is given, so that the host name is the node's."""
    return not any(name.strip() for name in _given_names(option, settings, environment))


def _given_names(option: str, settings: Settings, environment: Mapping[str, str]) -> tuple[str, str, str]:
    return option, environment.get("NODE_NAME", ""), settings.hostname_override
