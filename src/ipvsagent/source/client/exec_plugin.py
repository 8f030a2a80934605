"""Credentials from a program: the `exec` section of a kubeconfig (client.authentication.k8s.io).

The program runs again if its credentials have expired, if the server refused them (401), and for the next request after
it failed. Until it succeeds, no request is sent: without credentials the server would treat this client as anonymous.
The program's output, arguments and environment may contain secrets and are never shown.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from ipvsagent.errors import SourceError
from ipvsagent.source.client.secret import NO_SECRET, Secret

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
TIMEOUT_SECONDS = 60.0


class ExecConfig(Struct, frozen=True, kw_only=True):
    """The `exec` section; the command's path is already resolved."""

    command: str
    api_version: str
    args: tuple[Secret, ...] = ()
    env: tuple[tuple[str, Secret], ...] = ()
    install_hint: str = ""
    cluster: Mapping[str, object] | None = None  # passed to the program if `provideClusterInfo` is set


class PluginCredentials(Struct, frozen=True):
    """The program's answer: a token, a client certificate with its key, or both.

    Args:
        expires_at: Unix time; None if they are valid until the server refuses them.
    """

    token: Secret = NO_SECRET
    certificate: Secret = NO_SECRET
    key: Secret = NO_SECRET
    expires_at: float | None = None


class _Status(Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: str | None = None


class _Answer(Struct, rename="camel"):
    kind: str = ""
    api_version: str = ""
    status: _Status | None = None


class ExecPlugin:
    """Runs the program and keeps its credentials; used by one thread at a time.

    Args:
        now: Unix time.
    """

    def __init__(
        self, config: ExecConfig, now: Callable[[], float], *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self._config = config
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._credentials: PluginCredentials | None = None

    def credentials(self) -> PluginCredentials:
        """Return credentials that have not expired; run the program if there are none.

        Raises:
            SourceError: the program failed or printed something else.
        """
        held = self._credentials
        if held is None or (held.expires_at is not None and self._now() > held.expires_at):
            self._credentials = None
            self._credentials = held = self._parse(self._run())
        return held

    def forget(self) -> None:
        """Drop the credentials, because the server refused them."""
        self._credentials = None

    def _run(self) -> bytes:
        config = self._config
        info = {"kind": "ExecCredential", "apiVersion": config.api_version, "spec": {"interactive": False}}
        if config.cluster is not None:
            info["spec"] = {"interactive": False, "cluster": config.cluster}
        environment = dict(os.environ) | {name: value.reveal() for name, value in config.env}
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
        try:
            ended = subprocess.run(
                [config.command, *(a.reveal() for a in config.args)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_seconds,
                check=False,
            )
        except FileNotFoundError:
            hint = " ".join(self._config.install_hint.split())
            raise self._error(f"is not installed{hint and '; '}{hint}") from None
        except OSError as error:
            raise self._error(f"cannot be run: {error.strerror}") from None
        except ValueError:  # a zero byte in an argument
            raise self._error("cannot be run: an argument or a variable contains a zero byte") from None
        except subprocess.TimeoutExpired:
            raise self._error(f"did not end within {self._timeout_seconds:g} s") from None
        if ended.returncode:
            raise self._error(f"failed with exit code {ended.returncode}")
        return ended.stdout

    def _parse(self, output: bytes) -> PluginCredentials:
        try:
            answer = msgspec.json.decode(output, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._error("did not print an ExecCredential in JSON") from None
        if answer.kind != "ExecCredential" or answer.api_version != self._config.api_version:
            raise self._error(f"did not print an ExecCredential of apiVersion {self._config.api_version}")
        status = answer.status or _Status()
        certificate, key = status.client_certificate_data or "", status.client_key_data or ""
        if bool(certificate) != bool(key):
            raise self._error("printed a client certificate without its key, or a key without its certificate")
        if not status.token and not certificate:
            raise self._error("printed neither a token nor a client certificate")
        return PluginCredentials(
            Secret((status.token or "").strip()),
            Secret(certificate),
            Secret(key),
            self._expiry(status.expiration_timestamp),
        )

    def _expiry(self, text: str | None) -> float | None:
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise self._error("printed an expirationTimestamp that is not a time in RFC 3339") from None
        return moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=UTC).timestamp()

    def _error(self, fact: str) -> SourceError:
        return SourceError(f"the credential plugin `{os.path.basename(self._config.command)}` {fact}")
