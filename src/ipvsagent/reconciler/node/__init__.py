"""The node itself, apart from any Service: its facts, rules, ipsets and kernel settings."""
