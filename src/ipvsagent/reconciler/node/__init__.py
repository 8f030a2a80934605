"""The node itself, independent of Services: its facts, rules, ipsets and kernel settings."""
