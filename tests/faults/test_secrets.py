"""No secret comes out, whatever goes wrong: a marker stands in every secret field, and all output is searched."""

from __future__ import annotations

import base64
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from apiserver.certificates import Authority
from apiserver.objects import service
from apiserver.proxy import Proxy
from apiserver.server import ApiServer, Fault
from ipvsagent.config.types import Settings
from ipvsagent.doctor.examination import examine
from ipvsagent.doctor.gather import read_node
from ipvsagent.errors import SourceError
from ipvsagent.http_server.http1 import Request
from ipvsagent.log import StructuredLogger, configure
from ipvsagent.model.events import Stop
from ipvsagent.model.objects import NodeNotice
from ipvsagent.serve.health import Health
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.pages import Pages
from ipvsagent.source.api import ApiSource
from ipvsagent.source.client.access import ApiAccess
from ipvsagent.source.event_recorder import EventRecorder
from ipvsagent.source.transport import KubernetesTransport
from support.fake_node import FakeNode
from support.waiting import wait_until

MARKER = "S3CRET/x+y="
Json = dict[str, Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues the certificates."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[ApiServer]:
    """A server that repeats in its messages what it was sent."""
    with ApiServer(authority.issue("server").both) as running:
        running.echo = True
        running.put(service("a", "10.96.0.1"))
        yield running


class Setting:
    """What a case works on."""

    def __init__(self, folder: Path, server: ApiServer, authority: Authority) -> None:
        self.folder = folder
        self.server = server
        self.cluster: Json = {"server": server.url, "certificate-authority": str(authority.certificate)}
        self.user: Json = {"token": MARKER}
        self.text = ""  # of the kubeconfig, instead of cluster and user
        self.environment: dict[str, str] = {}
        self.master = ""
        self.proxy: Proxy | None = None

    def plugin(self, script: str, **more: object) -> None:
        """Authenticate by a program to which secrets are given and which prints them."""
        path = self.folder / "plugin"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        head = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": str(path)}
        told = {"args": [f"--secret={MARKER}"], "env": [{"name": "SECRET", "value": MARKER}]}
        self.user = {"exec": {**head, **told, **more}}

    def prints(self, **status: str) -> str:
        """A script that prints credentials."""
        head = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
        return f"cat <<'E'\n{json.dumps({**head, 'status': status})}\nE"

    def write(self) -> Path:
        """Write the kubeconfig."""
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        clusters, users = [{"name": "c", "cluster": self.cluster}], [{"name": "u", "user": self.user}]
        config = {"clusters": clusters, "users": users, "contexts": [context], "current-context": "x"}
        path = self.folder / "kubeconfig"
        path.write_text(self.text or json.dumps(config))
        return path


def refuse(status: int) -> Callable[[Setting], None]:
    """Answer everything with a status."""

    def prepare(setting: Setting) -> None:
        setting.server.always = [
            Fault(verb, kind=kind, status=status)
            for verb in ("list", "watch")
            for kind in ("Service", "EndpointSlice", "Node")
        ]

    return prepare


def unauthorized(setting: Setting) -> None:
    """Set the case up: unauthorized."""
    setting.server.tokens = {"other"}


def error_event(setting: Setting) -> None:
    """Set the case up: error event."""
    event = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "no: ECHO"}}
    setting.server.always = [Fault("watch", event=event)]


def garbage(setting: Setting) -> None:
    """Set the case up: garbage."""
    setting.server.always = [Fault("list", body=f"<html>{MARKER}</html>".encode())]


def basic(setting: Setting) -> None:
    """Set the case up: basic."""
    setting.user = {"username": "ada", "password": MARKER}
    refuse(403)(setting)


def password_in_server(setting: Setting) -> None:
    """Set the case up: password in server."""
    setting.user = {}
    setting.cluster["server"] = setting.server.url.replace("//", f"//ada:{quote(MARKER, safe='')}@")
    refuse(403)(setting)


def password_in_wrong_server(setting: Setting) -> None:
    """Set the case up: password in wrong server."""
    setting.cluster["server"] = f"https://ada:{quote(MARKER, safe='')}@host:port"


def password_in_master(setting: Setting) -> None:
    """Set the case up: password in master."""
    setting.master = f"ftp://ada:{MARKER}@host"


def another_authority(setting: Setting) -> None:
    """Set the case up: another authority."""
    setting.cluster["certificate-authority"] = str(Authority(setting.folder, "other").certificate)


