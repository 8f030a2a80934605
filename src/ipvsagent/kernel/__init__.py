"""Bytes, sockets, sequence numbers, errno and notifications: one driver a kernel table.

No policy, no retries, no logs. `api` holds the protocols, `fake` an in-memory kernel that obeys them.
"""
