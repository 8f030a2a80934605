"""Checks of the schedulers that the configuration and Services request."""

from __future__ import annotations

from collections.abc import Iterator

from ipvsagent.doctor.finding import Trouble, enumerate_few, fail, warn
from ipvsagent.doctor.snapshot import NodeSnapshot


def configured(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the modules of the configured scheduler and of its fallback (DEV-35)."""
    name, fallback = node.settings.scheduler, node.settings.scheduler_fallback
    if name not in node.schedulers:
        remedy = _remedy(node, name, f"set `ipvs.scheduler` to an available scheduler ({_available(node)})")
        if fallback in node.schedulers:
            yield warn(f"{_unknown(node, name)}; `ipvs.schedulerFallback` selects `{fallback}` instead", remedy)
        elif node.modules_visible:
            yield fail(_unknown(node, name), remedy)
        else:
            yield warn(_unknown(node, name), remedy)
    if fallback and fallback not in node.schedulers:
        yield warn(
            f"`ipvs.schedulerFallback`: {_unknown(node, fallback)}: the fallback does not work",
            _remedy(node, fallback, f"set it to an available scheduler ({_available(node)})"),
        )


def of_services(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check the modules of schedulers in annotations of Services (DEV-15)."""
    for name, services in sorted(node.service_schedulers.items()):
        if name not in node.schedulers:
            yield warn(
                f"{_unknown(node, name)}; Services that request it get `{node.settings.scheduler}`: "
                f"{enumerate_few(list(services), 3)}",
                _remedy(node, name, f"annotate them with an available scheduler ({_available(node)})"),
            )


def loading_remedy(node: NodeSnapshot, modules: list[str]) -> str:
    """Return how to load modules that this process may not load."""
    words = f"`modprobe -a {' '.join(modules)}`"
    if node.in_pod:
        return (
            f"add {', '.join(modules)} to `modules.names` of the chart, whose init container loads them, and restart "
            f"the pod; or load them on the host ({words}, and a file in /etc/modules-load.d)"
        )
    return f"load them on the host ({words}, and a file in /etc/modules-load.d), or add SYS_MODULE"


def _unknown(node: NodeSnapshot, name: str) -> str:
    if node.modules_visible:
        return f"scheduler `{name}` is not known to this kernel"
    return f"module `ip_vs_{name}` is not loaded, and the kernel's modules are not visible here"


def _remedy(node: NodeSnapshot, name: str, other: str) -> str:
    module = f"`ip_vs_{name}`"
    if node.modules_visible:
        return f"{other}, or install module {module} (the full kernel package){' on the host' if node.in_pod else ''}"
    if node.in_pod:
        return f"mount the host's /lib/modules (`modules.hostPath` of the chart) and add {module} to `modules.names`"
    return f"load it: `modprobe ip_vs_{name}`; if /lib/modules lacks this kernel, install its package first"


def _available(node: NodeSnapshot) -> str:
    return ", ".join(node.schedulers) or "none"