def nobody_listens(setting: Setting) -> None:
    """Set the case up: nobody listens."""
    setting.cluster["server"] = f"https://ada:{quote(MARKER, safe='')}@127.0.0.1:1"


def no_such_host(setting: Setting) -> None:
    """Set the case up: no such host."""
    setting.cluster["server"] = f"https://ada:{quote(MARKER, safe='')}@host.invalid"


def token_with_control_characters(setting: Setting) -> None:
    """Set the case up: token with control characters."""
    setting.user = {"token": f"{MARKER}\nX-Evil: 1"}


def token_not_text(setting: Setting) -> None:
    """Set the case up: token not text."""
    setting.user = {"token": [MARKER]}


def token_file_with_control_characters(setting: Setting) -> None:
    """Set the case up: token file with control characters."""
    (setting.folder / "token").write_bytes(f"{MARKER}\x00\xff".encode("latin-1"))
    setting.user = {"tokenFile": "token"}


def key_that_is_none(setting: Setting) -> None:
    """Set the case up: key that is none."""
    text = f"-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n"
    key = base64.b64encode(text.encode()).decode()
    setting.user = {"client-certificate-data": key, "client-key-data": key}


def key_not_base64(setting: Setting) -> None:
    """Set the case up: key not base64."""
    setting.user = {"client-certificate-data": "YQ==", "client-key-data": f"?{MARKER}"}


def broken_yaml(setting: Setting) -> None:
    """Set the case up: broken yaml."""
    setting.text = f"users:\n- user: {{token: *{MARKER}\n"


def yaml_with_tags(setting: Setting) -> None:
    """Set the case up: yaml with tags."""
    setting.text = f"users:\n- user: {{token: !{quote(MARKER)} x, password: !!binary {MARKER}}}\n"


def contradiction(setting: Setting) -> None:
    """Set the case up: contradiction."""
    setting.user = {"token": MARKER, "username": "ada", "password": MARKER}


def provider(setting: Setting) -> None:
    """Set the case up: provider."""
    setting.user = {"auth-provider": {"name": "oidc", "config": {"refresh-token": MARKER}}}


def proxy_that_refuses(setting: Setting) -> None:
    """Set the case up: proxy that refuses."""
    credentials = base64.b64encode(f"ada:{MARKER}".encode()).decode()
    setting.proxy = Proxy(1, refuse_with=f"407 {MARKER} {credentials}")
    setting.cluster["proxy-url"] = f"http://ada:{quote(MARKER, safe='')}@127.0.0.1:{setting.proxy.port}"


def proxy_that_is_away(setting: Setting) -> None:
    """Set the case up: proxy that is away."""
    setting.cluster["proxy-url"] = f"http://ada:{quote(MARKER, safe='')}@127.0.0.1:1"


def socks_proxy_that_is_away(setting: Setting) -> None:
    """Set the case up: socks proxy that is away."""
    setting.cluster["proxy-url"] = f"socks5://ada:{quote(MARKER, safe='')}@127.0.0.1:1"


def proxy_of_another_kind(setting: Setting) -> None:
    """Set the case up: proxy of another kind."""
    setting.cluster["proxy-url"] = f"ftp://ada:{MARKER}@127.0.0.1:1"


def proxy_of_the_environment(setting: Setting) -> None:
    """Set the case up: proxy of the environment."""
    setting.cluster["server"] = "https://api.example"
    setting.environment = {"HTTPS_PROXY": f"http://ada:{quote(MARKER, safe='')}@127.0.0.1:1"}


def wrong_proxy_of_the_environment(setting: Setting) -> None:
    """Set the case up: wrong proxy of the environment."""
    setting.cluster["server"] = "https://api.example"
    setting.environment = {"HTTPS_PROXY": f"ftp://ada:{MARKER}@127.0.0.1:1"}


def plugin_token(setting: Setting) -> None:
    """Set the case up: plugin token."""
    setting.plugin(setting.prints(token=MARKER))
    refuse(403)(setting)


def plugin_that_fails(setting: Setting) -> None:
    """Set the case up: plugin that fails."""
    setting.plugin('echo "$SECRET" "$@"; echo "$SECRET" "$@" >&2; exit 3')


def plugin_that_prints_something_else(setting: Setting) -> None:
    """Set the case up: plugin that prints something else."""
    setting.plugin('echo "$SECRET"; echo "$SECRET" >&2')


def plugin_with_another_type(setting: Setting) -> None:
    """Set the case up: plugin with another type."""
    setting.plugin(f'echo \'{{"kind": "{MARKER}", "status": {{"token": ["{MARKER}"]}}}}\'')


