"""Certificates for tests, made with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """One file with both, as the test API server wants it."""
        path = self.certificate.with_suffix(".both")
        path.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        return path


class Authority:
    """Issues certificates.

    Args:
        parent: who signs it; None for itself.
    """

    def __init__(self, folder: Path, name: str, parent: Authority | None = None) -> None:
        self._folder = folder
        ca = "basicConstraints=critical,CA:TRUE"
        self.pair: Pair = _make(folder, name, ca, parent.pair if parent else None)

    @property
    def certificate(self) -> Path:
        """What those trust who trust it."""
        return self.pair.certificate

    def issue(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost") -> Pair:
        """Make a certificate.

        Args:
            name: its common name.
            names: its subjectAltName.
        """
        return _make(self._folder, name, f"subjectAltName={names}", self.pair)


def _make(folder: Path, name: str, extension: str, signer: Pair | None) -> Pair:
    made = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    signed_by = ["-CA", str(signer.certificate), "-CAkey", str(signer.key)] if signer else []
    files = ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(
        ["openssl", *words.split(), "-subj", f"/CN={name}", "-addext", extension, *signed_by, *files],
        check=True,
        capture_output=True,
    )
    return made
