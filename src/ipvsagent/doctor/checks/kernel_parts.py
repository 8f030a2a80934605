"""Check of the parts of iptables and ipsets that the kernel has (DEV-81)."""

from __future__ import annotations

from collections.abc import Iterator

from ipvsagent.doctor.finding import Trouble, fail, warn
from ipvsagent.doctor.snapshot import NodeSnapshot
from ipvsagent.model.address import Family
from ipvsagent.planner.kernel_parts import FULL_KERNEL, missing_extension, set_type_names


def kernel_parts(node: NodeSnapshot) -> Iterator[Trouble]:
    """Check tables, matches, targets and set types; without some of them a family is not served."""
    for kind in node.lacking_set_types:
        module, option = set_type_names(kind)
        what = f"the kernel has no set type `{kind}` (module `{module}`, `{option}`): nothing is served"
        yield fail(what, FULL_KERNEL)
    for family, extensions in node.lacking.items():
        for extension in extensions:
            part = missing_extension(extension, family, "legacy")
            level = fail if part.is_vital and family is Family.IPV4 else warn
            yield level(f"{family.label}: {part.what}: {part.loss}", FULL_KERNEL)