def plugin_with_a_wrong_time(setting: Setting) -> None:
    """Set the case up: plugin with a wrong time."""
    setting.plugin(setting.prints(token=MARKER, expirationTimestamp=MARKER))


def plugin_with_a_wrong_key(setting: Setting) -> None:
    """Set the case up: plugin with a wrong key."""
    setting.plugin(setting.prints(clientCertificateData=MARKER, clientKeyData=MARKER))


def plugin_that_is_missing(setting: Setting) -> None:
    """Set the case up: plugin that is missing."""
    setting.plugin("")
    setting.user["exec"]["command"] = "./none"


def plugin_with_a_zero_byte(setting: Setting) -> None:
    """Set the case up: plugin with a zero byte."""
    setting.plugin("", args=[f"{MARKER}\x00"])


CASES = [
    refuse(403), refuse(500), unauthorized, error_event, garbage, basic, password_in_server, password_in_wrong_server,
    password_in_master, another_authority, nobody_listens, no_such_host, token_with_control_characters, token_not_text,
    token_file_with_control_characters, key_that_is_none, key_not_base64, broken_yaml, yaml_with_tags, contradiction,
    provider, proxy_that_refuses, proxy_that_is_away, socks_proxy_that_is_away, proxy_of_another_kind,
    proxy_of_the_environment, wrong_proxy_of_the_environment, plugin_token, plugin_that_fails,
    plugin_that_prints_something_else, plugin_with_another_type, plugin_with_a_wrong_time, plugin_with_a_wrong_key,
    plugin_that_is_missing, plugin_with_a_zero_byte,
]  # fmt: skip


@pytest.mark.parametrize("prepare", CASES, ids=lambda case: case.__name__)
def test_no_secret_comes_out(
    prepare: Callable[[Setting], None],
    tmp_path: Path,
    server: ApiServer,
    authority: Authority,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Log, output, pages, events, findings of `doctor` and tracebacks; and each fault is reported somewhere."""
    setting = Setting(tmp_path, server, authority)
    prepare(setting)
    for name, value in setting.environment.items():
        monkeypatch.setenv(name, value)
    kubeconfig = setting.write()
    configure(level="debug")
    if setting.proxy is not None:
        setting.proxy.__enter__()
    try:
        said = follow(kubeconfig, setting.master)
        said += [repr(f) for f in examine(read_node(Settings(), str(kubeconfig), root=tmp_path))]
    finally:
        if setting.proxy is not None:
            setting.proxy.__exit__()
    said += [json.dumps(server.events), *capfd.readouterr()]
    everything = "\n".join(said)
    assert "API server" in everything or "kubeconfig" in everything
    basic_header = base64.b64encode(f"ada:{MARKER}".encode()).decode()
    for shape in (MARKER, quote(MARKER, safe=""), quote(MARKER), basic_header, json.dumps(MARKER)[1:-1], "S3CRET"):
        assert shape not in everything


def follow(kubeconfig: Path, master: str) -> list[str]:
    """Follow the server until something has failed; answer all that can be seen of it."""
    log = StructuredLogger()
    try:
        access = ApiAccess(str(kubeconfig), master, warn=lambda reason: log.warning("not renewed", reason=reason))
    except SourceError as error:
        return ["".join(traceback.format_exception(error)), repr(error)]
    node = FakeNode(clock=time.monotonic)
    transport = KubernetesTransport(access)
    source = ApiSource(transport, "node-1", node.mailbox.put, log, patience=0.02)
    events = EventRecorder(transport, "node-1", log, pause_seconds=0)
    owner = threading.Thread(target=node.reconciler.run, daemon=True)
    said: list[str] = []
    try:
        said += [repr(access.current())]
    except SourceError as error:
        said += ["".join(traceback.format_exception(error))]
    events.record(NodeNotice("Starting", "starts"))
    owner.start()
    events.start()
    source.start()
    wait_until(lambda: bool(source.faults()), "a fault")
    events.finish(1.0)
    inputs = ServingInputs(
        status=node.status,
        progress=node.mailbox.progress,
        settings=lambda: node.published.settings,
        silence_seconds=lambda: 1000.0,
        source_faults=source.faults,
    )
    pages = Pages(inputs, Health(inputs))
    for path in ("/statusz", "/configz", "/flagz", "/readyz", "/livez"):
        said.append(pages.handle(Request("GET", path)).body.decode())
    said += [repr(vars(access)), repr(vars(transport)), str(source.faults())]
    source.stop()
    node.mailbox.put(Stop())
    owner.join()
    return said
