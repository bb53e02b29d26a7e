"""What the command line meets at its edges: a server that is not ours, and a terminal of a given width."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import OSTIARY, PATIENCE, clean_environment, state


@dataclass(slots=True)
class Stranger:
    """A server that gives the answers it was told to give, in order, the last one for good."""

    url: str = ""
    answers: list[tuple[int, str, bytes]] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Request lines and header fields of every request."""
    bodies: list[bytes] = field(default_factory=list)

    def says(self, *answers: tuple[int, str, bytes]) -> None:
        """Status, content type and body of each answer."""
        self.answers = list(answers)


@contextlib.contextmanager
def stranger() -> Iterator[Stranger]:
    found = Stranger()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            found.asked.append((self.requestline, dict(self.headers)))
            found.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            status, kind, body = found.answers.pop(0) if len(found.answers) > 1 else found.answers[0]
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if 300 <= status < 400:
                self.send_header("location", "https://elsewhere.example/")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_CONNECT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_args: object) -> None:
            """Nothing: the test says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def interrupt(process: subprocess.Popen[Any]) -> None:
    """Press Ctrl-C until the command has ended: one that comes just before a wait begins, Python sees only after it."""
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            if state(process.pid) == "S":
                process.send_signal(signal.SIGINT)
        else:
            return


# A process of its own session becomes the terminal's, so that Ctrl-C is a signal as it is for a person.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.tcsetpgrp(0, os.getpgrp())
os.execv(sys.argv[1], sys.argv[1:])
"""


def _readable(descriptor: int) -> bool:
    """Whether there is something to read within a moment. Not by `select`, which knows descriptors up to 1023 only."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(200))


def on_terminal(
    *arguments: str,
    environment: Mapping[str, str],
    columns: int = 80,
    answer: str = "",
    question: str = "[y/N]: ",
) -> tuple[int, str]:
    """Run `ostiary …` on a terminal of its own, typing `answer` when asked; exit code, and all that was shown."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = clean_environment()
    for name in (
        "COLUMNS",
        "LINES",
    ):  # of whoever runs the tests; they would count for more than the terminal
        inherited.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *OSTIARY, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=inherited | {"TERM": "xterm-256color"} | dict(environment),
        start_new_session=True,
    )
    os.close(theirs)
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    shown = b""
    try:
        asked = False
        # At the end of the process Linux answers the read of its terminal with EIO.
        with contextlib.suppress(OSError):
            while True:
                # Ctrl-C between the question and the wait for its answer is lost on Python: as a person does, press again.
                again = asked and answer == "\x03"
                if again and not _readable(ours):
                    os.write(ours, answer.encode())
                    continue
                part = os.read(ours, 65536)
                if not part:
                    break
                shown += part
                if answer and not asked and question.encode() in shown:
                    os.write(ours, answer.encode())
                    asked = True
        return process.wait(PATIENCE), shown.decode().replace("\r\n", "\n")
    finally:
        guard.cancel()
        os.close(ours)
        process.kill()
        process.wait()
