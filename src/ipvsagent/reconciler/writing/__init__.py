"""From desired state and ledger to the kernel: compare, write, and follow up what a write begins or leaves undone.

Decides nothing about Services.
"""
