"""The processes of `ostiary serve`: the one that was started, its workers, and one for periodic tasks.

The first process binds the sockets, checks once that it can serve, and forks the others, so that they share the memory
of imported modules. It serves no request and keeps no database connection that a fork would share. It restarts a process
that dies. If the first process is killed, the others end at once.
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
"""The time for a process to finish its requests, write its counts, and end."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before a process that died is started again. The wait doubles with each death in a row."""
IN_A_ROW: Final = 60.0
"""A process that lived for this many seconds starts a new count of deaths."""
LATER: Final = ("anyio._backends._asyncio", "uvicorn.lifespan.on", "uvicorn.loops.uvloop")
"""Private modules of libraries, which a worker would import at its start. Importing them before the fork is faster."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Child:
    """A process to keep running, and its state."""

    name: str
    run: Callable[[Callable[[], object]], int]
    """The function to run. It calls its argument once the process is ready, and returns the exit code."""
    pid: int = 0
    """0 while the process does not run."""
    ready: bool = False
    deaths: int = 0
    begun: float = 0.0
    again: float = 0.0
    """The time of the next start, on the monotonic clock."""


def serve(settings: Settings, announce: Callable[[str], Any]) -> int:
    """Serve until SIGTERM or SIGINT. Return the exit code. `announce` gets the URL once all workers are ready.

    Raise ConfigurationError or DatabaseNotReachableError if the service cannot start.
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
            # Verification works without these writes. A periodic task tries them again.
            structlog.get_logger().error("started without writing", reason=problem.reason)
        if opened.private:
            workers, separate = 1, False
            structlog.get_logger().error("no disk space for the shared files: only one process runs")
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
            "slow", detail=f"uvicorn {uvicorn.__version__} is not the version that the fast path supports"
        )
    work = partial(worker.work, settings, sockets, not separate)
    children = [Child(f"worker {number + 1}", work) for number in range(workers)]
    if separate:
        children.append(Child("tasks", partial(_run_tasks, settings, sockets)))
    with contextlib.suppress(ImportError):
        for module in LATER:
            import_module(module)
    metrics.share(metrics_directory(settings))
    gc.collect()
    gc.freeze()
    return Supervisor(children, sockets).run(lambda: announce(settings.public_url))


def _run_tasks(settings: Settings, sockets: Sequence[socket.socket], ready: Callable[[], object]) -> int:
    for sock in sockets:
        sock.close()
    return periodic_tasks.run(settings, ready)


class Supervisor:
    """Starts, restarts and ends the child processes. It has only one thread, because it forks."""

    def __init__(self, children: Sequence[Child], sockets: Sequence[socket.socket]) -> None:
        self._children = children
        self._sockets = sockets
        self._selector = selectors.DefaultSelector()
        self._alive = os.pipe()
        """Only this process keeps the write end open. A child that reads end-of-file knows that this process has ended."""
        self._signalled = os.pipe()
        self._stopping = False
        self._deadline = float("inf")
        self._code = 0

    def run(self, announce: Callable[[], Any]) -> int:
        """Run until all children have ended, after a signal or because they cannot start. Return the exit code."""
        self._selector.register(self._signalled[0], selectors.EVENT_READ)
        for each in SIGNALS:
            signal.signal(each, self._on_signal)
        announced = False
        for child in self._children:
            self._start(child)
        while not self._stopping or any(child.pid for child in self._children):
            for key, _ in self._selector.select(self._until_next_due()):
                if key.data is None:
                    os.read(self._signalled[0], 64)
                    self._stop()
                else:
                    self._read_pipe(key.data, key.fd, announced)
            self._restart_or_kill()
            if not announced and not self._stopping and all(child.ready for child in self._children):
                announced = True
                with contextlib.suppress(OSError):  # standard output may be a file on a full disk
                    announce()
        return self._code

    def _restart_or_kill(self) -> None:
        """Restart the children that are due. Kill those that do not end in time."""
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

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        os.write(self._signalled[1], b".")

    def _until_next_due(self) -> float | None:
        """Return the seconds until the next restart or deadline; None if there is none to wait for."""
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

    def _read_pipe(self, child: Child, fd: int, announced: bool) -> None:
        """Read from a child's pipe: a byte means that it is ready, end-of-file that it has ended."""
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
        # A signal to the process group may end a child before this process handles the signal.
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
        # Signals are blocked until the child has set its own handlers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            os.close(news)
            self._run_child(child, tell, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(tell)
        child.pid, child.ready, child.begun = pid, False, time.monotonic()
        self._selector.register(news, selectors.EVENT_READ, child)

    def _run_child(self, child: Child, tell: int, mask: set[int | signal.Signals]) -> NoReturn:
        code = 1
        try:
            self._selector.close()
            for fd in (self._alive[1], *self._signalled):
                os.close(fd)
            threading.Thread(target=_exit_at_end_of, args=(self._alive[0],), daemon=True).start()
            memory.name(f"ostiary-{child.name.split()[0]}")
            # A terminal sends SIGINT to all processes. The first process then sends SIGTERM to the others.
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
    """Flush standard output and standard error. Ignore errors."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()


def _exit_at_end_of(fd: int) -> None:
    """Wait until the first process has ended, which closes the other end of the pipe. Then exit."""
    os.read(fd, 1)
    os._exit(1)
