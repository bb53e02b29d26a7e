"""A PostgreSQL that hangs: either the network drops all packets, or the server's processes are stopped.

Clients get no error in either case. Data in flight at the start arrives at the end.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from tests.servers import Postgres, state, wait_until

Direction = Literal["there", "back", "both"]
"""The direction in which data is dropped: to the server, from the server, or both."""


class Network:
    """A relay between a service and its database. It accepts connections and forwards data, unless it is cut."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self.port: int = self._listener.getsockname()[1]
        self._there, self._back = threading.Event(), threading.Event()
        self._sockets: list[socket.socket] = []
        self._there.set()
        self._back.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._there.set()
        self._back.set()

    @contextlib.contextmanager
    def cut(self, direction: Direction = "both") -> Iterator[None]:
        """Forward nothing in this direction. New connections hang too."""
        lost = [
            event
            for name, event in (("there", self._there), ("back", self._back))
            if direction in (name, "both")
        ]
        for each in lost:
            each.clear()
        try:
            yield
        finally:
            for each in lost:
                each.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # end of the stream
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._far))
                self._sockets += [near, far]
                for source, sink, passes in ((near, far, self._there), (far, near, self._back)):
                    threading.Thread(target=_pump, args=(source, sink, passes), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, passes: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while True:
            part = source.recv(65536)
            passes.wait()
            if not part:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(part)


@contextlib.contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Stop all processes of the server. The kernel still acknowledges the packets that they receive."""
    stopped: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        wait_until(f"a stop of {pid}", lambda: state(pid) in ("T", "Z", ""))
        stopped.append(pid)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # the process has ended
                stop(int(child))

    try:
        stop(server.process.pid)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
