"""Drivers that talk netlink: IPVS, addresses, ipsets, connection tracking, statistics, notifications.

Others import the drivers. `codecs`, `sockets` and `subscription` belong to this room alone.
"""
