"""Runs the application: binds the sockets, and runs uvicorn in one worker process until SIGTERM."""

import asyncio
import contextlib
import errno
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator
from types import FrameType

import uvicorn

from ostiary.config import ConfigurationError, InvalidSetting, Settings
from ostiary.http.edge import Edge
from ostiary.http.protocol import KEEP_ALIVE_SECONDS, MAX_CONNECTIONS, GuardedProtocol
from ostiary.node.app import build
from ostiary.node.installation import open_installation

BACKLOG = 2048
SPARE_DESCRIPTORS = 128
SHUTDOWN_SECONDS = 20
COLLECT = (700, 10, 1_000)
"""Thresholds of the garbage collector. With 100,000 cached standings, a full collection stops the process for 0.3 s.
With Python's default of 10, seven full collections ran while the cache filled. With 1,000, none runs in a million reads,
and collections of the young generations take 2 ms at most (measured with Python 3.11)."""


class _Server(uvicorn.Server):
    """uvicorn with other signal handling: on SIGTERM it finishes the requests in flight and exits with 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        def leave(_signal: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        signal.signal(signal.SIGTERM, leave)
        try:
            yield
        finally:
            # The process is already ending. A second signal must not interrupt that.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind sockets to the host, or to both loopback addresses for `localhost`. Raise ConfigurationError if that fails."""
    wanted = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    sockets = []
    for address in wanted:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # a machine without IPv6
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.listen(BACKLOG)
            sockets.append(sock)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL and host == "localhost" and address == "::1":
                continue
            for each in sockets:
                each.close()
            reason = {
                errno.EADDRINUSE: "is in use; choose another with --port",
                errno.EACCES: "needs rights that this user does not have",
                errno.EADDRNOTAVAIL: "cannot be bound: this machine has no such address",
            }.get(error.errno or 0, "cannot be bound")
            raise ConfigurationError(InvalidSetting("--port", f"{address}:{port}", reason)) from None
    return sockets


def _connections() -> int:
    """Return the connection limit of this process. Some file descriptors are left for the database and logs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft - SPARE_DESCRIPTORS)
    )


def configuration(door: Edge) -> uvicorn.Config:
    """Return the uvicorn configuration for an edge, without the features that the edge has itself."""
    return uvicorn.Config(
        door,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(KEEP_ALIVE_SECONDS),
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        backlog=BACKLOG,
    )


def work(settings: Settings, sockets: list[socket.socket], alone: bool, ready: Callable[[], object]) -> int:
    """Serve requests on these sockets until SIGTERM. Return the exit code of this process.

    `alone`: there is no tasks process, so this process also runs the tasks of the node.
    """
    # With the default of 5 ms, one busy Python thread delays each verification by milliseconds.
    sys.setswitchinterval(0.0005)
    opened = open_installation(settings, checkpoints=alone, serving=True, alone=alone)
    built = build(opened, alone=alone)
    built.facts.sync()
    config = configuration(built.door)
    GuardedProtocol.max_connections = _connections()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    server = _Server(config, ready)
    built.metrics.connections = lambda: len(server.server_state.connections)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=sockets))
    finally:
        opened.close()
    return 0 if server.started else 1
