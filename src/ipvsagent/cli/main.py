"""The command line: subcommands, and how errors become messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from ipvsagent import __version__
from ipvsagent.cli import arguments
from ipvsagent.errors import AgentError, ConfigurationError

EXIT_DONE = 0
EXIT_NOT_POSSIBLE = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None: the arguments of the process.

    Returns:
        The exit code.
    """
    options = arguments.parser().parse_args(argv)
    try:
        return _run(options)
    except ConfigurationError as error:
        if options.debug:
            raise
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return EXIT_USAGE
    except AgentError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_NOT_POSSIBLE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit fails
        return EXIT_NOT_POSSIBLE


def _run(options: argparse.Namespace) -> int:
    # Each command imports only what it needs: `plan` runs without pyroute2, `version` imports nothing.
    match options.command:
        case "run":
            # The first process of a container receives only signals that it handles. Without this handler, SIGTERM
            # during the imports would have no effect. Nothing has been done yet; the agent replaces this handler.
            signal.signal(signal.SIGTERM, _end)
            if not faulthandler.is_enabled():
                faulthandler.enable(sys.__stderr__ or 2)  # a crash in a C library prints where the threads are
            from ipvsagent.cli import run

            return run.run(options)
        case "plan":
            from ipvsagent.cli import plan

            return plan.run(options)
        case "cleanup":
            from ipvsagent.cli import cleanup

            return cleanup.run(options)
        case "config":
            from ipvsagent.cli import config

            return config.run(options)
        case "doctor":
            from ipvsagent.cli import doctor

            return doctor.run(options)
        case _:
            print(f"ipvsagent {__version__}")
            return EXIT_DONE


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(EXIT_DONE)


if __name__ == "__main__":
    sys.exit(main())
