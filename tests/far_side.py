"""A remote host that the service calls: real TLS on loopback, its own CA, and responses defined byte by byte.

`dialled` records every connection attempt of this process and blocks those that would leave the machine.
"""

import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers import PATIENCE

Answer = Callable[[bytes], Iterable[bytes]]
"""Returns the parts of the response to a request head."""


def answer(body: bytes = b"{}", status: str = "200 OK", **fields: str) -> Answer:
    """Return the same response to every request. An underscore in a field name becomes a hyphen."""
    lines = {"content_type": "application/json", "content_length": str(len(body)), **fields}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return lambda _request: [f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body]


@dataclass(slots=True)
class FarSide:
    """A server, the request heads that it received, and the number of connections to it."""

    port: int
    answer: Answer = field(default_factory=answer)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority. `file` is the value for SSL_CERT_FILE."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def context(self, directory: Path, *names: str) -> ssl.SSLContext:
        """Return the TLS context of a server with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = [
            x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        certificate = (
            _builder(names[0], self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        path = directory / f"{names[0]}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def authority(directory: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Acme's authority")])
    usage = dict.fromkeys(
        (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )  # fmt: skip
    certificate = (
        _builder("Acme's authority", name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "authority.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return Authority(file, key, certificate)


def _builder(name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


@contextmanager
def far_side(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[FarSide]:
    """Run a server on loopback; without TLS if `context` is None."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        found = FarSide(sock.getsockname()[1])
        thread = Thread(target=_serve, args=(sock, context, found))
        thread.start()
        try:
            yield found
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def _serve(sock: socket.socket, context: ssl.SSLContext | None, found: FarSide) -> None:
    while True:
        try:
            connection, _ = sock.accept()
        except OSError:
            return
        found.connections += 1
        connection.settimeout(PATIENCE)
        with suppress(OSError):
            _answer(connection, context, found)
        connection.close()


def _answer(connection: socket.socket, context: ssl.SSLContext | None, found: FarSide) -> None:
    with connection if context is None else context.wrap_socket(connection, server_side=True) as line:
        head = b""
        while b"\r\n\r\n" not in head:
            part = line.recv(65536)
            if not part:
                return
            head += part
        found.requests.append(head)
        for part in found.answer(head):
            line.sendall(part)


_listening: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _listening and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        _listening[-1].append(host)
        if not ip_address(host).is_loopback:
            raise OSError("tests do not leave the machine")


@contextmanager
def dialled() -> Iterator[list[str]]:
    """The addresses of all connection attempts so far."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hook)
    found: list[str] = []
    _listening.append(found)
    try:
        yield found
    finally:
        _listening.remove(found)


_hooked: list[bool] = []
"""The audit hook. The interpreter cannot remove one, so there is only one."""
