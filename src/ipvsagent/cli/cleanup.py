"""``ipvsagent cleanup``."""

from __future__ import annotations

import argparse
import sys

from ipvsagent.agent import clean_node
from ipvsagent.cli.settings import load_settings


def run(options: argparse.Namespace) -> int:
    """Remove the agent's state, or print what would be removed; return 1 if something could not be removed."""
    settings = load_settings(options.config)
    result = clean_node(
        settings,
        all_virtual_servers=options.all_virtual_servers,
        dry_run=options.dry_run,
        if_agent_ran=options.if_agent_ran,
    )
    verb = "would remove" if options.dry_run else "removed"
    failed = set(result.failed)
    for line in result.found:
        print(f"{verb} {line}")
    if not result.found and not failed:
        print("nothing to remove")
    for line in result.failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0
