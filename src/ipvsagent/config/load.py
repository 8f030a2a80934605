"""Read a configuration file of our kind, or an unchanged one of kube-proxy (CFG rules)."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ipvsagent.config.kube_proxy import KUBE_PROXY_API_VERSION, KUBE_PROXY_KIND, read_kube_proxy
from ipvsagent.config.other_documents import explain
from ipvsagent.config.reader import OUR_API_VERSION, OUR_KIND, Findings, read_settings
from ipvsagent.config.types import Settings
from ipvsagent.config.words import shown
from ipvsagent.errors import ConfigurationError
from ipvsagent.yaml_text import YamlError, parse_yaml


class LoadedConfiguration(Struct, frozen=True):
    """Valid settings, and warnings about the file.

    Args:
        text: the content of the file; None if the settings do not come from a file.
    """

    settings: Settings
    warnings: tuple[str, ...] = ()
    text: str | None = None


def load_configuration(path: Path) -> LoadedConfiguration:
    """Read a configuration file.

    Raises:
        ConfigurationError: the file cannot be read or is not valid; names every problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    try:
        return replace(parse_configuration(text), text=text)
    except ConfigurationError as error:
        raise ConfigurationError([f"{path}: {problem}" for problem in error.problems]) from error


def parse_configuration(text: str) -> LoadedConfiguration:
    """Read a configuration from YAML text; empty text gives the defaults.

    Raises:
        ConfigurationError: every problem, with the path of its field and what is allowed.
    """
    values = parse_documents(text)
    if len(values) > 1:
        raise ConfigurationError([f"does not parse: holds {len(values)} YAML documents; {_ONE}"])
    return read_configuration(values[0] if values else None)


def parse_documents(text: str) -> list[object]:
    """Read the YAML documents of a text; empty ones are left out.

    Raises:
        ConfigurationError: the text is not YAML.
    """
    try:
        return [value for _, value in parse_yaml(text, mark_truth_words=True) if value is not None]
    except YamlError as error:
        where = f"line {error.line}: " if error.line else ""
        raise ConfigurationError([f"does not parse: {where}{error.reason}"]) from error


_ONE = "allowed: one; `ipvsagent config convert` finds the configuration among several"


def read_configuration(value: object) -> LoadedConfiguration:
    """Read a configuration from plain YAML values; None gives the defaults.

    Raises:
        ConfigurationError: every problem, with the path of its field and what is allowed.
    """
    if value is None:
        return LoadedConfiguration(Settings())
    if isinstance(value, str) and value.startswith("--"):
        hint = "`ipvsagent config convert` converts them to a configuration"
        raise ConfigurationError([f"the file: holds flags of kube-proxy; {hint}"])
    if not isinstance(value, dict):
        raise ConfigurationError([f"the file: must be a mapping, not {shown(value)}"])
    findings = Findings()
    kind, version = value.get("kind") or "", value.get("apiVersion") or ""
    warnings: list[str] = []
    if (version, kind) == (OUR_API_VERSION, OUR_KIND):
        settings = read_settings(value, findings)
        findings.problems += findings.unknown
    elif (version, kind) == (KUBE_PROXY_API_VERSION, KUBE_PROXY_KIND):
        settings, warnings = read_kube_proxy(value, findings)
    else:
        raise ConfigurationError([explain(value)])
    if findings.problems:
        raise ConfigurationError(findings.problems)
    return LoadedConfiguration(settings, tuple(warnings))
