"""What the kernel should hold: which Services are planned again, in which order, and under which names.

Writes nothing to the kernel but for the modules of schedulers, which are loaded before a plan names them.
"""
