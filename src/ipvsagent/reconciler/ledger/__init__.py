"""What the kernel holds: the ledger of acknowledged state, and the search for drift.

This room changes nothing in the kernel.
"""
