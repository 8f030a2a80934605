"""`make demo`: show the agent on a node with real traffic, step by step.

It runs in a guest. The exit code is 0 only if all counts are as expected.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from lab.namespaces import Namespace
from lab.topology import BRIDGE_ADDRESS, NODE_ADDRESS, NODE_NAME, POD_ADDRESSES, Topology, load_modules
from lab.traffic import Answer, ask, clients, count_by_pod

ROOT = Path(__file__).parents[1]
PROGRAM = str(Path(sys.executable).with_name("ipvsagent"))
VIP, PORT, NODE_PORT = "10.96.0.10", 80, 30080
SERVED = (f"{VIP}:{PORT}", f"{NODE_ADDRESS}:{NODE_PORT}")
REQUESTS = 120  # of each client in each step; divisible by three and by four
WAIT_SECONDS = 240.0  # starting Python takes long in an emulated guest on a busy machine


class Screen:
    """The output: headings, tables, and on a terminal one line that shows the progress."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal

    def heading(self, text: str) -> None:
        """Begin a section."""
        print(f"\n{text}\n{'-' * len(text)}", flush=True)

    def progress(self, text: str) -> None:
        """Show what is being done; print nothing if the output is not a terminal."""
        if self._terminal:
            print(f"\r\033[K{text}", end="", flush=True)

    def done(self) -> None:
        """Remove the line of progress."""
        self.progress("")

    def show(self, text: str) -> None:
        """Print lines, indented."""
        print("\n".join(f"  {line}" for line in text.rstrip().splitlines()), flush=True)

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Print rows in columns: the first one aligned left, all others right."""
        texts = [[str(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for row in texts:
            cells = [t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True))]
            print(f"  {'  '.join(cells).rstrip()}", flush=True)


class Demo:
    """The demo's node, agent and files.

    Args:
        folder: a writable copy of the examples is made in it.
    """

    def __init__(self, screen: Screen, folder: Path) -> None:
        self._screen = screen
        self._manifests = folder / "manifests"
        self._configuration = folder / "configuration.yaml"
        self._log = folder / "agent.log"
        shutil.copytree(ROOT / "examples/demo", self._manifests)
        shutil.copy(ROOT / "examples/configuration.yaml", self._configuration)
        screen.progress("building a node with three pods, another node and a client outside ...")
        load_modules()
        self._topology = Topology()
        self._agent: subprocess.Popen[bytes] | None = None
        self.wrong: list[str] = []
        screen.done()

    def close(self) -> None:
        """Stop the agent if it still runs, and remove the node."""
        if self._agent and self._agent.poll() is None:
            self._agent.kill()
            self._agent.wait()
        self._topology.close()

    def run(self) -> None:
        """Run all steps in order."""
        self._start_agent()
        self._send(dict.fromkeys(("p1", "p2", "p3"), REQUESTS // 3))
        self._change(
            "A fourth pod, on another node, becomes ready",
            lambda: self._write_pods("p1", "p2", "p3", "remote"),
            lambda: all(weights.get("remote") == 1 for weights in self._weights()),
        )
        self._send(dict.fromkeys(("p1", "p2", "p3", "remote"), REQUESTS // 4))
        self._change(
            "Pod p2 is removed",
            lambda: self._write_pods("p1", "p3", "remote"),
            lambda: not any(weights.get("p2") for weights in self._weights()),
        )
        self._send(dict.fromkeys(("p1", "p3", "remote"), REQUESTS // 3))
        self._change(
            "The scheduler changes from rr to sh: a client stays with one pod",
            # With fallback: p2 still drains, and without it sh refuses clients whose hash selects p2.
            lambda: self._write_scheduler("sh", "flag-1"),
            lambda: all(f"TCP  {name} sh" in self._table() for name in SERVED),
        )
        self._send(None)
        self._clean_up()

    def _start_agent(self) -> None:
        words = [PROGRAM, "run", "--manifests", str(self._manifests), "--config", str(self._configuration)]
        words += ["--node-name", NODE_NAME]
        self._screen.heading("Start: three pods behind one Service")
        self._screen.show("ipvsagent run --manifests examples/demo --config examples/configuration.yaml")
        with self._topology.node.inside(), self._log.open("wb") as log:
            self._agent = subprocess.Popen(words, stderr=log)
        self._wait("the agent starts", lambda: all(len(w) == 3 for w in self._weights()) and self._has_vip())
        self._show_table()

    def _change(self, heading: str, change: Callable[[], None], seen: Callable[[], bool]) -> None:
        self._screen.heading(heading)
        change()
        self._wait("the agent applies the change", seen)
        self._show_table()

    def _send(self, expected: dict[str, int] | None) -> None:
        """Send requests in all three ways and compare the answers.

        Args:
            expected: answers by pod, of each client; None: all from one pod, whichever it is.
        """
        ways: tuple[tuple[str, Namespace, str, int], ...] = (
            ("pod p1", self._topology.pods["p1"], VIP, PORT),
            ("the node", self._topology.node, VIP, PORT),
            ("outside", self._topology.client, NODE_ADDRESS, NODE_PORT),
        )
        rows: list[list[object]] = [["answers from", "", *POD_ADDRESSES, ""]]
        for name, where, address, port in ways:
            answers = self._ask_often(name, where, address, port)
            counts = count_by_pod(answers)
            right = len(counts) == 1 if expected is None else counts == Counter(expected)
            right = right and counts.total() == REQUESTS
            if name == "outside":
                right = right and clients(answers) <= {BRIDGE_ADDRESS, NODE_ADDRESS}  # masqueraded
            rows.append([name, f"{address}:{port}", *(counts[p] for p in POD_ADDRESSES), "as expected" * right])
            if not right:
                self.wrong.append(f"{name} to {address}:{port}: {dict(counts)}")
        print()
        self._screen.table(rows)

    def _ask_often(self, name: str, where: Namespace, address: str, port: int) -> list[Answer]:
        answers: list[Answer] = []
        failures: Counter[str] = Counter()
        for number in range(REQUESTS):
            self._screen.progress(f"{name}: request {number + 1} of {REQUESTS} to {address}:{port}")
            try:
                answers.append(ask(where, "tcp", address, port))
            except OSError as error:
                failures[str(error)] += 1
        self._screen.done()
        self.wrong += [f"{name} to {address}:{port}: {count} times {text}" for text, count in failures.items()]
        return answers

    def _clean_up(self) -> None:
        self._screen.heading("Stop, and clean up")
        assert self._agent
        rows: list[list[object]] = [["", *self._remains()]]
        rows.append(["with the agent", *self._remains().values()])
        self._agent.terminate()
        status = self._agent.wait(WAIT_SECONDS)
        rows.append(["agent stopped", *self._remains().values()])
        stopped = rows[-1][1:]
        done = self._topology.node.attempt(PROGRAM, "cleanup")
        rows.append(["after cleanup", *self._remains().values()])
        self._screen.table(rows)
        if status or stopped != rows[1][1:]:
            self.wrong.append(f"the agent ended with {status} and left {stopped}")
        if done.returncode or any(rows[-1][1:]):
            self.wrong.append(f"cleanup ended with {done.returncode}: {done.stderr}")

    def _remains(self) -> dict[str, int]:
        """Count what the agent has on the node, by kind."""
        run = self._topology.node.attempt
        programs = [f"{name}-{variant}-save" for name in ("iptables", "ip6tables") for variant in ("nft", "legacy")]
        saved = "".join(run(program).stdout for program in programs)
        links = run("ip", "-brief", "link").stdout
        return {
            "virtual servers": self._table().count("TCP "),
            "sets": run("ipset", "list", "-n").stdout.count("KUBE-"),
            "rules": sum(line.startswith("-A") and "KUBE-" in line for line in saved.splitlines()),
            "interfaces": links.count("kube-ipvs0"),
        }

    def _wait(self, what: str, seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not seen():
            self._screen.progress(f"{what} ...")
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"error: timed out while waiting until {what}\n{self._log.read_text(encoding='utf-8')}"
                )
            time.sleep(0.2)
        self._screen.done()

    def _weights(self) -> list[dict[str, int]]:
        """The pods behind cluster IP and node port with their weights."""
        table = self._table()
        return [_weights_in(table.partition(f"TCP  {name}")[2]) for name in SERVED]

    def _has_vip(self) -> bool:
        return VIP in self._topology.node.run("ip", "-brief", "address")

    def _table(self) -> str:
        return self._topology.node.attempt("ipvsadm", "-Ln").stdout

    def _show_table(self) -> None:
        print()
        self._screen.show("# ipvsadm -Ln\n" + "\n".join(self._table().splitlines()[1:]))

    def _write_pods(self, *pods: str) -> None:
        path = self._manifests / "endpoints.yaml"
        slice_ = yaml.safe_load(path.read_text(encoding="utf-8"))
        slice_["endpoints"] = [
            {
                "addresses": [POD_ADDRESSES[pod]],
                "nodeName": "node-2" if pod == "remote" else NODE_NAME,
                "conditions": {"ready": True, "serving": True, "terminating": False},
            }
            for pod in pods
        ]
        _replace(path, yaml.safe_dump(slice_))

    def _write_scheduler(self, scheduler: str, *flags: str) -> None:
        settings = yaml.safe_load(self._configuration.read_text(encoding="utf-8"))
        settings["ipvs"] = {"scheduler": scheduler, "schedulerFlags": list(flags)}
        _replace(self._configuration, yaml.safe_dump(settings))


def _weights_in(lines: str) -> dict[str, int]:
    """Read the real servers of one virtual server, up to the next one."""
    names = {address: pod for pod, address in POD_ADDRESSES.items()}
    weights = {}
    for line in lines.splitlines()[1:]:
        if not line.startswith("  -> "):
            break
        _, endpoint, _, weight, *_ = line.split()
        weights[names[endpoint.partition(":")[0]]] = int(weight)
    return weights


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def main() -> int:
    """Run the demo and return the exit code."""
    screen = Screen(terminal=bool(os.environ.get("IPVSAGENT_TERMINAL")))
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(screen, Path(folder))
        try:
            demo.run()
        finally:
            demo.close()
    screen.heading("Result")
    for line in demo.wrong:
        screen.show(f"error: {line}")
    if not demo.wrong:
        screen.show("all counts are as expected; the agent left nothing on the node")
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
