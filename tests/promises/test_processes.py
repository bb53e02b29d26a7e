"""The processes of one `ostiary serve`: how they end, what they survive, and which of them checkpoints SQLite's log."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest

from ostiary.storage import engines
from ostiary.storage.engines import sqlite_module
from tests import servers
from tests.promises.line import Line, lines_to_each
from tests.servers import Ostiary

pytestmark = pytest.mark.full

WRITES = 40
"""Acknowledged writes before and after a worker is killed."""
OLD = "3.45.1"
WITH_OLD_SQLITE = (
    "from ostiary.storage import engines\n"
    f"engines.sqlite_module.sqlite_version = {OLD!r}\n"
    f"engines.sqlite_module.sqlite_version_info = {tuple(int(part) for part in OLD.split('.'))}\n"
    "from ostiary.cli.main import main\n"
    "main()"
)
"""The `serve` command with a SQLite library that reports an old version."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Ostiary]:
    with servers.ostiary(
        tmp_path / "data",
        OSTIARY_WORKERS="2",
        OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT="none",
        OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION="none",
        OSTIARY_DEFAULT_RATE_LIMIT="none",
    ) as found:
        yield found


def of_tasks(server: Ostiary) -> list[int]:
    return servers.children(server.process.pid, "ostiary-tasks")


def log_of(server: Ostiary) -> str:
    return server.log.read_text("utf-8")


def test_there_are_as_many_workers_as_were_asked_for_and_one_for_tasks(server: Ostiary) -> None:
    """S6 breaks: a processor stays idle, or several processes do what one should do."""
    assert (len(server.workers()), len(of_tasks(server))) == (2, 1)
    with ExitStack() as stack:
        for lines in lines_to_each(server, stack, 1).values():
            assert lines[0].ask("GET", "/readyz").status == 200


@pytest.mark.promise("P7")
def test_no_process_leaves_a_core_dump(server: Ostiary) -> None:
    """P7 breaks: a crash writes the master key to the disk, or hands it to a crash reporter."""
    for process in (server.process.pid, *server.workers(), *of_tasks(server)):
        limits = Path(f"/proc/{process}/limits").read_text().splitlines()
        found = next(each.split() for each in limits if each.startswith("Max core file size"))
        assert found[4:6] == ["0", "0"], process


