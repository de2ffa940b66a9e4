"""Certificates for tests, by an authority of their own."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest


class Certificates:
    """``authority``: the file of the authority that has signed them. Skips the test where there is no openssl."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("openssl"):
            pytest.skip("no openssl on the PATH")
        self._folder, self.authority = folder, folder / "ca.pem"
        self._run("req", "-x509", *self._new("ca"), "-subj", "/CN=tests", "-out", "ca.pem", "-days", "2")

    def server(self, name: str) -> ssl.SSLContext:
        """A server's side of TLS under that name."""
        (self._folder / "names").write_text(f"subjectAltName=DNS:{name}\n")
        self._run("req", "-new", *self._new("own"), "-subj", f"/CN={name}", "-out", "own.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        self._run("x509", "-req", "-in", "own.csr", *signed, "-out", "own.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "own.pem", self._folder / "own.key")
        return context

    @staticmethod
    def _new(name: str) -> tuple[str, ...]:
        return "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self._folder, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
