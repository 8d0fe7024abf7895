"""A stand-in for the gateway of a cluster: a reverse proxy that behaves as Istio's does.

It stands in for Envoy, which nothing here can run: it hands on what is under a prefix, with the
prefix taken off, and says what Envoy says where there is no route, no server or no permission.
Behind it are real servers.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Gateway:
    """What it does, which a test may change while it runs.

    Attributes:
        routes: Prefix of a path, without `/` at its end, to the URL behind it.
        host: Name that requests have to be for; empty for any.
        token: Bearer token it wants; empty for none.
        away: So many requests are answered 503 instead of handed on.
        says: Answers every request with this status, these headers and this body instead.
        seen: Method and path of what came.
    """

    routes: dict[str, str] = field(default_factory=dict)
    host: str = ""
    token: str = ""
    away: int = 0
    says: tuple[int, Mapping[str, str], bytes] | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: Gateway

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        pass

    def _serve(self) -> None:
        gateway = self.gateway
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        gateway.seen.append((self.command, self.path))
        if gateway.says:
            self._say(*gateway.says)
        elif gateway.host and self.headers["host"] != gateway.host:
            self._say(404, {}, b"")
        elif gateway.token and self.headers["authorization"] != f"Bearer {gateway.token}":
            refused = self.headers["authorization"]
            self._say(403 if refused else 401, {}, b"RBAC: access denied" if refused else b"")
        elif gateway.away:
            gateway.away -= 1
            self._say(503, {}, b"upstream connect error or disconnect/reset before headers.")
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        for prefix, target in self.gateway.routes.items():
            if self.path.startswith(f"{prefix}/"):
                parts = urlsplit(target)
                inner = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
                with contextlib.closing(inner):
                    kept = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                    inner.request(self.command, self.path.removeprefix(prefix), body, kept)
                    answer = inner.getresponse()
                    said = {k: v for k, v in answer.getheaders() if k.lower() not in _OF_THE_HOP}
                    self._say(answer.status, said, answer.read())
                return
        self._say(404, {}, b"")

    def _say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"server": "istio-envoy", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_OF_THE_HOP = ("connection", "content-length", "server", "transfer-encoding")


@contextlib.contextmanager
def open_gateway(routes: Mapping[str, str], tls: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    """Run a gateway until the block ends."""
    gateway = Gateway(dict(routes))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": gateway})
    )
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    gateway.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return the certificate of an authority of our own, and what a server for 127.0.0.1 shows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    file, secret = folder / "ca.pem", folder / "ca.key"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, secret)
    return file, context
