"""The drivers: one for each kernel table. They have no policy, no retries and no logs.

`api` has the protocols; the reconciler knows only these. The implementations are grouped by the way in which they
access the kernel:

- `netlink`: IPVS, addresses, ipsets, connection tracking and the kernel's notifications, over netlink sockets.
- `iptables`: rules, through the iptables programs and python-iptables.
- `fake`: an in-memory kernel for tests, with the same protocols.
- `sysctls`, `modules`, `interfaces`: kernel settings, kernel modules and MTUs, one file each.
"""
