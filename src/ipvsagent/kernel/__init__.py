"""The drivers: one for each kernel table. They have no policy, no retries and no logs.

`api` holds the protocols, which are all that the reconciler knows. The implementations stand in rooms by the way in
which they reach the kernel:

- `netlink`: IPVS, addresses, ipsets, connection tracking and the kernel's notifications, over netlink sockets.
- `iptables`: rules, through the iptables programs and python-iptables.
- `fake`: an in-memory kernel for tests; it obeys the same protocols.
- `sysctls`, `modules`, `interfaces`: kernel settings, kernel modules and MTUs, one file each.
"""
