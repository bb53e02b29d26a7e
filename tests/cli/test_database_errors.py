"""Messages about a database that cannot be used: the cause, the next step, and no secret."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ostiary.cli.main import run
from tests.promises.test_p12_postgresql_service import MASTER_KEY
from tests.servers import Postgres, free_port

pytestmark = pytest.mark.promise("P7")

PASSWORD = "hunter2correcthorse"


def told(url: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of `serve`, `doctor` and `migrate`, which must be equal, with the exit code of each."""
    monkeypatch.setenv("OSTIARY_DATABASE_URL", url)
    monkeypatch.setenv("OSTIARY_MASTER_KEY", MASTER_KEY)
    said = []
    for command, code in (("serve", 3), ("doctor", 1), ("migrate", 3)):
        assert run([command, "--data", str(data)]) == code
        shown = capsys.readouterr()
        text = " ".join((shown.out + shown.err).split())
        assert PASSWORD not in text
        said.append(text)
    serve, doctor, migrate = said
    assert serve == migrate
    assert serve.removeprefix("Error: ") in doctor
    return serve


@pytest.mark.full
@pytest.mark.parametrize(
    ("user", "password", "database", "cause"),
    [
        ("postgres", PASSWORD, "postgres", "must be percent-encoded"),
        ("nobody", PASSWORD, "postgres", "refuses the user or the password"),
        ("postgres", None, "nowhere", "does not exist on that server"),
    ],
    ids=["password", "user", "database"],
)
def test_a_server_that_refuses(
    postgres: Postgres, user: str, password: str | None, database: str, cause: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Operators break: a wrong password or a missing database looks like a server that is down."""
    url = f"postgresql://{user}:{password or postgres.password}@127.0.0.1:{postgres.port}/{database}"
    assert cause in told(url, tmp_path, monkeypatch, capsys)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that sends these bytes to each connection. Returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def refusing(message: str) -> Callable[[socket.socket], None]:
    """Refuse TLS, then send a fatal error."""
    fields = b"".join(
        code + text.encode() + b"\0" for code, text in ((b"S", "FATAL"), (b"C", "08P01"), (b"M", message))
    )

    def answer(connection: socket.socket) -> None:
        if connection.recv(4096)[4:8] == (80877103).to_bytes(4):
            connection.sendall(b"N")
            connection.recv(4096)
        connection.sendall(b"E" + (len(fields) + 5).to_bytes(4) + fields + b"\0")

    return answer


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("unsupported startup parameter: options", "refuses the start-up parameter `options`"),
        (
            'no pg_hba.conf entry for host "192.0.2.1", user "alice"',
            "does not admit this user from this address",
        ),
        ("sorry, too many clients already", "raise max_connections"),
        ("something that nobody has seen before", "The database does not answer. Check OSTIARY_DATABASE_URL"),
    ],
)
def test_what_a_server_says_is_recognized_and_not_repeated(
    message: str,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Operators break: a refusal by a pooler or server with a known cause looks like a server that is down."""
    with answering(refusing(message)) as port:
        said = told(f"postgresql://alice:{PASSWORD}@127.0.0.1:{port}/ostiary", tmp_path, monkeypatch, capsys)
    assert cause in said
    assert "alice" not in said


@pytest.mark.parametrize(
    ("host", "cause"), [("127.0.0.1", "nothing accepts connections"), ("db.invalid", "has no address")]
)
def test_a_server_that_is_not_there(
    host: str,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Operators break: a wrong host and a wrong port have the same message."""
    url = f"postgresql://alice:{PASSWORD}@{host}:{free_port()}/ostiary"
    assert cause in told(url, tmp_path, monkeypatch, capsys)
