"""Messages for faults of a connection, made from error numbers and types.

The messages never contain a library's text, which may quote a header, a proxy's URL with its password, or a proxy's
answer.
"""

from __future__ import annotations

import os
import re
import socket
import ssl

_STATUS = re.compile(r"Tunnel connection failed: (\d{3})\b")


def describe(error: BaseException) -> str:
    """Describe a fault in a few words without secrets."""
    from urllib3 import exceptions as urllib3

    match error:
        case urllib3.ConnectTimeoutError():
            return "connecting took too long"
        case urllib3.ReadTimeoutError() | TimeoutError():
            return "nothing was received for too long"
        case urllib3.ProxyError():
            return f"the proxy did not connect: {_proxy_reason(error)}"
        case ssl.SSLCertVerificationError():
            return f"CERTIFICATE_VERIFY_FAILED: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no reason given'}"
        case urllib3.NameResolutionError() | socket.gaierror():
            return "its name cannot be resolved"
        case urllib3.InvalidChunkLength() | urllib3.IncompleteRead():
            return "the answer is cut short"
        case ConnectionError() if error.errno is None:
            return "the connection was closed without an answer"
        case OSError() if error.errno is not None:
            return os.strerror(error.errno)
    inner = _inner(error)
    return describe(inner) if inner is not None else type(error).__name__


def _proxy_reason(error: BaseException) -> str:
    inner = _inner(error)
    status = _STATUS.match(str(inner)) if isinstance(inner, OSError) else None
    if status:
        return f"it answers {status[1]}"
    return describe(inner) if inner is not None else "no reason given"


def _inner(error: BaseException) -> BaseException | None:
    """Return the error inside another one: an argument, or its cause."""
    found = next((a for a in error.args if isinstance(a, BaseException)), None)
    return found or error.__cause__ or getattr(error, "original_error", None)
