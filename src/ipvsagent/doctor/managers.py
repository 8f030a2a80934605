"""Read from the files of network managers whether they manage an interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ipvsagent.doctor.snapshot import ConfigurationFile

_DUMMY_TYPES = {"Name": None, "OriginalName": None, "Kind": "dummy", "Type": "ether", "Driver": "dummy"}


def networkd_owner(files: Iterable[ConfigurationFile], interface: str) -> ConfigurationFile | None:
    """Return the ``.network`` file with which systemd-networkd manages a dummy interface, or None.

    Args:
        files: in the order in which networkd reads them; the first that matches counts.
    """
    for file in files:
        settings = list(_settings(file.text))
        match = [(key, value) for section, key, value in settings if section == "Match"]
        if not match or not all(_holds(key, value, interface) for key, value in match):
            continue
        unmanaged = [v for section, key, v in settings if section == "Link" and key == "Unmanaged"]
        return None if unmanaged and unmanaged[-1].lower() in ("yes", "true", "1", "on") else file
    return None


def leaves_dummy_alone(files: Iterable[ConfigurationFile], interface: str) -> bool:
    """Return whether NetworkManager is configured to ignore the dummy interface."""
    for file in files:
        settings = list(_settings(file.text))
        for section, key, value in settings:
            if section == "keyfile" and key == "unmanaged-devices" and _in_device_list(value, interface):
                return True
        for name in {s for s, _, _ in settings if s.startswith("device")}:
            own = {key: value for section, key, value in settings if section == name}
            unmanaged = own.get("managed", "").lower() in ("0", "false", "no")
            if unmanaged and _in_device_list(own.get("match-device", ""), interface):
                return True
    return False


def _settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and value of each line of an INI file, in which keys may repeat."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield section, key.strip().removesuffix("+"), value.strip()


def _holds(key: str, value: str, interface: str) -> bool:
    """Return whether a line of ``[Match]`` matches a dummy interface; lines about hardware do not."""
    if key not in _DUMMY_TYPES:
        return False
    text = _DUMMY_TYPES[key] or interface
    negated = value.startswith("!")
    return any(fnmatchcase(text, pattern) for pattern in value.removeprefix("!").split()) is not negated


def _in_device_list(value: str, interface: str) -> bool:
    for item in value.replace(",", ";").split(";"):
        kind, _, pattern = item.strip().partition(":")
        if kind == "*" or (kind == "type" and pattern == "dummy") or (kind == "driver" and pattern == "dummy"):
            return True
        if kind == "interface-name" and fnmatchcase(interface, pattern.removeprefix("=")):
            return True
    return False
