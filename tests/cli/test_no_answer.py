"""CLI: messages when no service responds: wrong name, wrong port, certificate and another program are distinct."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ostiary.cli.main import run
from tests.servers import free_port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + key.private_bytes(*form))
    return file


@pytest.fixture
def peer(certificate: Path) -> Iterator[Callable[[bytes | None], int]]:
    """Starts a server that sends these bytes to each connection. None: it does TLS and sends nothing."""
    sockets: list[socket.socket] = []

    def answer(listening: socket.socket, said: bytes | None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with contextlib.suppress(OSError), connection:
                    if said is None:
                        context.wrap_socket(connection, server_side=True).close()
                    else:
                        connection.recv(65536)
                        connection.sendall(said)

    def start(said: bytes | None) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)
        threading.Thread(target=answer, args=(listening, said), daemon=True).start()
        return int(listening.getsockname()[1])

    yield start
    for each in sockets:
        each.shutdown(socket.SHUT_RDWR)
        each.close()


@pytest.mark.parametrize(
    "url, said, words",
    [
        ("http://127.0.0.1:{free}", b"", "connection refused"),
        ("https://nowhere.invalid", b"", "its name cannot be resolved"),
        ("http://127.0.0.1:{port}", b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not speak HTTP"),
        ("http://127.0.0.1:{port}", b"", "closed the connection"),
        ("https://127.0.0.1:{port}", b"HTTP/1.1 400 Bad\r\n\r\n", "is it http://?"),
        ("https://localhost:{port}", None, "SSL_CERT_FILE"),
    ],
    ids=["refused", "name", "not HTTP", "closed", "not TLS", "certificate"],
)
def test_why_nothing_answers_is_told_apart(
    url: str,
    said: bytes | None,
    words: str,
    peer: Callable[[bytes | None], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: a person cannot tell a wrong name, a wrong port and a certificate apart, or reads what the peer sent."""
    monkeypatch.setenv("OSTIARY_URL", url.format(free=free_port(), port=peer(said)))
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")
    assert run(["whoami"]) == 3
    shown = capsys.readouterr().err
    assert words in shown
    assert "OpenSSH" not in shown
    assert ("SSL_CERT_FILE" in shown) == (said is None)


def test_an_authority_of_one_s_own_is_named_by_ssl_cert_file(
    certificate: Path,
    peer: Callable[[bytes | None], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: the advice for certificates does not help, or a wrong SSL_CERT_FILE is a traceback."""
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")
    port = peer(None)
    for host, file, words in (
        ("localhost", certificate, "closed the connection"),
        ("127.0.0.1", certificate, "IP address mismatch"),
        ("localhost", tmp_path / "missing", "SSL_CERT_FILE or SSL_CERT_DIR is wrong"),
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        monkeypatch.setenv("OSTIARY_URL", f"https://{host}:{port}")
        assert run(["whoami"]) == 3
        shown = capsys.readouterr().err
        assert words in shown
        assert "in SSL_CERT_FILE" not in shown
