"""The commands and options of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

PLAN_FORMATS = ("table", "json", "ipvsadm", "ipset", "iptables", "ip6tables", "addresses")

_EXIT_CODES = "exit codes: 0 done, 1 failed, 2 wrong usage or configuration"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command sets ``command`` and ``debug``."""
    top = argparse.ArgumentParser(prog="ipvsagent", description="Kubernetes service proxy on IPVS", epilog=_EXIT_CODES)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="log work on single objects; show stack traces")
    _add_run(commands, common)
    _add_plan(commands, common)
    _add_cleanup(commands, common)
    _add_configuration(commands, common)
    _add_doctor(commands, common)
    commands.add_parser("version", parents=[common], help="print the version")
    return top


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    run = commands.add_parser(
        "run",
        parents=[common],
        help="keep this node's kernel in sync with the cluster's Services",
        description="Keep this node's kernel in sync with the cluster's Services until SIGTERM or SIGINT",
        epilog=f"example: ipvsagent run --manifests /etc/ipvsagent/manifests --node-name node-1\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_config(run)
    run.add_argument(
        "--manifests",
        metavar="DIR",
        type=Path,
        help="folder of YAML or JSON files with Services, EndpointSlices and Nodes, followed for changes "
        "(default: follow the API server)",
    )
    run.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default="",
        help="access to the API server (default: `clientConnection.kubeconfig`, then the pod's service account, "
        "then $KUBECONFIG or ~/.kube/config)",
    )
    run.add_argument(
        "--master",
        metavar="URL",
        default="",
        help="address of the API server, instead of the kubeconfig's (default: none)",
    )
    run.add_argument(
        "--node-name",
        metavar="NAME",
        default="",
        help="name of this node (default: $NODE_NAME, then `hostnameOverride`, then host name)",
    )


def _add_plan(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    plan = commands.add_parser(
        "plan",
        parents=[common],
        help="print the desired state of a node from manifests",
        description="Print the desired state of a node from manifests, offline and without root",
        epilog=f"example: ipvsagent plan -f examples/demo --node-name node-1 -o ipvsadm\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument(
        "-f",
        "--filename",
        metavar="PATH",
        dest="paths",
        type=Path,
        action="extend",
        nargs="+",
        required=True,
        help="file or folder of YAML or JSON; may be repeated",
    )
    plan.add_argument("--node-name", metavar="NAME", required=True, help="name of the node to plan for")
    plan.add_argument(
        "--node-address",
        metavar="ADDR/LEN",
        dest="node_addresses",
        action="append",
        default=[],
        help="address of the node; may be repeated (default: the addresses of its Node object)",
    )
    _add_config(plan)
    plan.add_argument("-o", "--output", choices=PLAN_FORMATS, default="table", help="format (default: %(default)s)")


def _add_cleanup(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    cleanup = commands.add_parser(
        "cleanup",
        parents=[common],
        help="remove the state that this agent or kube-proxy in IPVS mode created on this node",
        description="Remove virtual servers, kube-ipvs0, chains, jumps and ipsets; leave those of other programs",
        epilog=f"example: ipvsagent cleanup --dry-run\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cleanup.add_argument("--dry-run", action="store_true", help="print what would be removed; change nothing")
    cleanup.add_argument(
        "--all", action="store_true", dest="all_virtual_servers", help="also remove virtual servers of other programs"
    )
    _add_config(cleanup)


def _add_configuration(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    config = commands.add_parser(
        "config",
        help="print, check and convert configuration files",
        description="Print, check and convert configuration files, without root and without a cluster",
        epilog="example: kubectl -n kube-system get configmap kube-proxy -o yaml | ipvsagent config convert -\n"
        f"{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = config.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("default", parents=[common], help="print a complete AgentConfiguration with all defaults")
    actions.add_parser("schema", parents=[common], help="print the JSON Schema of an AgentConfiguration")
    check = actions.add_parser("check", parents=[common], help="list all errors of a file")
    convert = actions.add_parser(
        "convert", parents=[common], help="convert kube-proxy's configuration to an AgentConfiguration"
    )
    for action in (check, convert):
        action.add_argument(
            "file",
            metavar="FILE",
            help="AgentConfiguration, KubeProxyConfiguration, a ConfigMap with either, a configuration file of k3s or "
            "RKE2 with `kube-proxy-arg`, or a Pod or DaemonSet of kube-proxy; `-` is standard input",
        )


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    doctor = commands.add_parser(
        "doctor",
        parents=[common],
        help="check this node for problems and suggest remedies",
        description="Check this node for problems and suggest remedies; change nothing",
        epilog=f"example: ipvsagent doctor -o json\nexit code 1 also means a finding of level fail\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default="",
        help="access to the API server (default: as for `run`)",
    )
    _add_config(doctor)
    doctor.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="format (default: %(default)s)"
    )


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="AgentConfiguration or KubeProxyConfiguration (default: built-in defaults)",
    )
