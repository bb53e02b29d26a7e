"""The commands that initialize and start a service, as users run them."""

import contextlib
import json
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.promises.line import Line
from tests.servers import OSTIARY, Ostiary

pytestmark = pytest.mark.full


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Ostiary]:
    """A service that the test may stop."""
    with servers.ostiary(tmp_path / "data") as found:
        yield found


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    """One service for all tests that leave it unchanged, except for a new key of an admin."""
    with servers.ostiary(tmp_path_factory.mktemp("lasting") / "data") as found:
        yield found


def loopback_addresses() -> list[str]:
    """The loopback addresses of this machine, IPv4 and IPv6."""
    found = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as sock:
            sock.bind((address, 0))
            found.append(address)
    return found


def test_one_line_says_that_it_is_ready(tmp_path: Path) -> None:
    """Service breaks: standard output is not exactly one line, or the line comes before the port is open."""
    data, port = tmp_path / "data", servers.free_port()
    servers.initialise(data)
    process = subprocess.Popen(
        [*OSTIARY, "serve", "--data", str(data), "--port", str(port)],
        env=servers.clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    accepted = servers.accepts(port)
    process.terminate()
    rest, log = process.communicate(timeout=servers.PATIENCE)
    assert line == f"Ostiary is ready at http://localhost:{port}\n"
    assert accepted
    assert (rest, log) == ("", "")
    assert process.returncode == 0


def test_both_loopback_addresses_and_no_other_are_bound(lasting: Ostiary) -> None:
    """Build breaks: `localhost` reaches nothing on one of its addresses, or other machines reach the service."""
    bound = [address for address in ("127.0.0.1", "::1") if servers.accepts(lasting.port, address)]
    assert bound == loopback_addresses()
    # All of 127/8 is this machine, so a socket on every interface would accept here, too.
    assert not servers.accepts(lasting.port, "127.0.0.2")


def test_healthz_and_readyz(lasting: Ostiary) -> None:
    """Monitoring breaks: an orchestrator cannot recognize a live or a ready service."""
    for path, body in (("/healthz", {"status": "ok"}), ("/readyz", {"status": "ready"})):
        answer = httpx2.get(lasting.url + path)
        assert (answer.status_code, answer.json()) == (200, body)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_finishes_what_is_in_flight(server: Ostiary, sent: signal.Signals) -> None:
    """Service breaks: a stop aborts a request in flight, or an orderly end is reported as a failure."""
    body = json.dumps({"display_name": "Robo"}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=servers.PATIENCE) as sock:
        sock.sendall(
            b"POST /v1/service-accounts HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"x-api-key: %s\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
            % (server.key.encode(), len(body))
        )
        # The service has begun to read the body: the request is in flight.
        assert sock.recv(64).startswith(b"HTTP/1.1 100 ")
        server.process.send_signal(sent)
        servers.wait_until("the end of listening", lambda: not servers.accepts(server.port))
        assert server.process.poll() is None
        sock.sendall(body)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b'"display_name":"Robo"' in answer
    assert server.process.wait(servers.PATIENCE) == 0


def test_a_restart_keeps_what_was_made(server: Ostiary) -> None:
    """P3 breaks: an orderly end loses a key."""
    with Line(server.port, server.key) as line:
        made = line.made("/v1/api-keys", {"name": "Alice's"})
    server.process.terminate()
    server.process.wait(servers.PATIENCE)
    with servers.ostiary(server.data, server.first) as again, Line(again.port, again.key) as line:
        assert line.verify(made["secret"]) == "valid"


def test_a_second_init_is_refused(lasting: Ostiary) -> None:
    """Service breaks: `init` on a data directory in use initializes it again."""
    done = servers.run_command(
        "init", "--data", str(lasting.data), "--organization", "Umbrella", "--email", "charlie@umbrella.test",
        code=2,
    )  # fmt: skip
    assert done.stdout == ""
    assert "OSTIARY_DATA" in done.stderr
    assert "--recover" in done.stderr
    assert lasting.call("GET", "/v1/capabilities").json()["organization"]["name"] == "Acme"


def test_recover_makes_a_new_key_and_leaves_the_old_one(lasting: Ostiary) -> None:
    """Service breaks: the owner of the data cannot recover access, or a recovery locks them out."""
    done = servers.run_command("init", "--data", str(lasting.data), "--recover", "--json")
    again = json.loads(done.stdout)
    assert again["organization"] == lasting.first["organization"]
    assert again["admin"]["id"] == lasting.first["admin"]["id"]
    assert again["admin"]["password"] != lasting.first["admin"]["password"]
    assert again["api_key"] != lasting.key
    for key in (again["api_key"], lasting.key):
        found = lasting.call("GET", "/v1/capabilities", key=key)
        assert found.status_code == 200
        assert found.json()["principal"]["id"] == lasting.first["admin"]["id"]
    events = lasting.call("GET", "/v1/audit-events?action=member.recovered").json()["data"]
    assert [event["target"]["id"] for event in events] == [lasting.first["admin"]["id"]]


def test_init_shows_the_key_and_the_next_commands(tmp_path: Path) -> None:
    """Build breaks: a person at a terminal does not see the key, or what to do next."""
    done = servers.run_command(
        "init", "--data", str(tmp_path / "data"), "--organization", "Acme", "--email", "alice@acme.test"
    )
    assert re.search(r"^Operator key  ak-[0-9a-f]{32}[0-9A-Za-z]{44}$", done.stdout, re.MULTILINE)
    assert "ostiary api-key generate" in done.stdout


def test_what_is_written_is_for_its_owner_only(lasting: Ostiary) -> None:
    """B9, P7 break: another user of the machine reads the database or the master key."""
    lasting.call("POST", "/v1/service-accounts", {"display_name": "Robo"})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in lasting.data.rglob("*")}
    assert modes.pop("metrics") == 0o700
    assert {"ostiary.db", "ostiary.db-wal", "master.key", "changes.number"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode != 0o600} == {}
    assert stat.S_IMODE(lasting.data.stat().st_mode) == 0o700


def test_a_data_directory_has_one_service(lasting: Ostiary) -> None:
    """P23 breaks: a second service on the same data clears the metrics of the first, or checkpoints beside it."""
    done = servers.run_command(
        "serve", "--data", str(lasting.data), "--port", str(servers.free_port()), code=2
    )
    assert "is in use by another `ostiary serve`" in done.stderr
    assert "OSTIARY_DATA" in done.stderr
    assert lasting.call("GET", "/v1/capabilities").status_code == 200
