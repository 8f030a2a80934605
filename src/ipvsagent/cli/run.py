"""``ipvsagent run``."""

from __future__ import annotations

import argparse

from ipvsagent import log
from ipvsagent.agent import Agent
from ipvsagent.cli.settings import load
from ipvsagent.config.types import Settings
from ipvsagent.source.client.secret import without_user


def _flags(options: argparse.Namespace) -> dict[str, str]:
    """Return the options in force, for `/flagz`; a password in the server's URL is hidden."""
    flags = {name.replace("_", "-"): str(value) for name, value in vars(options).items() if name != "command"}
    return flags | {"master": without_user(flags["master"])}


def run(options: argparse.Namespace) -> int:
    """Run the agent until SIGTERM or SIGINT; the kernel state stays in place."""
    loaded = load(options.config)
    settings = loaded.settings

    def configure_log(settings: Settings) -> None:
        log.configure(log_format=settings.logging.format, level="debug" if options.debug else settings.logging.level)

    configure_log(settings)
    agent = Agent(
        settings,
        node_name=options.node_name,
        manifests=options.manifests,
        kubeconfig=options.kubeconfig,
        server=options.master,
        configuration_file=options.config,
        configuration_text=loaded.text,
        flags=_flags(options),
        log=log.StructuredLogger(),
        settings_applied=configure_log,
    )
    agent.stop_on_signals()
    agent.run()
    return 0
