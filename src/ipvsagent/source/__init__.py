"""Objects from an API server or from a folder: list, watch, decode, reject.

This room stores no objects. It puts one value for each change into the queue of the owner thread.
"""
