"""A server that is not Ostiary, and a terminal with a given width, for tests of the command line."""

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
    """A server that returns the given responses in order, and the last one from then on."""

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
            """Log nothing."""

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


# The child becomes the leader of the terminal's session, so that Ctrl-C sends a signal as for a person.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.tcsetpgrp(0, os.getpgrp())
os.execv(sys.argv[1], sys.argv[1:])
"""


def _readable(descriptor: int) -> bool:
    """Whether there is something to read soon. Not by `select`, which is limited to descriptors up to 1023."""
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
    """Run `ostiary …` on its own terminal, typing `answer` at the prompt. Return the exit code and the output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = clean_environment()
    for name in (
        "COLUMNS",
        "LINES",
    ):  # variables of the developer's shell, which would override the terminal's size
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
        # When the process ends, Linux fails the read of its terminal with EIO.
        with contextlib.suppress(OSError):
            while True:
                # Python may lose a Ctrl-C between the prompt and the read. Press again, as a person would.
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
