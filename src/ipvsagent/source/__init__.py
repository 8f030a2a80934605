"""The conversation with Kubernetes or a folder: list, watch, decode, reject.

Holds no objects; puts one value a change on the owner's queue.
"""
