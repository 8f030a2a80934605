"""The answer of a scrape, read by Prometheus itself."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from lab.speed import scaled

from support.waiting import wait_until
from unit.serve.metrics.scene import Scene

PROMETHEUS_SECONDS = scaled(60)


def test_promtool_finds_no_fault(busy: Scene) -> None:
    """Names, units and help as Prometheus wants them, but for one name, which is kube-proxy's (MET-08)."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=busy.text(), capture_output=True, text=True, check=False
    )
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    assert (done.stdout + done.stderr).splitlines() == [f'{name} non-counter metrics should not have "_total" suffix']


def test_prometheus_scrapes_it(busy: Scene, tmp_path: Path) -> None:
    """The real one, from a real server."""
    with serving(busy) as target, prometheus(target, tmp_path) as ask:
        wait_until(
            lambda: health(ask) == "up",
            lambda: f"the target is up; it is {ask('targets')}",
            limit_seconds=PROMETHEUS_SECONDS,
        )
        query = 'query?query=ipvsagent_service_connections_total{service="web"}'
        wait_until(lambda: ask(query)["data"]["result"], "the scrape can be queried", limit_seconds=PROMETHEUS_SECONDS)
        found = ask(query)["data"]["result"]
        assert [(r["metric"]["namespace"], r["value"][1]) for r in found] == [("shop", "4")]
        buckets = ask("query?query=kubeproxy_network_programming_duration_seconds_count")["data"]["result"]
        assert {r["metric"]["ip_family"] for r in buckets} == {"IPv4", "IPv6"}


def health(ask: Callable[[str], Any]) -> str | None:
    """What Prometheus says of its one target."""
    targets = ask("targets")["data"]["activeTargets"]
    return targets[0]["health"] if targets else None


@contextmanager
def serving(scene: Scene) -> Iterator[str]:
    """Serve a scene's answers; gives host and port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            content_type, body = scene.metrics.render()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Callable[[str], Any]]:
    """Run Prometheus; gives a function that asks its API."""
    configuration = {
        "scrape_configs": [{"job_name": "a", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}]
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={listen}",
    ]

    def ask(path: str) -> Any:
        with urlopen(f"http://{listen}/api/v1/{path}", timeout=scaled(10)) as answer:
            return json.load(answer)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        try:
            return bool(ask("targets"))
        except URLError:
            return False

    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log, cwd=folder) as process:
        try:
            wait_until(
                answers,
                lambda: "Prometheus answers; its log: " + (folder / "log").read_text(encoding="utf-8"),
                limit_seconds=PROMETHEUS_SECONDS,
            )
            yield ask
        finally:
            process.kill()
