"""The owner thread: known objects, ledger, order of writes, retry, verification.

Knows drivers only through `kernel.api`.
"""
