"""A container of the rendered chart as what a process on a test's node is limited to.

Nothing of it stands here: user, capabilities, mounts and environment are read from what Helm makes of the chart.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from chart.rendering import ROOT, Manifest, Values, configuration, containers_of, only, pod_of, render
from confinement.confine import Container, Mount
from confinement.system_calls import filter_for

AGENT, MODULES = "ipvsagent", "modules"
"""The containers that work on the node."""
_PROGRAM = str(Path(__file__).with_name("confine.py"))

_libcap = ctypes.CDLL("libcap.so.2")


def values_for(variant: str, **config: object) -> Values:
    """The chart's values for a node with this iptables variant, and perhaps more of `config`."""
    return {"config": {"iptables": {"variant": variant}, **config}}


def rendered_container(values: Values, name: str) -> Manifest:
    """One container of the DaemonSet."""
    (found,) = [c for c in containers_of(only(render(values), "DaemonSet")) if c["name"] == name]
    return found


def capabilities_of(values: Values, name: str) -> list[str]:
    """Names of the capabilities that the chart gives a container."""
    added = rendered_container(values, name)["securityContext"]["capabilities"]["add"]
    return [str(capability) for capability in added]


def rendered_configuration(values: Values) -> dict[str, Any]:
    """The content of the ConfigMap's configuration."""
    return dict(yaml.safe_load(configuration(render(values))))


def container_of(
    values: Values, name: str, *, node_name: str, folder: Path, visible: Sequence[Path], without: str = ""
) -> Container:
    """What the chart limits a container to.

    Args:
        node_name: what the pod's field `spec.nodeName` says.
        folder: stands for the ConfigMap's volume.
        visible: paths of the host that a test needs in the container.
        without: name of a capability to take away.
    """
    rendered = rendered_container(values, name)
    context = rendered["securityContext"]
    assert context["privileged"] is False
    assert context["capabilities"]["drop"] == ["ALL"]
    pod = pod_of(only(render(values), "DaemonSet"))
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    names = frozenset(context["capabilities"]["add"]) - {without}
    modules = f"/lib/modules/{os.uname().release}"  # a guest may have a link here
    shown = map(os.path.realpath, (str(ROOT), sys.prefix, modules, *map(str, visible)))
    return Container(
        user=context["runAsUser"],
        group=context["runAsGroup"],
        capabilities=tuple(sorted(map(capability_number, names))),
        no_new_privileges=not context["allowPrivilegeEscalation"],
        read_only=context["readOnlyRootFilesystem"],
        out_of_memory_score=rendered_configuration(values)["oomScoreAdj"],
        system_calls=_filter(names),
        mounts=tuple(_mounts(rendered, {v["name"]: v for v in pod["volumes"]}, folder)),
        environment=_environment(rendered, node_name),
        visible=tuple(path for path in dict.fromkeys(shown) if os.path.exists(path)),
    )


def program_words(container: Container, folder: Path) -> tuple[str, ...]:
    """Words before those of a program that is to be limited so.

    Args:
        folder: takes the description.
    """
    description = folder / "container.json"
    description.write_text(container.to_json(), encoding="utf-8")
    return sys.executable, _PROGRAM, str(description), "--"


def capability_number(name: str) -> int:
    """The kernel's number of a capability such as ``NET_ADMIN``."""
    number = ctypes.c_int()
    assert _libcap.cap_from_name(f"cap_{name.lower()}".encode(), ctypes.byref(number)) == 0, name
    return number.value


_filter = functools.cache(filter_for)


def _mounts(rendered: Manifest, volumes: Mapping[str, Manifest], folder: Path) -> list[Mount]:
    """As the kubelet would make them; a token is left out, as there is no API server that knows it."""
    found = []
    for mount in rendered["volumeMounts"]:
        volume, read_only = volumes[mount["name"]], mount.get("readOnly", False)
        if "hostPath" in volume:
            path = volume["hostPath"]["path"]
            if volume["hostPath"]["type"] == "FileOrCreate":
                Path(path).touch()
            found.append(Mount(path, mount["mountPath"], read_only))
        elif "configMap" in volume:
            found.append(Mount(str(folder), mount["mountPath"], read_only=True))
        elif "emptyDir" in volume:
            size = volume["emptyDir"]["sizeLimit"].removesuffix("Mi")
            found.append(Mount("", mount["mountPath"], read_only, int(size)))
        else:
            assert "projected" in volume, volume
    return found


_POD_FIELDS = {"metadata.name": "ipvsagent-test", "metadata.namespace": "kube-system"}


def _environment(rendered: Manifest, node_name: str) -> dict[str, str]:
    found = {}
    for variable in rendered.get("env", []):
        if "valueFrom" in variable:
            path = variable["valueFrom"]["fieldRef"]["fieldPath"]
            found[variable["name"]] = {"spec.nodeName": node_name, **_POD_FIELDS}[path]
        else:
            found[variable["name"]] = variable["value"]
    return found
