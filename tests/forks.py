"""Runs `ostiary` commands as forks of a process that has already imported their dependencies, to save time.

Each command is a separate process with its own arguments, environment and streams, and runs what `python -m` runs.
It imports the modules of the command line itself. `servers.start` and the tests of terminals and completion start a
real interpreter.
"""

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
DESCRIPTOR = "OSTIARY_TESTS_SOCKET"


# In the test process


class Forks:
    """The client side of the socket. It runs one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        environment = os.environ | {DESCRIPTOR: str(theirs.fileno())}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"], env=environment, pass_fds=[theirs.fileno()], cwd=ROOT
        )
        theirs.close()

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], stdin: str | None, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        with (
            self._lock,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as errors,
            Path(os.devnull).open("rb") as nothing,
        ):
            given.write((stdin or "").encode())
            given.seek(0)
            streams: list[IO[bytes]] = [nothing if stdin is None else given, out, errors]
            asked = json.dumps([list(arguments), dict(environment), str(Path.cwd())]).encode()
            socket.send_fds(self._socket, [len(asked).to_bytes(8)], [each.fileno() for each in streams])
            self._socket.sendall(asked)
            pid = self._number()
            self._socket.settimeout(timeout)
            try:
                code = self._number()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._number()
                raise subprocess.TimeoutExpired(["ostiary", *arguments], timeout) from None
            finally:
                self._socket.settimeout(None)
            out.seek(0)
            errors.seek(0)
            told = [each.read().decode().replace("\r\n", "\n") for each in (out, errors)]
            return subprocess.CompletedProcess(["ostiary", *arguments], code, *told)

    def _number(self) -> int:
        return int.from_bytes(_exactly(self._socket, 8), signed=True)


@cache
def forks() -> Forks:
    """Return the fork server of this process. It ends with the process."""
    found = Forks()
    atexit.register(found.close)
    return found


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            raise EOFError
        found += part
    return found


# In the fork server


def _import() -> None:
    """Import what commands need, except the modules of the command line."""
    import ostiary

    for module in pkgutil.walk_packages(ostiary.__path__, "ostiary."):
        if not module.name.startswith(("ostiary.cli.", "ostiary.storage.migrations.")):
            importlib.import_module(module.name)
    for name in (
        "ostiary.storage.migrations",
        "ostiary.cli.main",
        "alembic.command",
        "rich.console",
        "rich.table",
    ):
        importlib.import_module(name)
    importlib.import_module("httpx2").Client().close()  # it imports more modules on first use


def _serve() -> None:
    connection = socket.socket(fileno=int(os.environ.pop(DESCRIPTOR)))
    _import()
    gc.collect()
    gc.freeze()  # a garbage collection in a fork would touch all imported objects and copy their pages
    while True:
        head, streams, _, _ = socket.recv_fds(connection, 8, 3)
        if not head:
            return
        head += _exactly(connection, 8 - len(head)) if len(head) < 8 else b""
        arguments, environment, place = json.loads(_exactly(connection, int.from_bytes(head)))
        child = os.fork()
        if child == 0:
            _become(arguments, environment, place, streams)
        for each in streams:
            os.close(each)
        connection.sendall(child.to_bytes(8, signed=True))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(code.to_bytes(8, signed=True))


def _become(arguments: list[str], environment: dict[str, str], place: str, streams: list[int]) -> Any:
    """Run the command in the fork. It never returns."""
    code = 1
    try:
        for number, each in enumerate(streams):
            os.dup2(each, number)
        os.closerange(3, max(streams) + 64)
        os.chdir(place)
        os.environ.clear()
        os.environ.update(environment)
        for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
            was = getattr(sys, name)
            raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
            made = io.TextIOWrapper(
                io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw),
                encoding=was.encoding,
                errors=was.errors,
                line_buffering=number == 2,
            )
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)
        from ostiary.cli import main

        sys.argv = [main.__file__, *arguments]
        try:
            main.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        shutdown: Any = threading
        shutdown._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
