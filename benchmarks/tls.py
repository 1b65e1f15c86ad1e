"""A token endpoint over https, with a certificate of its own among those that are usually trusted.

An HTTP client that calls it has to set up TLS as it does for ThingSpace: most of that is loading
the certificates of certifi.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HOST = "127.0.0.1"


class TlsEndpoint(NamedTuple):
    """Where the endpoint is, and a file with the certificates that its clients are to trust."""

    base_url: str
    bundle: str


@contextmanager
def tls_endpoint() -> Iterator[TlsEndpoint]:
    """An endpoint in a thread of this process, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as directory:
        certificate, bundle = Path(directory, "own.pem"), Path(directory, "bundle.pem")
        certificate.write_bytes(_key_and_certificate())
        bundle.write_bytes(Path(certifi.where()).read_bytes() + certificate.read_bytes())
        with _server(certificate) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield TlsEndpoint(f"https://{_HOST}:{server.server_port}", str(bundle))
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers every request with a token."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        token = {"access_token": "over-tls", "token_type": "Bearer", "expires_in": 3600}
        body = json.dumps(token).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


def _server(certificate: Path) -> ThreadingHTTPServer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer((_HOST, 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def _key_and_certificate() -> bytes:
    """A key and a certificate for this host, which it signed itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _HOST)])
    now = datetime.now(timezone.utc)
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(_HOST))]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(pem)
