"""Every setting with its default, unit and validation.

Imports neither planner, source, kernel nor reconciler.
"""