@pytest.mark.promise("P7")
def test_memory_is_hidden_from_the_same_user() -> None:
    """P7 breaks: a program of the same user reads the master key, or a crash reporter gets a dump despite the limit."""
    script = (
        "import ctypes\nfrom ostiary import memory\nmemory.hide()\nmemory.name('ostiary-worker')\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), open('/proc/self/comm').read())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "ostiary-worker"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_to_all_processes_at_once_is_an_orderly_end(server: Ostiary, sent: signal.Signals) -> None:
    """Service breaks: Ctrl-C on a terminal, or a stop by systemd, is reported as a failure."""
    every = [*server.workers(), *of_tasks(server)]
    os.killpg(server.process.pid, sent)
    assert server.process.wait(servers.PATIENCE) == 0
    assert [servers.state(each) for each in every] == [""] * 3
    assert log_of(server) == f"Ostiary is ready at http://localhost:{server.port}\n"


def test_without_the_first_process_the_others_end_at_once(server: Ostiary) -> None:
    """P3 breaks: after the first process is killed, its workers keep running and hold the port."""
    every = [*server.workers(), *of_tasks(server)]
    server.process.kill()
    server.process.wait()
    servers.wait_until("the end of all", lambda: all(servers.state(each) in ("", "Z") for each in every))
    with servers.ostiary(server.data, server.first, server.port) as again:
        assert again.call("GET", "/readyz").status_code == 200


@dataclass(slots=True)
class Writer:
    """Creates keys over one connection, revokes every other one, and records the acknowledged state."""

    line: Line
    account: str
    valid: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    failures: int = 0
    other: list[int] = field(default_factory=list)
    """Statuses other than success."""

    def write(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._one()
            except (OSError, http.client.HTTPException):
                self.failures += 1
                self.line.close()

    def _one(self) -> None:
        made = self.line.ask("POST", f"/v1/service-accounts/{self.account}/credentials", {"kind": "api_key"})
        if made.status != 201:
            self.other.append(made.status)
            return
        text = made.json()["secret"]
        if len(self.valid) <= len(self.revoked):
            self.valid.append(text)
            return
        done = self.line.ask("POST", f"/v1/credentials/{made.json()['credential']['id']}/revoke")
        if done.status == 200:
            self.revoked.append(text)
        else:
            self.other.append(done.status)


@pytest.mark.promise("P3")
def test_the_others_go_on_when_a_worker_is_killed(server: Ostiary) -> None:
    """P3 breaks: the end of one worker ends others, loses acknowledged writes, or is permanent."""
    stop = threading.Event()
    with ExitStack() as stack:
        by_worker = lines_to_each(server, stack, 2)
        killed, other = by_worker
        account = by_worker[other][0].made(
            "/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]}
        )["service_account"]["id"]
        writers = {worker: [Writer(line, account) for line in lines] for worker, lines in by_worker.items()}
        every = [*writers[killed], *writers[other]]
        threads = [threading.Thread(target=each.write, args=(stop,)) for each in every]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)

        def written(of: list[Writer]) -> int:
            return sum(len(each.valid) + len(each.revoked) for each in of)

        servers.wait_until("writes", lambda: written(every) >= WRITES)
        os.kill(killed, signal.SIGKILL)
        before = written(writers[other])
        servers.wait_until("writes of the other", lambda: written(writers[other]) >= before + WRITES)
        servers.wait_until("another worker", lambda: len(set(server.workers()) - {killed}) == 2)
        before = written(writers[killed])
        servers.wait_until("writes of those it cut off", lambda: written(writers[killed]) >= before + WRITES)
        stop.set()
        for thread in threads:
            thread.join()
        assert [each.failures for each in writers[other]] == [0, 0]
        assert sum(each.failures for each in writers[killed]) >= 2
        assert [each.other for each in every] == [[]] * 4
        assert server.process.poll() is None
        assert "process ended" in log_of(server)
        for lines in lines_to_each(server, stack, 1).values():
            for each in every:
                assert {lines[0].verify(text) for text in each.valid} == {"valid"}
                assert {lines[0].verify(text) for text in each.revoked} == {"revoked"}
    server.process.terminate()
    assert server.process.wait(servers.PATIENCE) == 0


def test_the_duties_process_comes_back(server: Ostiary) -> None:
    """Monitoring breaks: after a crash no old rows are deleted, and SQLite's log grows without limit."""
    (first,) = of_tasks(server)
    os.kill(first, signal.SIGKILL)
    servers.wait_until("another", lambda: of_tasks(server) not in ([], [first]))
    assert len(server.workers()) == 2


def test_a_key_that_every_worker_refused_is_accepted_by_each_once_it_is_imported(server: Ostiary) -> None:
    """Import breaks: a worker refuses an imported key, because it cached that the key is unknown."""
    prefix = "sk_live_"
    with ExitStack() as stack:
        one, other = (lines[0] for lines in lines_to_each(server, stack, 1).values())
        robo = one.made("/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]})
        owner = robo["service_account"]["id"]
        one.made("/v1/import-prefixes", {"prefix": prefix})
        for number in range(10):
            text = f"{prefix}{number:032x}"
            for _ in range(2):  # first from the database, then from memory
                assert [line.verify(text) for line in (one, other)] == ["unknown", "unknown"]
            keys = [{"sha256": sha256(text.encode()).hexdigest()}]
            by = (one, other)[number % 2]
            done = by.ask("POST", "/v1/credentials/import", {"prefix": prefix, "owner": owner, "keys": keys})
            assert done.status == 200, done.body
            assert [line.verify(text) for line in (one, other)] == ["valid", "valid"]


def with_old_sqlite(workers: int, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WITH_OLD_SQLITE, *arguments],
        env=servers.clean_environment() | {"OSTIARY_WORKERS": str(workers)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_old_sqlite_takes_one_worker_only(tmp_path: Path) -> None:
    """R20 breaks: two processes commit and checkpoint with a SQLite library that can corrupt the database then."""
    servers.initialise(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = with_old_sqlite(2, "serve", "--data", str(tmp_path / "data"), "--port", port)
        out, log = process.communicate(timeout=servers.PATIENCE)
    assert process.returncode == 2
    assert all(part in log for part in ("OSTIARY_WORKERS", OLD, "3.51.3", "pysqlite3"))
    assert "in use" not in log  # reported before listening
    assert out == ""


@pytest.mark.parametrize("workers, mark, code", [(1, "!", 0), (2, "✗", 1)])
def test_doctor_says_that_sqlite_is_too_old_for_several_workers(
    tmp_path: Path, workers: int, mark: str, code: int
) -> None:
    """R20 breaks: `doctor` does not report that `serve` will refuse to start."""
    servers.initialise(tmp_path / "data")
    process = with_old_sqlite(workers, "doctor", "--data", str(tmp_path / "data"))
    out, _ = process.communicate(timeout=servers.PATIENCE)
    assert process.returncode == code
    (line,) = (each for each in out.splitlines() if "SQLite" in each)
    assert line.startswith(mark)
    assert all(part in line for part in (OLD, "3.51.3", "pysqlite3"))


def test_with_an_old_sqlite_the_one_worker_does_the_tasks(tmp_path: Path) -> None:
    """R20 breaks: a second process checkpoints, or none does."""
    data, port = tmp_path / "data", servers.free_port()
    first = servers.initialise(data)
    process = with_old_sqlite(1, "serve", "--data", str(data), "--port", str(port))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Ostiary is ready")
        assert len(servers.children(process.pid, "ostiary-worker")) == 1
        assert servers.children(process.pid, "ostiary-tasks") == []
        with Line(port, first["api_key"]) as line:
            line.made("/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]})
        database = data / "ostiary.db"
        servers.wait_until("a checkpoint", lambda: holds(database, b"Robo"))
    finally:
        process.terminate()
        process.communicate(timeout=servers.PATIENCE)
    assert process.returncode == 0


def holds(database: Path, what: bytes) -> bool:
    """Return whether the database file without its log contains this. Read as bytes, because the database is in use."""
    return what in database.read_bytes()


def test_the_duties_process_moves_the_log_into_the_database(server: Ostiary) -> None:
    """R20 breaks: no process checkpoints, and SQLite's log grows without limit."""
    with Line(server.port, server.key) as line:
        line.made("/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]})
    assert b"Robo" in (server.data / "ostiary.db-wal").read_bytes()
    servers.wait_until("a checkpoint", lambda: holds(server.data / "ostiary.db", b"Robo"))


def test_linked_library_is_one_that_takes_several_processes() -> None:
    """R20 breaks unseen: the SQLite library of these tests is itself too old for two workers."""
    assert engines.checkpoints_safely(), sqlite_module.sqlite_version
