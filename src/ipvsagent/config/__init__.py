"""Settings: the table of all fields, how files are read and written, and how a file is followed.

Imports neither planner, source, kernel nor reconciler.
"""
