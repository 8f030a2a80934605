"""Work that concerns the whole node, by the name under which its failure is reported and retried."""

from __future__ import annotations

READ_KERNEL = "read the kernel"
CHECK_FAMILIES = "serve the primary address family"
READ_ADDRESSES = "read node addresses"
WRITE_RULES = "write rules"
CREATE_SETS = "create ipsets"
CHECK_RULES = "check rules"
CHECK_SYSCTLS = "check kernel settings"
VERIFY = "verify the kernel"
WRITE_SYSCTLS = "write kernel settings"
CREATE_DUMMY = "create the dummy interface"
CLEAN_FLOWS = "delete stale flows"
RECONFIGURE = "apply the configuration"
LOAD_SCHEDULERS = "load schedulers"
SIDE_TASKS = frozenset({CLEAN_FLOWS, WRITE_SYSCTLS, CHECK_SYSCTLS, RECONFIGURE, LOAD_SCHEDULERS})
"""Work whose failure leaves a node that serves its Services; all other node-wide work is a stage of HC-02."""
