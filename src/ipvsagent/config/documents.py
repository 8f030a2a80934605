"""Finding the configuration in what a person has at hand: the file itself, or the object that it came from.

`kubectl get configmap kube-proxy -o yaml` prints a ConfigMap that holds the file under a key; k3s and RKE2 have a
list of flags in a file of their own; other distributions have them in a Pod or DaemonSet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from msgspec import Struct

from ipvsagent.config.flags import configuration_of_flags
from ipvsagent.config.kube_proxy import KUBE_PROXY_KIND
from ipvsagent.config.load import OUR_KIND, parse_documents
from ipvsagent.errors import ConfigurationError

_FLAGS_KEY = "kube-proxy-arg"
_WORKLOADS = ("Pod", "DaemonSet", "Deployment")

# What k3s and RKE2 pass before the flags of `kube-proxy-arg`, and the pod network unless `cluster-cidr` says otherwise.
_K3S_FLAGS = (
    *("proxy-mode=iptables", "healthz-bind-address=127.0.0.1", "conntrack-max-per-core=0"),
    *("conntrack-tcp-timeout-established=0s", "conntrack-tcp-timeout-close-wait=0s"),
)
_K3S_CLUSTER_CIDR = "10.42.0.0/16"


class Document(Struct, frozen=True):
    """A configuration that was found.

    Args:
        value: the mapping, of either kind.
        origin: where it stood, such as ``ConfigMap kube-system/kube-proxy, key config.conf``; empty: it was the file.
    """

    value: object
    origin: str = ""
    warnings: tuple[str, ...] = ()


def find_configuration(text: str) -> Document:
    """Find the one configuration in a text.

    Raises:
        ConfigurationError: it does not parse, holds none, or more than one.
    """
    values = parse_documents(text)
    found = [document for value in values for document in _configurations(value)]
    seen = [_describe(value) for value in values]
    if not found and len(values) < 2 and not any(_may_hold(value) for value in values):
        return Document(values[0] if values else None)  # the loader knows best what is wrong with it
    if not found:
        raise ConfigurationError([f"holds no configuration, but {', '.join(seen)}; allowed: {_ALLOWED}"])
    if len(found) > 1:
        origins = "; ".join(d.origin or "a file" for d in found)
        raise ConfigurationError([f"holds {len(found)} configurations ({origins}); allowed: one"])
    return found[0]


_ALLOWED = f"{OUR_KIND}, {KUBE_PROXY_KIND}, a ConfigMap with either, flags of kube-proxy"


def _may_hold(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") in ("ConfigMap", "List", *_WORKLOADS)


def _configurations(value: object) -> Iterator[Document]:
    if not isinstance(value, dict):
        return
    kind = value.get("kind")
    if kind in (OUR_KIND, KUBE_PROXY_KIND):
        yield Document(value)
    elif kind == "ConfigMap":
        yield from _in_config_map(value)
    elif kind == "List":
        for item in _list(value.get("items")):
            yield from _configurations(item)
    elif kind in _WORKLOADS:
        yield from _in_workload(value)
    elif _FLAGS_KEY in value:
        yield _k3s(value)


def _in_config_map(value: dict[object, object]) -> Iterator[Document]:
    """The data keys that hold a configuration; others, such as a kubeconfig, are passed over."""
    for key, text in _mapping(value.get("data")).items():
        if not isinstance(text, str):
            continue
        try:
            inner = parse_documents(text)
        except ConfigurationError as error:
            if "Configuration" in text:
                raise ConfigurationError([f"{_describe(value)}, key {key}: {p}" for p in error.problems]) from error
            continue  # a script or a certificate
        for part in inner:
            if isinstance(part, dict) and part.get("kind") in (OUR_KIND, KUBE_PROXY_KIND):
                yield Document(part, f"{_describe(value)}, key {key}")


def _in_workload(value: dict[object, object]) -> Iterator[Document]:
    spec = _mapping(value.get("spec"))
    spec = _mapping(_mapping(spec.get("template")).get("spec")) or spec
    for container in map(_mapping, _list(spec.get("containers"))):
        words = [str(w) for w in (*_list(container.get("command")), *_list(container.get("args")))]
        programs = [i for i, w in enumerate(words) if PurePath(w).name == "kube-proxy"]
        if not programs and container.get("name") != "kube-proxy":
            continue
        # What stands before the program belongs to another one that starts it, such as kOps' go-runner.
        flags = [w for w in _joined(words[programs[-1] + 1 if programs else 0 :]) if w.startswith("-")]
        origin = f"{_describe(value)}, container {container.get('name')}"
        for flag in flags:
            if flag.startswith("--config="):
                path = flag.partition("=")[2]
                raise ConfigurationError(
                    [f"{origin}: kube-proxy reads the file {path} there; give that file, or the ConfigMap it is from"]
                )
        tree, warnings = configuration_of_flags(flags)
        yield Document(tree, origin, tuple(warnings))


def _joined(words: list[str]) -> list[str]:
    """Make one word of ``--name value``."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and not word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _k3s(value: dict[object, object]) -> Document:
    """A configuration file of k3s or RKE2: its list of flags comes after those that they pass by themselves."""
    given = value[_FLAGS_KEY]
    flags = [given] if isinstance(given, str) else [str(f) for f in _list(given)]
    network = value.get("cluster-cidr", _K3S_CLUSTER_CIDR)
    network = ",".join(str(n) for n in network) if isinstance(network, list) else str(network)
    tree, warnings = configuration_of_flags([*_K3S_FLAGS, f"cluster-cidr={network}", *flags])
    return Document(tree, f"flags of `{_FLAGS_KEY}`", tuple(warnings))


def _describe(value: object) -> str:
    if not isinstance(value, dict):
        return "text"
    metadata = _mapping(value.get("metadata"))
    name = "/".join(str(metadata[k]) for k in ("namespace", "name") if metadata.get(k))
    return f"{value.get('kind') or 'a mapping'} {name}".strip()


def _mapping(value: object) -> dict[object, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
