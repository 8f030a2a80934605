"""``ipvsagent run``."""

from __future__ import annotations

import argparse

from msgspec.structs import replace

from ipvsagent import log
from ipvsagent.agent import Agent
from ipvsagent.cli.settings import load_settings


def run(options: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT; the kernel state stays in place."""
    settings = load_settings(options.config)
    if options.kubeconfig:
        settings = replace(settings, kubeconfig=options.kubeconfig)
    log.configure(debug=options.debug)
    agent = Agent(
        settings,
        node_name=options.node_name,
        manifests=options.manifests,
        server=options.master,
        configuration_file=options.config,
        log=log.TextLogger(),
        flags={name.replace("_", "-"): str(value) for name, value in vars(options).items() if name != "command"},
    )
    agent.stop_on_signals()
    agent.run()
    return 0
