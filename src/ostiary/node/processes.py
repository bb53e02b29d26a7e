"""The processes of `ostiary serve`: the one that was started, its workers, and one for periodic tasks.

The first binds the sockets, checks once that it can serve, and forks the others: what is imported is shared
memory. It answers no request and has no connection to the database, so nothing is shared that must not be.
A process that dies is started again. One that loses the first, which may be killed, ends at once.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import FrameType
from typing import Any, Final, NoReturn

import structlog
import uvicorn

from ostiary import memory
from ostiary.config import ConfigurationError, InvalidSetting, Settings
from ostiary.core.problem import Problem
from ostiary.http.fastpath import seam_holds
from ostiary.logs import where
from ostiary.node import metrics, periodic_tasks, worker
from ostiary.node.app import build
from ostiary.node.installation import hold, keep_reserve, metrics_directory, not_reachable, open_installation
from ostiary.storage import engines

STOP_SECONDS: Final = worker.SHUTDOWN_SECONDS + 15
"""What a process has for finishing its requests, writing its counts, and ending."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before a process that died is started again; doubled with each death in a row."""
IN_A_ROW: Final = 60.0
"""Seconds that a process must live for its next death to count as the first."""
LATER: Final = ("anyio._backends._asyncio", "uvicorn.lifespan.on", "uvicorn.loops.uvloop")
"""What libraries import only when a worker starts: once, before the fork, is faster. Not their public names."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Child:
    """A process that is to be there, and what is known of it."""

    name: str
    run: Callable[[Callable[[], object]], int]
    """What it does; it calls what it is given once it is ready, and returns its exit code."""
    pid: int = 0
    """0 while there is none."""
    ready: bool = False
    deaths: int = 0
    begun: float = 0.0
    again: float = 0.0
    """When it is to be started again, on the monotonic clock."""


def serve(settings: Settings, announce: Callable[[str], Any]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `announce` is told the URL once all workers are ready.

    Raises ConfigurationError or NotReachableError where nothing can be started.
    """
    separate = settings.database_url is not None or engines.checkpoints_safely()
    if settings.workers > 1 and not separate:
        linked = engines.sqlite_module.sqlite_version
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_WORKERS", str(settings.workers), f"{engines.NEEDS}, and {linked} is linked; or set 1"
            )
        )
    opened = open_installation(settings, serving=True, alone=True)
    workers = settings.workers
    try:
        hold(settings)
        keep_reserve(opened.store.reserve)
        sockets = worker.bind(settings.host, settings.port)
        opened.store.troubles.forget()
        try:
            periodic_tasks.complete_start(opened.store, settings)
        except Problem as problem:
            if problem.code != "storage-full":
                raise
            # Credentials are verified all the same; the tasks try it again.
            structlog.get_logger().error("began without writing", reason=problem.reason)
        if opened.private:
            workers, separate = 1, False
            structlog.get_logger().error("no room for what processes share: one process serves")
        build(opened).facts.sync()
    except Problem as problem:
        raise not_reachable(settings, problem) from None
    finally:
        opened.close()
    trusted = ", ".join(str(network) for network in settings.trusted_proxies)
    if trusted:
        structlog.get_logger().info("trusted proxies", detail=trusted)
    if settings.out_of_reach:
        structlog.get_logger().warning("other machines cannot sign in", detail=settings.out_of_reach)
    if not seam_holds():
        structlog.get_logger().warning(
            "slow", detail=f"uvicorn {uvicorn.__version__} is not the one that the direct adapter knows"
        )
    work = partial(worker.work, settings, sockets, not separate)
    children = [Child(f"worker {number + 1}", work) for number in range(workers)]
    if separate:
        children.append(Child("tasks", partial(_attend, settings, sockets)))
    with contextlib.suppress(ImportError):
        for module in LATER:
            import_module(module)
    metrics.share(metrics_directory(settings))
    gc.collect()
    gc.freeze()
    return Supervisor(children, sockets).run(lambda: announce(settings.public_url))


def _attend(settings: Settings, sockets: Sequence[socket.socket], ready: Callable[[], object]) -> int:
    for sock in sockets:
        sock.close()
    return periodic_tasks.run(settings, ready)


