"""Running the application: sockets, uvicorn, signals, the one line that says it is there."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import structlog
import uvicorn

from ostiary.config import ConfigurationError, Wrong
from ostiary.http import metrics
from ostiary.http.app import build
from ostiary.http.direct import seam_holds
from ostiary.http.installation import Opened, remember
from ostiary.http.protocol import KEEP_ALIVE_SECONDS, GuardedProtocol

BACKLOG = 2048
SHUTDOWN_SECONDS = 20


class _Server(uvicorn.Server):
    """uvicorn, but for signals: SIGTERM and SIGINT finish what is in flight, and the process ends with 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        def leave(_signal: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        before = {each: signal.signal(each, leave) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for the address, or for both loopback addresses. ConfigurationError if they cannot be had."""
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
            raise ConfigurationError(Wrong("--port", f"{address}:{port}", reason)) from None
    return sockets


def serve(opened: Opened, announce: Callable[[str], Any]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    settings = opened.settings
    sockets = bind(settings.host, settings.port)
    # One busy Python thread beside the hot path costs it milliseconds at the default of 5 ms.
    sys.setswitchinterval(0.0005)
    # After the port is ours: figures of a service that still has it would be lost.
    metrics.share(opened.metrics)
    door, duties, facts = build(remember(opened))
    facts.sync()
    config = uvicorn.Config(
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
    trusted = ", ".join(str(network) for network in settings.trusted_proxies)
    if trusted:
        structlog.get_logger().info("trusted proxies", detail=trusted)
    if not seam_holds():
        structlog.get_logger().warning(
            "slow", detail=f"uvicorn {uvicorn.__version__} is not the one that the direct adapter knows"
        )
    gc.collect()
    gc.freeze()
    server = _Server(config, lambda: announce(settings.public_url))
    duties.metrics.connections = lambda: len(server.server_state.connections)
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=sockets))
    finally:
        opened.close()
    return 0 if server.started else 1
