"""The owner thread: it owns objects, desired state, ledger and all writes. Knows drivers only through `kernel.api`.

Doors, which other packages may import: `mailbox` (messages in), `published` (values that others may read), `loop`
(the thread's work), `cleanup`, and `adoption` (which virtual servers are ours). Rooms: `objects/`, `plans/`,
`writing/`, `ledger/`, `node/`. The rooms share one value, `state`; node-wide tasks are one table, `tasks`.
"""
