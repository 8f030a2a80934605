"""Prometheus' text format, for the metric families that have a sample for each Service port or real server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ipvsagent.model.statistics import ServicePortName


class Labels:
    """Label texts, cached by name: formatting them takes longer than the rest of a large response."""

    def __init__(self) -> None:
        self._texts: dict[tuple[ServicePortName, str], str] = {}

    def text(self, name: ServicePortName, endpoint: str = "") -> str:
        """The labels of a Service's port, or of one of its real servers, in braces."""
        text = self._texts.get((name, endpoint))
        if text is None:
            pairs = [
                ("namespace", name.namespace),
                ("service", name.service),
                ("port", name.port),
                ("protocol", name.protocol.name),
            ]
            if endpoint:
                pairs.append(("endpoint", endpoint))
            text = "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in pairs) + "}"
            self._texts[name, endpoint] = text
        return text

    def keep(self, count: int) -> None:
        """Clear the cache if most of its texts are no longer used.

        Args:
            count: the number of texts in use.
        """
        if len(self._texts) > 2 * count + 1024:
            self._texts.clear()


def family_text(name: str, kind: str, documentation: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    """One family in Prometheus' text format.

    prometheus_client builds an object and sorts labels for each of 70,000 samples, which takes ten times as long.

    Args:
        samples: label texts with values.
    """
    yield f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n"
    yield from [f"{name}{labels} {value}\n" for labels, value in samples]


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
