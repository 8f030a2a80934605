"""Objects from an API server or from a folder: list, watch, decode, reject.

This room holds no objects. It puts one value for each change on the queue of the owner thread.
"""
