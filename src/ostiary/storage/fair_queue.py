"""First come, first served access to the database: among the threads of a process, and among the processes of a
machine.

Neither a connection pool nor SQLite's lock is fair. A thread that writes without pause gets it back every time, while
the others wait until they time out.
"""

import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ostiary.storage import patience

POLL = 0.001
"""Seconds between two attempts to take a lock that has no queue."""


class Turns:
    """As many turns at a time as there are connections, for the threads of one process, in order of arrival."""

    def __init__(self, number: int, wait_ms: int) -> None:
        self._free = number
        self._wait = wait_ms / 1000
        self._lock = threading.Lock()
        # One locked lock for each waiting thread. The thread that hands over its turn unlocks the first.
        self._queue: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a turn. Raises the pool's time-out error if none is free within `wait_ms`."""
        self._take()
        try:
            yield
        finally:
            self._hand_over()

    def waiting(self) -> int:
        """Return the number of threads that wait for a turn."""
        return len(self._queue)

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            own_lock = threading.Lock()
            own_lock.acquire()
            self._queue.append(own_lock)
        with patience.waiting(self._wait) as most:
            acquired = own_lock.acquire(timeout=most)
        if acquired:
            return
        with self._lock:
            if own_lock in self._queue:
                self._queue.remove(own_lock)
                raise PoolTimeoutError("no turn within the time to wait")
        # The turn was handed over just as the time-out ended, so this thread holds it.

    def _hand_over(self) -> None:
        with self._lock:
            if self._queue:
                # The turn is never free in between, so a new thread cannot overtake those that wait.
                self._queue.popleft().release()
            else:
                self._free += 1


@contextmanager
def next_in_line(path: Path, wait_ms: int) -> Iterator[None]:
    """Let one process of the machine at a time try to take the lock that this file stands for.

    This only creates an order and protects nothing: a process that has waited for `wait_ms`, or cannot open the file,
    continues without it. A process that ends, however it ends, leaves the line.
    """
    try:
        # Opened each time: a fork would share a lock on an inherited descriptor with its parent.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        for _ in attempts(wait_ms):
            try:
                # Non-blocking: waiting in the kernel, a stopped process could block all others for ever.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                continue
        yield
    finally:
        os.close(fd)


def attempts(wait_ms: int) -> Iterator[None]:
    """Yield at once, and then every POLL seconds until `wait_ms` or the request's time for waiting is used up."""
    with patience.waiting(wait_ms / 1000) as most:
        end = time.monotonic() + most
        yield
        while time.monotonic() < end:
            time.sleep(POLL)
            yield
