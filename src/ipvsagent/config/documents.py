"""Find the configuration in a text: a configuration file, or an object that contains it.

`kubectl get configmap kube-proxy -o yaml` prints a ConfigMap that holds the file under a key. k3s and RKE2 have a list
of flags in a file. Other distributions have the flags in a Pod or DaemonSet, in a unit file, or in a file of flags.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from msgspec import Struct

from ipvsagent.config.command_lines import flags_in_command, flags_in_text, k3s_flags_in_text
from ipvsagent.config.flags import configuration_of_flags
from ipvsagent.config.kube_proxy import KUBE_PROXY_KIND
from ipvsagent.config.load import parse_documents
from ipvsagent.config.other_documents import FLAGS_KEY, READ_BY_CONVERT, known_document
from ipvsagent.config.reader import OUR_KIND
from ipvsagent.errors import ConfigurationError

_WORKLOADS = ("Pod", "DaemonSet", "Deployment")

# The flags that k3s and RKE2 pass before those of `kube-proxy-arg`, and their default of `cluster-cidr`.
_K3S_FLAGS = (
    *("proxy-mode=iptables", "healthz-bind-address=127.0.0.1", "conntrack-max-per-core=0"),
    *("conntrack-tcp-timeout-established=0s", "conntrack-tcp-timeout-close-wait=0s"),
)
_K3S_CLUSTER_CIDR = "10.42.0.0/16"


class Document(Struct, frozen=True):
    """A configuration that was found.

    Args:
        value: the mapping, of either kind.
        origin: where it was found, such as ``ConfigMap kube-system/kube-proxy, key config.conf``; empty: the file.
    """

    value: object
    origin: str = ""
    warnings: tuple[str, ...] = ()


def find_configuration(text: str) -> Document:
    """Find the one configuration in a text.

    Raises:
        ConfigurationError: it does not parse, holds none, or more than one.
    """
    try:
        values = parse_documents(text)
    except ConfigurationError:
        document = _in_command_line(text)
        if document is None:
            raise
        return document
    if len(values) == 1 and isinstance(values[0], str) and (document := _in_command_line(text)):
        return document
    found = [document for value in values for document in _configurations(value)]
    if len(found) == 1:
        return found[0]
    if found:
        origins = "; ".join(d.origin or "a file" for d in found)
        raise ConfigurationError([f"holds {len(found)} configurations ({origins}); allowed: one"])
    if not values or (len(values) == 1 and not _may_hold(values[0])):
        return Document(values[0] if values else None)  # the loader reports what is wrong with it
    seen = ", ".join(_describe(value) for value in values)
    known = filter(None, (known_document(value) for value in _mappings(values)))
    hint = next(known, None)
    raise ConfigurationError([hint] if hint else [f"holds no configuration, but {seen}; allowed: {_ALLOWED}"])


_ALLOWED = f"{OUR_KIND}, {KUBE_PROXY_KIND}, a ConfigMap with either, flags of kube-proxy"


def _mappings(values: Iterable[object]) -> Iterator[dict[object, object]]:
    """Yield all mappings in these values, including those in Lists and in the data of ConfigMaps."""
    for value in values:
        if not isinstance(value, dict):
            continue
        yield value
        yield from _mappings(_list(value.get("items")))
        for text in _mapping(value.get("data")).values():
            if isinstance(text, str) and "kind:" in text:
                with contextlib.suppress(ConfigurationError):  # a script or a certificate
                    yield from _mappings(parse_documents(text))


def _may_hold(value: object) -> bool:
    return isinstance(value, dict) and value.get("kind") in READ_BY_CONVERT


def _configurations(value: object) -> Iterator[Document]:
    if not isinstance(value, dict):
        return
    kind = str(value.get("kind") or "")
    global_config = _below(value, "spec", "rkeConfig", "machineGlobalConfig")
    if kind in (OUR_KIND, KUBE_PROXY_KIND):
        yield Document(value)
    elif kind == "ConfigMap":
        yield from _in_config_map(value)
    elif kind in READ_BY_CONVERT and kind.endswith("List"):
        for item in _list(value.get("items")):
            # The items of a PodList need not repeat their kind.
            yield from _configurations({"kind": kind.removesuffix("List"), **item} if isinstance(item, dict) else item)
    elif kind in _WORKLOADS:
        yield from _in_workload(value)
    elif _k3s_flags(value) is not None:
        yield _k3s(value)
    elif _k3s_flags(global_config) is not None:  # a Rancher cluster, which passes it to k3s or RKE2
        yield _k3s(global_config)


def _in_config_map(value: dict[object, object]) -> Iterator[Document]:
    """Yield the configurations in the data of a ConfigMap; skip other keys, such as a kubeconfig."""
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
    spec = _below(value, "spec", "template", "spec") or _below(value, "spec")
    for container in map(_mapping, _list(spec.get("containers"))):
        command, arguments = ([str(w) for w in _list(container.get(name))] for name in ("command", "args"))
        flags = flags_in_command([*command, *arguments])
        is_kube_proxy = container.get("name") == "kube-proxy" or "kube-proxy" in str(container.get("image"))
        if flags is None and not is_kube_proxy:
            continue
        origin = f"{_describe(value)}, container {container.get('name')}"
        if flags is None and any(not word.startswith("-") for word in command):
            raise ConfigurationError(
                [
                    f"{origin}: runs `{' '.join(command)}`, which starts kube-proxy with flags that are not here; "
                    f"pass the flags as a list `{FLAGS_KEY}`"
                ]
            )
        yield _of_flags([*command, *arguments] if flags is None else flags, origin)


def _of_flags(flags: Iterable[str], origin: str) -> Document:
    try:
        tree, warnings = configuration_of_flags(flags)
    except ConfigurationError as error:
        raise ConfigurationError([f"{origin}: {problem}" for problem in error.problems]) from error
    return Document(tree, origin, tuple(warnings))


def _in_command_line(text: str) -> Document | None:
    """Read a text that is not a YAML object: a unit file, a file of flags or of variables."""
    k3s_flags = k3s_flags_in_text(text)
    if k3s_flags:
        return _k3s({FLAGS_KEY: k3s_flags})
    flags = flags_in_text(text)
    return None if flags is None else _of_flags(flags, "flags of kube-proxy")


def _k3s_flags(value: dict[object, object]) -> list[str] | None:
    """Return the flags in a file of k3s or RKE2; a drop-in adds to the list with a plus sign after the key."""
    lists = [value[key] for key in (FLAGS_KEY, f"{FLAGS_KEY}+") if key in value]
    flags = [flag for given in lists for flag in ([given] if isinstance(given, str) else _list(given))]
    return [str(flag) for flag in flags] if lists else None


def _k3s(value: dict[object, object]) -> Document:
    """Read a configuration file of k3s or RKE2: its flags follow those that the distribution always passes."""
    network = value.get("cluster-cidr", _K3S_CLUSTER_CIDR)
    network = ",".join(str(n) for n in network) if isinstance(network, list) else str(network)
    tree, warnings = configuration_of_flags([*_K3S_FLAGS, f"cluster-cidr={network}", *(_k3s_flags(value) or ())])
    return Document(tree, f"flags of `{FLAGS_KEY}`", tuple(warnings))


def _below(value: object, *names: str) -> dict[object, object]:
    """Return the mapping at a path below a value; empty if there is none."""
    for name in names:
        value = _mapping(value).get(name)
    return _mapping(value)


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
