"""Who waits for the database is served in the order of asking: the threads of a process, and processes among each other.

Neither a connection pool nor SQLite's lock keeps what became free for those who wait. Whoever writes without pause
takes it back every time, and the others wait until their time is over.
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
"""Seconds between two attempts at what nobody hands over."""


class Turns:
    """As many turns at a time as there are connections, first come, first served, for the threads of one process."""

    def __init__(self, number: int, wait_ms: int) -> None:
        self._free = number
        self._wait = wait_ms / 1000
        self._lock = threading.Lock()
        # A locked lock for each thread that waits; whoever hands over unlocks it.
        self._queue: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold a turn. Raises the error of a pool that is used up when there is none within `wait_ms`."""
        self._take()
        try:
            yield
        finally:
            self._hand_over()

    def waiting(self) -> int:
        """Threads that wait for a turn."""
        return len(self._queue)

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._queue.append(mine)
        with patience.waiting(self._wait) as most:
            given = mine.acquire(timeout=most)
        if given:
            return
        with self._lock:
            if mine in self._queue:
                self._queue.remove(mine)
                raise PoolTimeoutError("no turn within the time to wait")
        # It was handed over in the moment in which the time was over: the turn is held after all.

    def _hand_over(self) -> None:
        with self._lock:
            if self._queue:
                # Never free in between: whoever comes now stands behind those who wait.
                self._queue.popleft().release()
            else:
                self._free += 1


@contextmanager
def next_in_line(path: Path, wait_ms: int) -> Iterator[None]:
    """Be the one process of the machine that asks for what the file stands for, and so the next to get it.

    This is about order and guards nothing: who has waited for `wait_ms`, or cannot open the file, goes on without.
    A process that ends, however it ends, is out of the line.
    """
    try:
        # Opened anew each time: a lock that a fork had inherited would be its parent's too.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        for _ in attempts(wait_ms):
            try:
                # Never waits in the kernel, where a stopped process could hold up all others for ever.
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                continue
        yield
    finally:
        os.close(fd)


def attempts(wait_ms: int) -> Iterator[None]:
    """Once at once, then again and again for that long, or as long as there is patience left."""
    with patience.waiting(wait_ms / 1000) as most:
        end = time.monotonic() + most
        yield
        while time.monotonic() < end:
            time.sleep(POLL)
            yield
