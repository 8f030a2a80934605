"""The vocabulary: immutable values that compare and check themselves.

Owns what things are. Imports nothing else of ours except `errors`, and does no I/O.
"""
