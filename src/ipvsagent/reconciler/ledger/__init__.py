"""What the kernel holds: the ledger of what it acknowledged, and the search for drift.

Changes nothing in the kernel.
"""
