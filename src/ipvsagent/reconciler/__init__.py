"""The owner thread: it owns objects, desired state, ledger and all writes. Knows drivers only through `kernel.api`.

Doors, which other packages may import: `mailbox` (messages in), `published` (what others may read), `loop` (the
thread's work), `cleanup`, and `adoption` (whose virtual servers are ours). Rooms: `objects/`, `plans/`, `writing/`,
`ledger/`, `node/`. What several rooms use is one value, `state`; tasks of the whole node are one table, `tasks`.
"""