class Supervisor:
    """Starts the children, starts them again, and ends them. It has one thread: it forks."""

    def __init__(self, children: Sequence[Child], sockets: Sequence[socket.socket]) -> None:
        self._children = children
        self._sockets = sockets
        self._selector = selectors.DefaultSelector()
        self._alive = os.pipe()
        """Its end for writing is open in this process alone: what reads from it learns when this one is gone."""
        self._asked = os.pipe()
        self._stopping = False
        self._deadline = float("inf")
        self._code = 0

    def run(self, announce: Callable[[], Any]) -> int:
        """Until all have ended, by a signal to this process or because they cannot start: the exit code."""
        self._selector.register(self._asked[0], selectors.EVENT_READ)
        for each in SIGNALS:
            signal.signal(each, self._ask)
        announced = False
        for child in self._children:
            self._start(child)
        while not self._stopping or any(child.pid for child in self._children):
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    os.read(self._asked[0], 64)
                    self._stop()
                else:
                    self._hear(key.data, key.fd, announced)
            self._tend()
            if not announced and not self._stopping and all(child.ready for child in self._children):
                announced = True
                with contextlib.suppress(OSError):  # standard output may be a file on a full disk
                    announce()
        return self._code

    def _tend(self) -> None:
        """Start what is due to be started again; kill what does not end."""
        now = time.monotonic()
        late = now > self._deadline
        for child in self._children:
            if not child.pid and not self._stopping and child.again <= now:
                structlog.get_logger().info("process started again", detail=child.name)
                self._start(child)
            elif child.pid and late:
                self._code = 1
                os.kill(child.pid, signal.SIGKILL)
        if late:
            self._deadline = float("inf")

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        os.write(self._asked[1], b".")

    def _patience(self) -> float | None:
        """Seconds until something is due; None if only a child or a signal can bring news."""
        due = (
            self._deadline
            if self._stopping
            else min((child.again for child in self._children if not child.pid), default=float("inf"))
        )
        return None if due == float("inf") else max(0.0, due - time.monotonic())

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._deadline = time.monotonic() + STOP_SECONDS
        for sock in self._sockets:
            sock.close()
        for child in self._children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    def _hear(self, child: Child, fd: int, announced: bool) -> None:
        """A byte says that a child is ready, the end of its pipe that it has ended."""
        if os.read(fd, 1):
            child.ready = True
            return
        self._selector.unregister(fd)
        os.close(fd)
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        metrics.bury(child.pid)
        child.pid = 0
        now = time.monotonic()
        child.deaths = child.deaths + 1 if now - child.begun < IN_A_ROW else 1
        child.again = now + min(FIRST_WAIT * 2 ** min(child.deaths - 1, 10), LONGEST_WAIT)
        # A signal to the whole group may end a child before it is known here that all are to end.
        if code in (0, -signal.SIGTERM):
            return
        structlog.get_logger().error("process ended", detail=child.name, code=code)
        if self._stopping:
            self._code = 1
        elif not announced:
            self._code = 1
            self._stop()

    def _start(self, child: Child) -> None:
        news, tell = os.pipe()
        _flush()
        # Until it has put its own handlers in place, a signal to the child waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            os.close(news)
            self._become(child, tell, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(tell)
        child.pid, child.ready, child.begun = pid, False, time.monotonic()
        self._selector.register(news, selectors.EVENT_READ, child)

    def _become(self, child: Child, tell: int, mask: set[int | signal.Signals]) -> NoReturn:
        code = 1
        try:
            self._selector.close()
            for fd in (self._alive[1], *self._asked):
                os.close(fd)
            threading.Thread(target=_end_with, args=(self._alive[0],), daemon=True).start()
            memory.name(f"ostiary-{child.name.split()[0]}")
            # On a terminal SIGINT comes to all; the first process says SIGTERM to the others.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = child.run(lambda: os.write(tell, b"."))
        except BaseException as error:
            structlog.get_logger().error(
                "process failed", detail=child.name, error=type(error).__name__, where=where(error)
            )
        finally:
            _flush()
            os._exit(code)


def _flush() -> None:
    """Write out what was printed, where that can be written."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()


def _end_with(fd: int) -> None:
    """Wait for the other end to be closed, which is when the process that has it ends."""
    os.read(fd, 1)
    os._exit(1)
