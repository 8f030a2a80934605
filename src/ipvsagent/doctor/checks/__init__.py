"""The checks: pure functions that find problems in a snapshot of the node, without access to files or the kernel."""
