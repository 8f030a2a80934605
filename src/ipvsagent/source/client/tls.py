"""TLS as client-go sets it up, from values in memory.

Python's `ssl` reads client certificates only from files. They are passed through a pipe, so that no key is in a
temporary file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import ssl
from collections.abc import Iterator

from ipvsagent.errors import SourceError
from ipvsagent.source.client.access import Connection
from ipvsagent.source.client.secret import Secret

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_LARGEST_PAIR_BYTES = 1 << 20


def client_context(connection: Connection) -> ssl.SSLContext:
    """Return the TLS context for a connection.

    Raises:
        SourceError: the authorities or the client certificate are not valid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, an intermediate authority is enough
    if not connection.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif connection.authorities:
        _trust(context, connection.authorities)
    else:
        context.load_default_certs()
    if connection.certificate:
        _present(context, connection)
    return context


def _trust(context: ssl.SSLContext, pem: bytes) -> None:
    """Trust each certificate that can be read; at least one is needed."""
    trusted = 0
    for block in _CERTIFICATE.findall(pem):
        with contextlib.suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=ssl.PEM_cert_to_DER_cert(block.decode("ascii")))
            trusted += 1
    if not trusted:
        raise SourceError("the certificate authority contains no readable certificate (PEM)")


def _present(context: ssl.SSLContext, connection: Connection) -> None:
    try:
        with _as_file(connection.certificate) as certificate_path, _as_file(connection.key) as key_path:
            context.load_cert_chain(certificate_path, key_path, password=lambda: "")  # never prompt on a terminal
    except (ssl.SSLError, OSError, ValueError):
        raise SourceError("the client certificate or its key cannot be read (PEM), or they do not match") from None


@contextlib.contextmanager
def _as_file(text: Secret) -> Iterator[str]:
    """Provide a Latin-1 text at a path, which this process can read once."""
    content = text.reveal().encode("latin-1")
    if len(content) > _LARGEST_PAIR_BYTES:
        raise ValueError("too large")
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        try:
            if len(content) > fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ):
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _LARGEST_PAIR_BYTES)
            os.write(writer, content)
        finally:
            os.close(writer)
        yield f"/proc/self/fd/{reader}"
    finally:
        os.close(reader)
