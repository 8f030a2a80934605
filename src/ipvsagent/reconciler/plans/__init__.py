"""What the kernel should hold: which Services to replan, in which order, and under which names.

This room does not write to the kernel. It only loads the modules of schedulers before a plan uses them.
"""
