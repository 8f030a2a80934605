"""The vocabulary of the agent: immutable values.

It imports no other room except `errors`, and does no I/O.
"""
