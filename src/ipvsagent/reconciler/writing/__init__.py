"""Write the difference between desired state and ledger to the kernel, and follow up: retry, drain, clean up.

This room decides nothing about Services.
"""
