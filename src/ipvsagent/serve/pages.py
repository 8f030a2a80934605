"""The pages of the metrics server, for people and monitoring (HC-20 to HC-26); GET and HEAD only.

Profiling is not supported: `/debug/` is always 404 (HC-25).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus

from ipvsagent import __version__
from ipvsagent.http_server.http1 import JSON, NO_SNIFFING, Request, Response, plain_error, text_response
from ipvsagent.serve.configz import configz
from ipvsagent.serve.health import Health
from ipvsagent.serve.inputs import ServingInputs
from ipvsagent.serve.metrics.component_slis import CHECKS, CONTENT_TYPE, ComponentSlis

_COMPONENT = "ipvsagent"
_GROUP_VERSIONS = ("v1beta1", "v1alpha1")  # of config.k8s.io, preferred one first
_WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only.\n"
)


class Pages:
    """Answers on the metrics server."""

    def __init__(self, inputs: ServingInputs, health: Health) -> None:
        self._inputs = inputs
        self._health = health
        self._checks = ComponentSlis()
        self._routes: Mapping[str, Callable[[Request], Response]] = {
            "/healthz": lambda _: self._verdict("healthz"),
            "/healthz/ping": lambda _: self._verdict("healthz"),
            "/livez": lambda _: self._verdict("livez"),
            "/readyz": lambda _: self._verdict("readyz"),
            "/proxyMode": lambda _: text_response(HTTPStatus.OK, "ipvs"),  # HC-21
            "/configz": lambda _: _json(configz(inputs.settings())),
            "/statusz": self._statusz,
            "/flagz": self._flagz,
            "/metrics": lambda _: self._metrics(),
            "/metrics/slis": lambda _: self._slis(),
        }

    def handle(self, request: Request) -> Response:
        """Return the response of the page."""
        page = self._routes.get(request.path)
        if page is None:
            return plain_error(HTTPStatus.NOT_FOUND)
        if request.method not in ("GET", "HEAD"):
            return plain_error(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        return page(request)

    def _metrics(self) -> Response:
        if self._inputs.metrics is None:
            return plain_error(HTTPStatus.NOT_FOUND)
        content_type, body = self._inputs.metrics()
        return Response(HTTPStatus.OK, (("Content-Type", content_type),), body)

    def _not_live(self) -> list[str]:
        if self._health.is_healthy():
            return []
        return [f"work has been outstanding for {self._health.late_seconds():.0f} s"]

    def _not_ready(self) -> list[str]:
        status = self._inputs.status()
        if not status.complete:
            return ["Services and EndpointSlices were not listed yet"]
        if not status.prepared:
            return ["the first synchronisation is not done yet"]
        if age := self._health.stale_seconds():
            return [f"the API server has confirmed nothing for {age:.0f} s", *self._inputs.source_faults()]
        return []

    def _reasons(self, check_type: str) -> list[str]:
        """Return the reasons why a check fails; `/healthz` never fails: it shows that the process is alive (HC-22)."""
        match check_type:
            case "livez":
                return self._not_live()
            case "readyz":
                return self._not_live() + self._not_ready()
            case _:
                return []

    def _slis(self) -> Response:
        well = {check_type: not self._reasons(check_type) for check_type in CHECKS}
        return Response(HTTPStatus.OK, (("Content-Type", CONTENT_TYPE),), self._checks.text(well).encode())

    def _verdict(self, check_type: str) -> Response:
        reasons = self._reasons(check_type)
        self._checks.note(check_type, well=not reasons)
        if not reasons:
            return text_response(HTTPStatus.OK, "ok")
        return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{reason}\n" for reason in reasons))

    def _statusz(self, request: Request) -> Response:
        started, now = self._inputs.started_at, self._inputs.now()
        up = now - started
        version = _asked_version(request.accept, "Statusz")
        if version is None:
            return plain_error(HTTPStatus.NOT_ACCEPTABLE)
        if version:
            return _structured(
                "Statusz",
                version,
                startTime=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
                uptimeSeconds=int(up.total_seconds()),
                binaryVersion=__version__,
                paths=sorted(self._routes),
            )
        status = self._inputs.status()
        lines = {
            "Started": started.strftime("%a %b %d %H:%M:%S UTC %Y"),
            "Up": _up(up),
            "Binary version": __version__,
            "Paths": " ".join(sorted(self._routes)),
            "Healthy": _yes(self._health.is_healthy()),
            "Synchronised": _yes(status.synchronised),
            "Node eligible": _yes(status.node_eligible),
            "Address families": ", ".join(f.label for f in status.families) or "none",
            "Services": status.services,
            "Virtual servers": status.virtual_servers,
            "Failures": len(status.failures),
            "Problems": len(status.problems),
            "Configuration refused": " ".join(status.configuration_refused.split()) or "no",
            "Waiting for a restart": ", ".join(status.waiting_for_restart) or "nothing",
            **self._api_age(),
        }
        rows = "".join(f"{name}: {value}\n" for name, value in lines.items())
        faults = (*self._inputs.source_faults(), *status.failures[:50], *map(str, status.problems[:50]))
        details = "".join(f"- {line}\n" for line in faults)
        return text_response(HTTPStatus.OK, f"\n{_COMPONENT} statusz\n{_WARNING}\n{rows}{details}")

    def _api_age(self) -> dict[str, str]:
        silence = self._inputs.silence_seconds
        return {} if silence is None else {"Confirmed by the API server": f"{silence():.0f} s ago"}

    def _flagz(self, request: Request) -> Response:
        version = _asked_version(request.accept, "Flagz")
        if version is None:
            return plain_error(HTTPStatus.NOT_ACCEPTABLE)
        if version:
            return _structured("Flagz", version, flags=dict(self._inputs.flags))
        rows = "".join(f"{name}={value}\n" for name, value in self._inputs.flags)
        return text_response(HTTPStatus.OK, f"\n{_COMPONENT} flagz\n{_WARNING}\n{rows}")


def _asked_version(accept: str, kind: str) -> str | None:
    """Return the version of `config.k8s.io` that a client requests; empty for plain text, None for neither (HC-24)."""
    asked = [part.strip().lower() for part in accept.split(",") if part.strip()]
    for media in asked:
        name, *parameters = (word.strip() for word in media.split(";"))
        values = dict(p.partition("=")[::2] for p in parameters)
        if name in ("*/*", "text/plain", "text/*"):
            return ""
        if name == JSON and values.get("g") == "config.k8s.io" and values.get("as") == kind.lower():
            version = values.get("v", "")
            if version in _GROUP_VERSIONS:
                return version
    return None if asked else ""


def _structured(kind: str, version: str, **fields: object) -> Response:
    head = {"kind": kind, "apiVersion": f"config.k8s.io/{version}", "metadata": {"name": _COMPONENT}}
    return _json({**head, **fields})


def _json(content: object) -> Response:
    return Response(HTTPStatus.OK, (("Content-Type", JSON), NO_SNIFFING), json.dumps(content).encode())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _up(duration: dt.timedelta) -> str:
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} hr {minutes:02} min {seconds:02} sec"
