"""The checks: pure functions from a snapshot to troubles; they read no file and ask no kernel."""
